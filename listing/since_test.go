package listing_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

// apply makes the snapshot after a difference, as a mirror would.
func apply(s *listing.Snapshot, d listing.Difference) *listing.Snapshot {
	n := listing.Next{Sequence: d.To, Time: d.Time, Added: d.Added}
	for _, e := range d.Removed {
		n.Removed = append(n.Removed, e.Prefix)
	}
	return s.Next(n)
}

func everything(s *listing.Snapshot) []listing.Entry { return slices.Collect(s.All()) }

// shuffle lists and delists at random, and returns the snapshot of each sequence.
func shuffle(t *testing.T, s *running, r *rand.Rand, steps int) []*listing.Snapshot {
	t.Helper()
	all := []*listing.Snapshot{s.Snapshot()}
	for n := range steps {
		text := fmt.Sprintf("192.0.2.%d", r.IntN(6))
		if r.IntN(8) == 0 {
			text = fmt.Sprintf("2001:db8:%d::", r.IntN(3))
		}
		switch k := key(t, text); r.IntN(3) {
		case 0:
			_, err := s.Delist(t.Context(), operator, []listing.Key{k}, 0)
			if err != nil && !errors.Is(err, listing.ErrNotListed) {
				t.Fatal(err)
			}
		case 1:
			s.list(time.Now().Add(time.Duration(1+r.IntN(40))*24*time.Hour), text)
		default:
			s.observe(bounce(n, k.Prefix().Addr().String(), time.Now()))
		}
		if now := s.Snapshot(); now.Sequence() != all[len(all)-1].Sequence() {
			all = append(all, now)
		}
	}
	return all
}

// What differs between any two sequences makes the one out of the other, and
// tells of nothing that does not differ.
func TestBetween(t *testing.T) {
	t.Parallel()
	s := start(t)
	all := shuffle(t, s, rand.New(rand.NewPCG(7, 7)), 60)
	for i, from := range all {
		for _, to := range all[i:] {
			d, err := s.Between(from.Sequence(), to.Sequence())
			if err != nil {
				t.Fatal(err)
			}
			removed, added := listing.Diff(everything(from), everything(to))
			want := listing.Difference{From: from.Sequence(), To: to.Sequence(), Time: d.Time, Removed: removed, Added: added}
			if diff := cmp.Diff(want, d, compareEntries); diff != "" {
				t.Fatalf("between %d and %d (-want +got):\n%s", from.Sequence(), to.Sequence(), diff)
			}
			if diff := cmp.Diff(everything(to), everything(apply(from, d)), compareEntries); diff != "" {
				t.Fatalf("%d with the difference to %d (-want +got):\n%s", from.Sequence(), to.Sequence(), diff)
			}
		}
		d, err := s.Since(from.Sequence())
		if err != nil || d.To != s.Snapshot().Sequence() {
			t.Fatalf("since %d: %d, %v", from.Sequence(), d.To, err)
		}
	}
	first, last := all[0].Sequence(), all[len(all)-1].Sequence()
	for _, wrong := range [][2]uint64{{first - 1, last}, {first, last + 1}, {last, first}, {last + 1, last + 1}} {
		if _, err := s.Between(wrong[0], wrong[1]); !errors.Is(err, listing.ErrCut) {
			t.Errorf("between %d and %d: %v", wrong[0], wrong[1], err)
		}
	}
}

// A difference is as large as what differs, however much happened.
func TestSinceIsCompact(t *testing.T) {
	t.Parallel()
	s := start(t)
	from := s.Snapshot().Sequence()
	for range 20 {
		s.list(time.Time{}, "192.0.2.1")
		s.delist(0, "192.0.2.1")
	}
	s.list(time.Time{}, "192.0.2.2")
	d, err := s.Since(from)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Removed) != 0 || len(d.Added) != 1 || d.Added[0].Prefix != netip.MustParsePrefix("192.0.2.2/32") || d.To-d.From != 41 {
		t.Errorf("since %d: %+v", from, d)
	}
}

// The journal is kept for 30 days, or as many serials as are wanted.
func TestJournalKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keep       listing.Keep
		days, left int
	}{
		{listing.Keep{}, 29, 5},
		{listing.Keep{}, 31, 0},
		{listing.Keep{For: 24 * time.Hour}, 2, 0},
		{listing.Keep{Serials: 3}, 31, 3},
		{listing.Keep{Serials: 30}, 45, 5},
	} {
		t.Run(fmt.Sprintf("%+v after %d days", tt.keep, tt.days), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				settings := eager()
				settings.Journal = tt.keep
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
				for n := range 5 {
					s.list(time.Time{}, fmt.Sprintf("192.0.2.%d", n))
				}
				time.Sleep(time.Duration(tt.days) * 24 * time.Hour)
				synctest.Wait()
				last := s.Snapshot().Sequence()
				if changes, err := collected(s.Journal(last - uint64(tt.left))); err != nil || len(changes) != tt.left {
					t.Errorf("%d changes, %v, want %d", len(changes), err, tt.left)
				}
				if _, err := s.Since(last - uint64(tt.left) - 1); tt.left < 5 && !errors.Is(err, listing.ErrCut) {
					t.Errorf("one further: %v", err)
				}
				s.verify()
			})
		})
	}
}

func TestCompareSerial(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b  uint32
		order int
		ok    bool
	}{
		{5, 5, 0, true},
		{5, 6, -1, true},
		{6, 5, 1, true},
		{1<<32 - 1, 0, -1, true},
		{0, 1<<32 - 1, 1, true},
		{1<<32 - 100, 100, -1, true},
		{0, 1<<31 - 1, -1, true},
		{0, 1 << 31, 0, false},
		{1 << 31, 0, 0, false},
		{0, 1<<31 + 1, 1, true},
	} {
		if order, ok := listing.CompareSerial(tt.a, tt.b); order != tt.order || ok != tt.ok {
			t.Errorf("CompareSerial(%d, %d) = %d, %t, want %d, %t", tt.a, tt.b, order, ok, tt.order, tt.ok)
		}
	}
}

func TestSequenceOf(t *testing.T) {
	t.Parallel()
	const wrap = 1 << 32
	for _, tt := range []struct {
		serial   uint32
		current  uint64
		sequence uint64
		ok       bool
	}{
		{7, 7, 7, true},
		{5, 7, 5, true},
		{8, 7, 0, false},
		{1<<32 - 1, 7, 0, false}, // before the first
		{1<<32 - 1, wrap + 7, wrap - 1, true},
		{7, wrap + 7, wrap + 7, true},
		{8, wrap + 7, 0, false}, // one ahead, not a whole round behind
		{2, 3*wrap + 7, 3*wrap + 2, true},
		{1 << 31, 2 * wrap, 0, false}, // half the space apart
		{1<<31 + 1, 2 * wrap, wrap + 1<<31 + 1, true},
	} {
		if got, ok := listing.SequenceOf(tt.serial, tt.current); got != tt.sequence || ok != tt.ok {
			t.Errorf("SequenceOf(%d, %d) = %d, %t, want %d, %t", tt.serial, tt.current, got, ok, tt.sequence, tt.ok)
		}
	}
}

// A store goes on past the end of the serials, reopened or not, and secondaries
// with serials of before find their difference.
func TestSerialWraps(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.stop()
	const wrap = 1 << 32
	if err := listing.SetSequence(s.path, wrap-20); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.path, eager())
	r := rand.New(rand.NewPCG(3, 3))
	all := shuffle(t, s, r, 30)
	s = s.reopen(eager())
	for _, snap := range shuffle(t, s, r, 30) {
		if snap.Sequence() != all[len(all)-1].Sequence() {
			all = append(all, snap)
		}
	}
	last := s.Snapshot()
	if last.Sequence() <= wrap || last.Serial() >= 100 {
		t.Fatalf("sequence %d: no wrap", last.Sequence())
	}
	for i, snap := range all {
		if i > 0 {
			if order, ok := listing.CompareSerial(all[i-1].Serial(), snap.Serial()); order >= 0 || !ok {
				t.Errorf("serial %d after %d", snap.Serial(), all[i-1].Serial())
			}
		}
		sequence, ok := listing.SequenceOf(snap.Serial(), last.Sequence())
		if !ok || sequence != snap.Sequence() {
			t.Fatalf("serial %d is of sequence %d, %t, want %d", snap.Serial(), sequence, ok, snap.Sequence())
		}
		d, err := s.Since(sequence)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(everything(last), everything(apply(snap, d)), compareEntries); diff != "" {
			t.Fatalf("since %d (-want +got):\n%s", sequence, diff)
		}
	}
	s.verify()
}
