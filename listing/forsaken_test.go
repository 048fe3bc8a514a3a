package listing_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"backscatter/listing"
)

// TestSpoiltInACommit has a reader find spoilt meta pages while a change is under way:
// bbolt keeps the lock that the commit needs. It is not waited for, nor is it at the
// end of who read before.
func TestSpoiltInACommit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "listing.db")
	store, err := listing.Open(path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	spoilt := false
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store.OnStage(func(stage string) error {
		if stage != "finished" || spoilt {
			return nil
		}
		spoilt = true
		err := store.Reading(func() {
			overwriteMeta(t, path)
			if err := store.Begin(); !errors.Is(err, listing.ErrDamaged) {
				t.Errorf("a transaction on no meta page: %v", err)
			}
		})
		if err != nil {
			t.Error(err)
		}
		return nil
	})
	s := run(t, path, store)
	for range 3 {
		if _, err := s.Observe(ctx, bounce(1, "203.0.113.5", time.Now())); !errors.Is(err, listing.ErrUnavailable) {
			t.Errorf("an observation: %v", err)
		}
	}
	s.want()
	s.stop()
	if ctx.Err() != nil {
		t.Error("it took for ever")
	}
}

func overwriteMeta(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 2*os.Getpagesize()), 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

// TestSpoiltAsItBegins overwrites the meta pages between the look at the file and
// the transaction. bbolt keeps its locks then, and nobody may wait for them: what
// writes is refused, what was published is answered, and the store can be closed.
func TestSpoiltAsItBegins(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1")
	s.stop()
	store, err := listing.Open(s.path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	overwriteMeta(t, s.path)
	if err := store.Begin(); !errors.Is(err, listing.ErrDamaged) {
		t.Fatalf("a transaction on no meta page: %v", err)
	}
	s = run(t, s.path, store)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		if _, err := s.Observe(ctx, bounce(1, "203.0.113.5", time.Now())); !errors.Is(err, listing.ErrUnavailable) {
			t.Errorf("an observation: %v", err)
		}
		if _, err := s.Explain(netip.MustParseAddr("192.0.2.1")); err == nil {
			t.Error("it explains what it cannot read")
		}
	}
	if err := s.Begin(); err == nil || ctx.Err() != nil {
		t.Errorf("another transaction: %v, %v", err, ctx.Err())
	}
	s.want("192.0.2.1/32")
}
