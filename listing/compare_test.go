package listing_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
)

// A comparison is the difference, with the time of what it begins from.
func TestCompare(t *testing.T) {
	t.Parallel()
	s := start(t)
	all := shuffle(t, s, rand.New(rand.NewPCG(8, 8)), 20)
	compared := 0
	for i, from := range all {
		for _, to := range all[i:] {
			got, err := s.Compare(from.Sequence(), to.Sequence(), 1<<20)
			if errors.Is(err, listing.ErrCut) && i == 0 {
				continue // of the store's beginning no change tells when it was
			}
			want, wantErr := s.Between(from.Sequence(), to.Sequence())
			if err != nil || wantErr != nil {
				t.Fatal(err, wantErr)
			}
			if diff := cmp.Diff(want, got.Difference, compareEntries); diff != "" {
				t.Fatalf("from %d to %d (-want +got):\n%s", from.Sequence(), to.Sequence(), diff)
			}
			if !got.Before.Equal(from.Time()) {
				t.Errorf("%d was published at %s, not at %s", from.Sequence(), from.Time(), got.Before)
			}
			compared++
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
	first, last := all[1].Sequence(), all[len(all)-1].Sequence()
	if _, err := s.Compare(first, last, 100); !errors.Is(err, listing.ErrLarge) {
		t.Errorf("more than a hundred bytes: %v", err)
	}
	for _, wrong := range [][2]uint64{{first - 1<<20, last}, {first, last + 1}, {last, first}, {last + 1, last + 1}} {
		if _, err := s.Compare(wrong[0], wrong[1], 1<<20); !errors.Is(err, listing.ErrCut) {
			t.Errorf("from %d to %d: %v", wrong[0], wrong[1], err)
		}
	}
}

// Of what the journal begins with nothing tells any more when it was.
func TestCompareAfterPruning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Journal = listing.Keep{Serials: 3}
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
		for n := range 6 {
			s.list(time.Time{}, "192.0.2."+string(rune('1'+n)))
		}
		time.Sleep(31 * 24 * time.Hour)
		synctest.Wait()
		last := s.Snapshot().Sequence()
		if _, err := s.Compare(last-2, last, 1<<20); err != nil {
			t.Error(err)
		}
		if _, err := s.Compare(last-3, last, 1<<20); !errors.Is(err, listing.ErrCut) {
			t.Errorf("one further: %v", err)
		}
	})
}
