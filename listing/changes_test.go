package listing_test

import (
	"testing"
	"time"

	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	s := start(t)
	from := s.Snapshot().Sequence()
	for i, addr := range []string{"192.0.2.66", "198.51.100.7", "203.0.113.9"} {
		s.observe(bounce(i+1, addr, time.Now()))
	}
	want, err := s.Journal(from)
	if err != nil || len(want) != 3 {
		t.Fatalf("%d changes, %v", len(want), err)
	}
	collect := func(most int) (got []listing.Change) {
		for c, err := range s.Changes() {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, c); len(got) == most {
				break
			}
		}
		return got
	}
	all := collect(-1)
	if diff := cmp.Diff(want, all[len(all)-3:], compareEntries); diff != "" {
		t.Error(diff)
	}
	if got := collect(1); len(got) != 1 {
		t.Errorf("broken off after %d", len(got))
	}
	s.stop()
	for _, err := range s.Changes() {
		if err == nil {
			t.Error("a store that is closed has changes")
		}
	}
}
