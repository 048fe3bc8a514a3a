package listing_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// lastCommit is a store whose last commit lists 192.0.2.2.
type lastCommit struct {
	data           []byte
	newest         int // offset of its newest meta page
	before         []string
	after          []string
	sequence       uint64 // after it
	sequenceBefore uint64
}

// newLastCommit makes it with the newest meta page in the first place, or in the
// second.
func newLastCommit(t *testing.T, first bool) lastCommit {
	t.Helper()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1", "198.51.100.0/24")
	for range 2 {
		s.observe(bounce(1, "203.0.113.5", time.Now()))
		txid := 0
		if err := s.DB().View(func(tx *bolt.Tx) error { txid = tx.ID(); return nil }); err != nil {
			t.Fatal(err)
		}
		if (txid%2 == 1) == first {
			break // the next is the last
		}
		s.list(time.Time{}, "192.0.2.9")
	}
	c := lastCommit{before: s.published(), sequenceBefore: s.Snapshot().Sequence()}
	s.list(time.Time{}, "192.0.2.2")
	c.after, c.sequence = s.published(), s.Snapshot().Sequence()
	if !first {
		c.newest = os.Getpagesize()
	}
	s.stop()
	c.data = read(t, s.path)
	return c
}

func (c *lastCommit) spoilt(t *testing.T, at int) string {
	t.Helper()
	data := bytes.Clone(c.data)
	data[c.newest+at] ^= 0x41
	path := filepath.Join(t.TempDir(), "listing.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whichever bit of a meta page flips, the last commit is not lost: of the older page
// it does no harm, of the newer one it is told which page is damaged.
func TestEveryBitOfTheMetaPages(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		c := newLastCommit(t, first)
		for _, page := range []int{0, os.Getpagesize()} {
			for bit := range 64 * 8 {
				data := bytes.Clone(c.data)
				data[page+16+bit/8] ^= 1 << (bit % 8)
				err := listing.CheckPageData(data, false)
				if page == c.newest && (!errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "what was written last is lost")) {
					t.Errorf("bit %d of the newest meta page, at %d: %v", bit, page, err)
				}
				if page != c.newest && err != nil {
					t.Errorf("bit %d of the older meta page, at %d: %v", bit, page, err)
				}
			}
		}
	}
}

// Of the number of its transaction alone bbolt would go by the other page: what the
// newest page was is proven by all others, whichever bit flips.
func TestTransactionOfTheNewestMetaPage(t *testing.T) {
	t.Parallel()
	for bit := range 8 { // those that make it one of around it
		c := newLastCommit(t, bit%2 == 0)
		data := bytes.Clone(c.data)
		data[c.newest+16+48] ^= 1 << bit
		path := filepath.Join(t.TempDir(), "listing.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("bit %d", bit)
		if s, err := listing.Open(path, listing.Options{Settings: eager()}); err == nil {
			t.Fatalf("%s: opened at %d, was at %d", what, s.Snapshot().Sequence(), c.sequence)
		}
		if _, err := listing.Repair(t.Context(), path, operator, false); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		c.wantMended(t, path, what)
	}
}

// Whatever byte of the newest meta page is changed, the last commit is not lost
// without a word: it is refused, and then mended to the byte, or with drop gone back by that
// commit, under a serial that nobody has seen.
func TestNewestMetaPageDamaged(t *testing.T) {
	t.Parallel()
	mended, back, step := 0, 0, 5
	if long(t, 1) >= 10 {
		step = 1
	}
	for _, first := range []bool{true, false} {
		c := newLastCommit(t, first)
		for at := 16; at < 16+64; at += step {
			path := c.spoilt(t, at)
			bad := read(t, path)
			what := fmt.Sprintf("byte %d of the meta page at %d", at, c.newest)
			_, err := listing.Open(path, listing.Options{Settings: eager()})
			_, checked := listing.Check(path)
			for _, err := range []error{err, checked} {
				if !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "what was written last is lost") || !strings.Contains(err.Error(), "verify --repair") {
					t.Fatalf("%s: %v", what, err)
				}
			}
			v, err := listing.Repair(t.Context(), path, dryRun, true)
			if err != nil || len(v.Damage) != 1 || v.Damage[0].Repair == "" || !bytes.Equal(bad, read(t, path)) {
				t.Fatalf("%s: a dry run: %+v %v", what, v, err)
			}
			_, err = listing.Repair(t.Context(), path, operator, false)
			if err == nil {
				mended++
				c.wantMended(t, path, what)
				continue
			}
			back++
			if !errors.Is(err, listing.ErrDamaged) || !bytes.Equal(bad, read(t, path)) {
				t.Fatalf("%s: what cannot be mended: %v", what, err)
			}
			if _, err := listing.Repair(t.Context(), path, operator, true); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			c.wantBack(t, path, what)
		}
	}
	t.Logf("torture: newest meta page: of %d flipped bytes %d were mended, after %d the last commit was given up", mended+back, mended, back)
	if mended == 0 || back == 0 {
		t.Error("there should be both")
	}
}

func (c *lastCommit) wantMended(t *testing.T, path, what string) {
	t.Helper()
	s := open(t, path, eager())
	defer s.stop()
	s.verify()
	if diff := cmp.Diff(c.after, s.published()); diff != "" || s.Snapshot().Sequence() != c.sequence {
		t.Fatalf("%s: mended, at %d, was at %d (-want +got):\n%s", what, s.Snapshot().Sequence(), c.sequence, diff)
	}
}

func (c *lastCommit) wantBack(t *testing.T, path, what string) {
	t.Helper()
	s := open(t, path, eager())
	defer s.stop()
	s.verify()
	if diff := cmp.Diff(c.before, s.published()); diff != "" {
		t.Fatalf("%s: gone back (-want +got):\n%s", what, diff)
	}
	if s.Snapshot().Sequence() <= c.sequence {
		t.Fatalf("%s: at %d, and %d had been published", what, s.Snapshot().Sequence(), c.sequence)
	}
	if _, err := s.Since(c.sequenceBefore); !errors.Is(err, listing.ErrCut) {
		t.Fatalf("%s: secondaries are not told to fetch all: %v", what, err)
	}
	audit, err := s.Audit(listing.AuditFilter{})
	if err != nil || !slices.ContainsFunc(audit, func(a listing.AuditEntry) bool {
		return a.Action == listing.ActionRepair && bytes.Contains(a.Detail, []byte("meta page"))
	}) {
		t.Fatalf("%s: the audit tells of no repair: %v", what, err)
	}
}

// A store that is older than its image went back: it is refused, and goes on, when
// an operator says so, under a serial that nobody has seen.
func TestStoreOlderThanItsImage(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1")
	s.stop()
	old := read(t, s.path)
	s = open(t, s.path, eager())
	s.ImageAlways()
	s.list(time.Time{}, "192.0.2.2")
	s.delist(0, "192.0.2.1")
	last := s.Snapshot().Sequence()
	s.stop()
	if err := os.WriteFile(s.path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listing.Open(s.path, listing.Options{Settings: eager()}); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "its image") {
		t.Errorf("open: %v", err)
	}
	if !bytes.Equal(old, read(t, s.path)) {
		t.Error("it was changed")
	}
	image := read(t, imageOf(s))
	for name, look := range map[string]func() (listing.Verdict, error){
		"check":     func() (listing.Verdict, error) { return listing.Check(s.path) },
		"a dry run": func() (listing.Verdict, error) { return listing.Repair(t.Context(), s.path, dryRun, false) },
	} {
		v, err := look()
		if err != nil || len(v.Damage) != 1 || v.Damage[0].Part != "image" || v.Damage[0].Repair == "" {
			t.Errorf("%s: %+v %v", name, v.Damage, err)
		}
		if !bytes.Equal(image, read(t, imageOf(s))) || !bytes.Equal(old, read(t, s.path)) {
			t.Fatalf("%s changed something", name)
		}
	}
	if _, err := listing.Repair(t.Context(), s.path, operator, false); err != nil {
		t.Fatal(err)
	}
	again := open(t, s.path, eager())
	again.verify()
	again.want("192.0.2.1/32")
	if got := again.Snapshot().Sequence(); got <= last {
		t.Errorf("at %d, and %d had been published", got, last)
	}
}
