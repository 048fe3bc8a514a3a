package listing_test

import (
	"errors"
	"fmt"
	"iter"
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
	want, err := collected(s.Journal(from))
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

// collected is all of what an iterator yields.
func collected(changes iter.Seq2[listing.Change, error]) (all []listing.Change, err error) {
	for c, err := range changes {
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// A journal that is longer than what is read at once is read whole, while the
// store goes on, and no further than it reached at first.
func TestJournalInSteps(t *testing.T) {
	t.Parallel()
	s := start(t)
	from := s.Snapshot().Sequence()
	many := hosts(t, 3000)
	var keys []listing.Key
	for _, m := range many {
		keys = append(keys, m.Key)
	}
	for range 2 {
		if _, err := s.List(t.Context(), operator, many); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delist(t.Context(), operator, keys, 0); err != nil {
			t.Fatal(err)
		}
	}
	next := from
	for c, err := range s.Journal(from) {
		if next++; err != nil || c.Sequence != next || len(c.Added)+len(c.Removed) != len(many) {
			t.Fatalf("change %d of %d and %d entries, want %d: %v", c.Sequence, len(c.Added), len(c.Removed), next, err)
		}
		s.list(time.Time{}, fmt.Sprintf("192.0.2.%d", next-from)) // no transaction is in the way
	}
	if next != from+4 {
		t.Errorf("%d changes, want 4", next-from)
	}
	for c, err := range s.Journal(from) {
		if err != nil || c.Sequence != from+1 {
			t.Errorf("the first is %d: %v", c.Sequence, err)
		}
		break
	}
}

// A change of the published settings begins the journal anew: who asks for a
// difference gets the whole list. But what left the list before is told still, as
// long as the journal is kept.
func TestChangesOutlastSettings(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	listed := s.Snapshot().Sequence()
	settings := eager()
	settings.Published = [32]byte{2}
	if _, err := s.Apply(t.Context(), operator, settings); err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // each may drop what is not kept any more
		s.observe(bounce(10+i, fmt.Sprintf("198.51.100.%d", i), time.Now()))
	}
	if _, err := collected(s.Journal(listed)); !errors.Is(err, listing.ErrCut) {
		t.Errorf("a difference across the settings: %v", err)
	}
	told := false
	for c, err := range s.Changes() {
		if err != nil {
			t.Fatal(err)
		}
		told = told || c.Sequence == listed && len(c.Added) == 1
	}
	if !told {
		t.Error("what changed before the settings did is forgotten")
	}
}
