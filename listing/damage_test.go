package listing_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// logged keeps what a store logs.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) lines() int { return strings.Count(l.text(), "\n") }

func openLogged(t *testing.T) (*running, *logged) {
	t.Helper()
	log := &logged{}
	path := filepath.Join(t.TempDir(), "listing.db")
	s, err := listing.Open(path, listing.Options{Settings: eager(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, path, s), log
}

// spoil changes the first value of a bucket.
func (r *running) spoil(bucket string, change func(key, value []byte) (newKey, newValue []byte)) {
	r.t.Helper()
	err := r.DB().Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		key, value := b.Cursor().First()
		key, value = bytes.Clone(key), bytes.Clone(value)
		if err := b.Delete(key); err != nil {
			return err
		}
		return b.Put(change(key, value))
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// A damaged entry of the expiry index neither stops the others from ending, nor
// has the writer try again without a pause.
func TestDamagedIndexHarmsNoOther(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(key, value []byte) (newKey, newValue []byte){
		"checksum": func(key, value []byte) ([]byte, []byte) { value[len(value)-1] ^= 1; return key, value },
		"length":   func(key, value []byte) ([]byte, []byte) { return key[:9], value },
		"prefix":   func(key, value []byte) ([]byte, []byte) { key[5+5] = 200; return key, value },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, log := openLogged(t)
				s.list(time.Now().Add(time.Hour), "192.0.2.1")
				s.list(time.Now().Add(2*time.Hour), "192.0.2.2")
				s.spoil("expiry", spoil)
				time.Sleep(3 * time.Hour)
				for e := range s.Snapshot().All() {
					if e.Prefix.Addr().String() == "192.0.2.2" {
						t.Error("192.0.2.2 did not end")
					}
				}
				if n := log.lines(); n == 0 || n > 10 {
					t.Errorf("%d lines were logged", n)
				}
			})
		})
	}
}

// A record that cannot be read keeps no other from ending in its time, whether it is of
// a host below that or of the prefix above. Of its own, what was published stays:
// nobody can tell any more whether that was renewed.
func TestEndBesideADamagedRecord(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bits byte // of the record that is damaged
		told string
		left []string
	}{
		"of a host":     {32, "record 192.0.2.0:", nil},
		"of the prefix": {24, "record 192.0.2.0/24:", []string{"192.0.2.0/24"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, log := openLogged(t)
				s.observe(bounce(1, "192.0.2.0", time.Now()))
				s.list(time.Now().Add(time.Hour), "192.0.2.0/24", "198.51.100.1", "203.0.113.1")
				err := s.DB().Update(func(tx *bolt.Tx) error {
					b, key := tx.Bucket([]byte("records")), []byte{4, 192, 0, 2, 0, test.bits}
					value := bytes.Clone(b.Get(key))
					value[len(value)-1] ^= 1
					return b.Put(key, value)
				})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					time.Sleep(time.Hour + time.Second)
					s.want(test.left...)
				}
				if n := log.lines(); n == 0 || n > 10 || !strings.Contains(log.text(), test.told) {
					t.Errorf("%d lines were logged in two hours:\n%s", n, log.text())
				}
				v, err := s.Examine()
				if err != nil || !slices.ContainsFunc(v.Damage, func(d listing.Damage) bool { return strings.Contains(d.String(), test.told) }) {
					t.Errorf("verify does not name it: %+v %v", v.Damage, err)
				}
				s.reopen(eager()).want(test.left...)
			})
		})
	}
}

// A damaged record does not take the others out of the table of endings, by
// which answers are kept from outliving their listings.
func TestEndingsBesideADamagedRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := openLogged(t)
		until := time.Now().Add(time.Hour)
		s.list(until, "192.0.2.1", "192.0.2.2")
		s.spoil("records", func(key, value []byte) ([]byte, []byte) { value[len(value)-1] ^= 1; return key, value })
		time.Sleep(time.Hour - 3*time.Minute)
		if got, ok := s.Snapshot().Until(netip.MustParseAddr("192.0.2.2")); !ok || !got.Equal(until) {
			t.Errorf("ends %s %t", got, ok)
		}
	})
}

// Settings whose commit failed, and reached the disk all the same, are put in
// force when they are applied again.
func TestApplyAgainAfterAFailedCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "listing.db")
		s, err := listing.Open(path, listing.Options{Settings: eager()})
		if err != nil {
			t.Fatal(err)
		}
		fault := s.InjectFault()
		r := run(t, path, s)
		next := eager()
		next.Policy = listing.Community()
		fault.Break(syscall.EIO, true)
		if _, err := s.Apply(t.Context(), operator, next); !errors.Is(err, listing.ErrUnavailable) {
			t.Fatal(err)
		}
		fault.Mend()
		time.Sleep(time.Minute)
		if got := s.Settings().Policy; got != eager().Policy {
			t.Errorf("what failed is in force: %+v", got)
		}
		if _, err := s.Apply(t.Context(), operator, next); err != nil {
			t.Fatal(err)
		}
		if got := s.Settings().Policy; got != next.Policy {
			t.Errorf("what was applied is not in force: %+v", got)
		}
		r.verify()
	})
}

// A page of the audit is bounded, however much its entries are about.
func TestAuditPageIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, 5000)); err != nil {
		t.Fatal(err)
	}
	all, err := s.Audit(listing.AuditFilter{After: 1})
	if err != nil || len(all) != 1 {
		t.Fatal(len(all), err)
	}
	if a := all[0]; a.Count != 5000 || len(a.Prefixes) != 1000 || cap(a.Prefixes) > 2000 {
		t.Errorf("%d prefixes of %d, room for %d", len(a.Prefixes), a.Count, cap(a.Prefixes))
	}
	if none, err := s.Audit(listing.AuditFilter{After: math.MaxUint64}); err != nil || len(none) != 0 {
		t.Errorf("after the last number there is: %d entries, %v", len(none), err)
	}
}

// A change looks at the records of its neighbourhood, and at no others: else
// the highest IPv4 host that is listed would cost a walk through all of IPv6.
func TestChangeStaysInItsNeighbourhood(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "2001:db8::1", time.Now()))
	s.spoil("records", func(key, value []byte) ([]byte, []byte) { key[16] = 200; return key, value })
	s.observe(bounce(2, "203.0.113.255", time.Now()))
	s.want("203.0.113.255/32", "2001:db8::/64")
	page, err := s.Listings(listing.Filter{Within: netip.MustParsePrefix("203.0.113.0/24")})
	if err != nil || len(page) != 1 {
		t.Errorf("%d listings: %v", len(page), err)
	}
}

// The newest meta page is damaged under a store that runs: bbolt would go back by a
// commit. Nothing is written then; what is served stays; and when the page is right
// again the store goes on.
func TestMetaPageDamagedUnderTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, log := openLogged(t)
		s.list(time.Time{}, "192.0.2.1")
		f, err := os.OpenFile(s.path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		txid := 0
		if err := s.DB().View(func(tx *bolt.Tx) error { txid = tx.ID(); return nil }); err != nil {
			t.Fatal(err)
		}
		checksum := int64(txid%2*os.Getpagesize() + 16 + 56)
		flip := func() {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, checksum); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1
			if _, err := f.WriteAt(b, checksum); err != nil {
				t.Fatal(err)
			}
		}
		flip()
		if v, err := s.Examine(); err != nil || len(v.Damage) != 1 || !strings.Contains(v.Damage[0].What, "meta page") {
			t.Errorf("verify: %+v %v", v.Damage, err)
		}
		for n := range 3 {
			if _, err := s.Observe(t.Context(), bounce(n, "192.0.2.66", time.Now())); !errors.Is(err, listing.ErrUnavailable) {
				t.Errorf("a report: %v", err)
			}
			time.Sleep(time.Minute)
		}
		s.want("192.0.2.1/32")
		if !strings.Contains(log.text(), "what was written last is lost") {
			t.Errorf("it is not told: %s", log.text())
		}
		flip()
		time.Sleep(time.Minute)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.want("192.0.2.1/32", "192.0.2.66/32")
		s.verify()
	})
}

// The file is taken away under a store that runs: nothing is acknowledged that
// nobody would find again, and when it is back the store goes on.
func TestFileGoneUnderTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, log := openLogged(t)
		s.list(time.Time{}, "192.0.2.1")
		away := s.path + ".away"
		if err := os.Rename(s.path, away); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Observe(t.Context(), bounce(1, "192.0.2.66", time.Now())); !errors.Is(err, listing.ErrUnavailable) {
			t.Errorf("a report: %v", err)
		}
		time.Sleep(time.Minute)
		s.want("192.0.2.1/32")
		if !strings.Contains(log.text(), "no such file") {
			t.Errorf("it is not told: %s", log.text())
		}
		if err := os.Rename(away, s.path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.want("192.0.2.1/32", "192.0.2.66/32")
		s.verify()
	})
}
