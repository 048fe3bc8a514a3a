package listing_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"backscatter/listing"
)

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
	f, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 2*os.Getpagesize()), 0); err != nil {
		t.Fatal(err)
	}
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
