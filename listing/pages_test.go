package listing_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// paged is a store that has every kind of page.
type paged struct {
	data  []byte
	size  int              // of a page
	kinds map[string][]int // pages of each kind
	list  []string         // what is published
}

func newPaged(t *testing.T) *paged {
	t.Helper()
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, 3000)); err != nil { // its audit entry has overflow pages
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for n := range 300 {
		senders.Go(func() { s.observe(bounce(n, fmt.Sprintf("203.0.113.%d", n%100), time.Now())) })
	}
	senders.Wait()
	s.delist(0, "203.0.113.7")
	p := &paged{list: s.published(), kinds: map[string][]int{}, size: os.Getpagesize()}
	s.stop()
	p.data = read(t, s.path)
	db, err := bolt.Open(s.path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	newest := 0
	err = db.View(func(tx *bolt.Tx) error {
		newest = tx.ID() % 2
		for n := 0; ; {
			info, err := tx.Page(n)
			if info == nil || err != nil {
				return err
			}
			p.kinds[info.Type] = append(p.kinds[info.Type], n)
			n++
			for more := info.OverflowCount; more > 0 && info.Type != "free"; more-- { // what a free page says is of before
				p.kinds["overflow of "+info.Type] = append(p.kinds["overflow of "+info.Type], n)
				n++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		for _, name := range []string{"records", "observations"} { // the trees are large enough for a branch at the top
			root := int(tx.Bucket([]byte(name)).RootPage())
			p.kinds["branch of "+name] = []int{root}
			if !slices.Contains(p.kinds["branch"], root) {
				t.Errorf("the top of %s is no branch", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.kinds["newest meta"], p.kinds["older meta"] = []int{newest}, []int{1 - newest}
	return p
}

// page returns the first page of a kind, and what a change to it does to the whole.
func (p *paged) page(t *testing.T, kind string) int {
	t.Helper()
	if len(p.kinds[kind]) == 0 {
		t.Fatalf("there is no page of kind %q: %v", kind, p.kinds)
	}
	return p.kinds[kind][0]
}

// opened opens a store with the given bytes, and makes sure that a file that is
// refused stays as it is. The error is that of Open.
func (p *paged) opened(t *testing.T, data []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "listing.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	s, err := listing.Open(path, listing.Options{Settings: eager()})
	if err == nil {
		if diff := cmp.Diff(p.list, (&running{Store: s}).published()); diff != "" {
			t.Errorf("published (-want +got):\n%s", diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return nil
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(long) || !bytes.Equal(data, read(t, path)) {
		t.Errorf("the file was changed: %v", err)
	}
	return err
}

// checked is what Check finds in a store with the given bytes.
func checked(t *testing.T, data []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "listing.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := listing.Check(path)
	return errors.Join(err, v.Err())
}

// Bytes of a page that mean something, from its start. A header has the number,
// what it is, how many elements, and how many pages more; then come the elements.
const (
	atID, atFlags, atCount, atMore = 0, 8, 10, 12
	atElements                     = 16
	atMeta                         = 16
)

// A flipped byte in a page of each kind is found when the store is opened, or it
// changes nothing that is served, and Check finds it, or it lies where nothing is.
func TestFlippedBytesOfPages(t *testing.T) {
	t.Parallel()
	p := newPaged(t)
	const (
		refused  = "refused"  // by Open
		found    = "found"    // by Check, and nothing else is served
		harmless = "harmless" // it means nothing
	)
	top := p.data[p.page(t, "branch of observations")*p.size:]
	last := atElements + 16*(int(binary.NativeEndian.Uint16(top[atCount:]))-1)
	lastKey := last + int(binary.NativeEndian.Uint32(top[last:]))
	for _, c := range []struct {
		kind, where string
		at          []int
		want        string
	}{
		{"newest meta", "header", []int{atID, atFlags}, found},
		{"newest meta", "header, which nobody reads", []int{atCount, atMore}, harmless},
		{"newest meta", "meta", []int{atMeta, atMeta + 4, atMeta + 8, atMeta + 12, atMeta + 16, atMeta + 24, atMeta + 32, atMeta + 40, atMeta + 51, atMeta + 56, atMeta + 63}, refused},
		{"older meta", "meta, which the next commit writes over", []int{atMeta + 16, atMeta + 32, atMeta + 40, atMeta + 56}, harmless},
		{"newest meta", "nothing", []int{80, 100, p.size - 1}, harmless},
		{"freelist", "header", []int{atID, atFlags}, refused},
		{"freelist", "more pages", []int{atMore}, refused},
		{"freelist", "free page, beyond all", []int{atElements + 4, atElements + 7}, refused},
		{"branch of observations", "header", []int{atID, atFlags, atCount + 1, atMore, atMore + 3}, refused},
		{"branch of observations", "page", []int{atElements + 8, atElements + 9, atElements + 12, atElements + 15, atElements + 24, atElements + 25}, refused},
		{"branch of observations", "where a key is", []int{atElements + 1, atElements + 3}, refused},
		{"branch of observations", "the host of the last key", []int{lastKey + 4}, found},
		{"branch of records", "header", []int{atID, atFlags, atCount + 1, atMore, atMore + 3}, refused},
		{"branch of records", "where a key is", []int{atElements, atElements + 1, atElements + 3, atElements + 16, atElements + 17}, refused},
		{"branch of records", "how long a key is", []int{atElements + 5, atElements + 7, atElements + 21}, refused},
		{"branch of records", "page", []int{atElements + 8, atElements + 9, atElements + 12, atElements + 15, atElements + 24, atElements + 25}, refused},
		{"leaf", "header", []int{atID, atFlags, atCount + 1, atMore, atMore + 3}, refused},
		{"leaf", "what the first element is", []int{atElements, atElements + 3}, refused},
		{"leaf", "where its key is", []int{atElements + 5, atElements + 7}, refused},
		{"leaf", "how long its key and value are", []int{atElements + 10, atElements + 11, atElements + 14, atElements + 15}, refused},
		{"leaf", "the second element", []int{atElements + 16, atElements + 21, atElements + 26, atElements + 30}, found},
		{"overflow of leaf", "its middle", []int{0, 17, p.size / 2}, found},
	} {
		page := p.page(t, c.kind)
		for _, at := range c.at {
			data := bytes.Clone(p.data)
			data[page*p.size+at] ^= 0x81
			err := p.opened(t, data)
			what := fmt.Sprintf("%s, page %d, byte %d (%s)", c.kind, page, at, c.where)
			if c.want == refused {
				if !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "page ") {
					t.Errorf("%s: %v", what, err)
				}
				continue
			}
			if err != nil && c.want == harmless {
				t.Errorf("%s: %v", what, err)
			}
			if err := checked(t, data); errors.Is(err, listing.ErrDamaged) != (c.want == found) {
				t.Errorf("%s: Check says %v", what, err)
			}
		}
	}
}

// put writes a number of eight bytes into a page.
func (p *paged) put(page, at, value int) []byte {
	data := bytes.Clone(p.data)
	binary.NativeEndian.PutUint64(data[page*p.size+at:], uint64(value))
	return data
}

// Pages that lead back, or out of the file, would have bbolt call itself until the
// process ends. They are refused, and named.
func TestPagesThatLeadAstray(t *testing.T) {
	t.Parallel()
	p := newPaged(t)
	branch, leaf, free := p.page(t, "branch"), p.page(t, "leaf"), p.page(t, "freelist")
	last := len(p.kinds["branch"]) - 1
	other := p.kinds["branch"][last]
	root := int(binary.NativeEndian.Uint64(p.data[p.page(t, "newest meta")*p.size+atMeta+16:]))
	inUse := p.data[free*p.size+atElements:]
	for name, data := range map[string][]byte{
		"a branch that leads to itself":         p.put(branch, atElements+8, branch),
		"its last element does":                 p.put(other, atElements+16*(int(binary.NativeEndian.Uint16(p.data[other*p.size+atCount:]))-1)+8, other),
		"two branches that lead to each other":  p.put(branch, atElements+8, other),
		"a branch that leads to the root":       p.put(branch, atElements+8, root),
		"a branch that leads to a meta page":    p.put(branch, atElements+8, 1),
		"a branch that leads to the free list":  p.put(branch, atElements+8, free),
		"a branch that leads out of the file":   p.put(branch, atElements+8, 1<<30),
		"a branch that leads far out of it":     p.put(branch, atElements+8, -1),
		"a branch that leads to a free page":    p.put(branch, atElements+8, int(binary.NativeEndian.Uint64(inUse))),
		"a branch that has the same leaf twice": p.put(branch, atElements+8, int(binary.NativeEndian.Uint64(p.data[branch*p.size+atElements+16+8:]))),
		"a leaf that says it is a branch": func() []byte {
			data := bytes.Clone(p.data)
			data[leaf*p.size+atFlags] = 1
			return data
		}(),
		"a free page that is in use":       p.put(free, atElements, leaf),
		"a free page that is free twice":   p.put(free, atElements, int(binary.NativeEndian.Uint64(inUse[8:]))),
		"a free page that is a meta page":  p.put(free, atElements, 0),
		"a free page that is the list":     p.put(free, atElements, free),
		"a free page outside of the file":  p.put(free, atElements, 1<<30),
		"pages that go on beyond the last": func() []byte { data := p.put(leaf, atMore, 0); data[leaf*p.size+atMore+2] = 1; return data }(),
	} {
		if err := p.opened(t, data); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "page ") {
			t.Errorf("%s: %v", name, err)
		}
		if err := checked(t, data); !errors.Is(err, listing.ErrDamaged) {
			t.Errorf("%s: Check says %v", name, err)
		}
		damaged := filepath.Join(t.TempDir(), "damaged.db")
		if err := os.WriteFile(damaged, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := listing.Repair(t.Context(), damaged, operator, true); !errors.Is(err, listing.ErrDamaged) {
			t.Errorf("%s: repaired: %v", name, err)
		}
		if _, err := listing.Restore(t.Context(), damaged, filepath.Join(t.TempDir(), "listing.db"), operator); !errors.Is(err, listing.ErrDamaged) {
			t.Errorf("%s: restored: %v", name, err)
		}
	}
}

// Whatever the walk through the pages lets pass, bbolt's own check, which is safe
// then, finds nothing wrong with; and the walk refuses no good file.
func TestPagesAgainstBolt(t *testing.T) {
	t.Parallel()
	p := newPaged(t)
	if err := errors.Join(listing.CheckPageData(p.data, false), listing.CheckPageData(p.data, true)); err != nil {
		t.Fatal(err)
	}
	r := randomOf(t)
	var used []int
	for _, kind := range []string{"newest meta", "freelist", "branch", "leaf", "leaf", "leaf"} {
		used = append(used, p.kinds[kind]...)
	}
	path := filepath.Join(t.TempDir(), "pages.db")
	passed, refused := 0, 0
	for range long(t, 300) {
		data := bytes.Clone(p.data)
		for range 1 + r.IntN(2) {
			page := used[r.IntN(len(used))]
			data[page*p.size+r.IntN(256)] ^= byte(1 + r.IntN(255))
		}
		if listing.CheckPageData(data, true) != nil {
			refused++
			continue
		}
		passed++
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := listing.CheckPages(path, func(err error) { t.Error(err) }); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("torture: pages: of %d files with a byte or two changed %d were refused, %d passed and bbolt finds nothing wrong with them", passed+refused, refused, passed)
	if passed == 0 || refused == 0 {
		t.Error("there should be both")
	}
}
