package listing_test

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// largeValues returns the keys of the values that stand apart.
func largeValues(t *testing.T, path string) (keys []string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("large")).ForEach(func(key, _ []byte) error {
			keys = append(keys, string(key[:1]))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// changedPages counts the pages of a file that are not as they were.
func changedPages(before, after []byte) (n int) {
	const page = 4096
	for at := 0; at < len(after); at += page {
		now := after[at:min(at+page, len(after))]
		if at >= len(before) || !bytes.Equal(now, before[at:min(at+page, len(before))]) {
			n++
		}
	}
	return n
}

// What comes after an order about a whole list does not write that order again.
func TestLargeOrderIsWrittenOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	const n = 40_000
	r, err := s.List(t.Context(), operator, hosts(t, n))
	if err != nil || len(r.Added) != n {
		t.Fatalf("%d added: %v", len(r.Added), err)
	}
	for i := range 5 {
		before := read(t, s.path)
		s.observe(bounce(i, "192.0.2.1", time.Now()))
		if pages := changedPages(before, read(t, s.path)); pages > 40 {
			t.Errorf("observation %d after it wrote %d pages", i, pages)
		}
	}
	d, err := s.Since(r.Sequence - 1)
	if err != nil || len(d.Added) != n+1 {
		t.Errorf("%d added since then: %v", len(d.Added), err)
	}
	entries, err := s.Audit(listing.AuditFilter{})
	if err != nil || !slices.ContainsFunc(entries, func(a listing.AuditEntry) bool { return a.Action == listing.ActionList && a.Count == n }) {
		t.Errorf("the audit does not tell of it: %v", err)
	}
	s.verify()
	s = s.reopen(eager())
	s.verify()
	if s.Snapshot().Len() != n+1 {
		t.Errorf("%d after the next start", s.Snapshot().Len())
	}
	s.stop()
	if got := largeValues(t, s.path); !slices.Equal(got, []string{"a", "j"}) {
		t.Errorf("apart stand %q", got)
	}
}

// A large value goes with the change that it is of.
func TestLargeValuesArePruned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		later := func(d time.Duration, apart ...string) {
			t.Helper()
			s.stop()
			time.Sleep(d)
			s = open(t, s.path, eager())
			s.resume() // the clock is right
			time.Sleep(time.Hour)
			s.verify()
			s.stop()
			if got := largeValues(t, s.path); !slices.Equal(got, apart) {
				t.Errorf("after %s apart stand %q, not %q", d, got, apart)
			}
			s = open(t, s.path, eager())
		}
		if _, err := s.List(t.Context(), operator, hosts(t, 8000)); err != nil {
			t.Fatal(err)
		}
		later(29*day, "a", "j")
		later(2*day, "a")
		later(2*366*day, []string{}...)
	})
}

// A large value that is damaged is named and mended as any other, and one that
// nothing refers to is dropped.
func TestDamagedLargeValue(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, 8000)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	for _, drop := range []bool{false, true} {
		// The first value of the bucket is that of the audit.
		if drop {
			spoil(t, s.path, "large")
		} else {
			db, err := bolt.Open(s.path, 0o600, &bolt.Options{Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte("large"))
				key, value := b.Cursor().Last() // of the journal
				value = bytes.Clone(value)
				value[len(value)/2] ^= 4
				return b.Put(bytes.Clone(key), value)
			})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		v, err := listing.Check(s.path)
		part := map[bool]string{false: "journal", true: "audit"}[drop]
		if err != nil || !slices.ContainsFunc(v.Damage, func(d listing.Damage) bool { return d.Part == part }) {
			t.Errorf("damage of the %s: %+v %v", part, v.Damage, err)
		}
		if _, err := listing.Repair(t.Context(), s.path, operator, drop); err != nil {
			t.Fatal(err)
		}
		if v, err := listing.Check(s.path); err != nil || len(v.Damage) > 0 {
			t.Errorf("after the repair of the %s: %+v %v", part, v.Damage, err)
		}
	}
	if got := largeValues(t, s.path); len(got) != 0 {
		t.Errorf("apart stand %q", got)
	}
	s = open(t, s.path, eager())
	if s.Snapshot().Len() != 8000 {
		t.Errorf("%d are listed", s.Snapshot().Len())
	}
}
