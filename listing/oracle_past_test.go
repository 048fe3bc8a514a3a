package listing_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"backscatter/listing"
)

// past is what was to be seen at a moment, for as long as the clock stood there.
type past struct {
	at       time.Time
	sequence uint64
	answers  [16]bool
	entries  []listing.Entry
}

// remember notes what is to be seen now.
func (m *model) remember(s *running) {
	snap := s.Snapshot()
	p := past{at: m.now, sequence: snap.Sequence(), entries: everything(snap)}
	for n := range p.answers {
		p.answers[n] = m.answers(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}))
	}
	if last := len(m.pasts) - 1; last >= 0 && m.pasts[last].at.Equal(p.at) {
		m.sequences = append(m.sequences, p)
		m.pasts[last] = p
		return
	}
	m.pasts, m.sequences = append(m.pasts, p), append(m.sequences, p)
}

// lookBack asks the store for what was at a moment, and for what differs between
// any two.
func (m *model) lookBack(t *testing.T, s *running, r *rand.Rand) {
	t.Helper()
	p := m.pasts[r.IntN(len(m.pasts))]
	n := r.IntN(len(p.answers))
	addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	x, err := s.ExplainAt(addr, p.at)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Unsure) == 0 && x.Listed != p.answers[n] {
		t.Fatalf("show %s at %s tells that listed was %t, and it was %t", addr, p.at, x.Listed, p.answers[n])
	}
	a, b := m.sequences[r.IntN(len(m.sequences))], m.sequences[r.IntN(len(m.sequences))]
	if a.sequence > b.sequence {
		a, b = b, a
	}
	d, err := s.Between(a.sequence, b.sequence)
	if errors.Is(err, listing.ErrCut) && m.now.Sub(a.at) > 29*24*time.Hour {
		return // that is not kept any more
	}
	if err != nil {
		t.Fatal(err)
	}
	removed, added := listing.Diff(a.entries, b.entries)
	if !slices.Equal(d.Removed, removed) || !slices.Equal(d.Added, added) {
		t.Fatalf("between %d and %d: %+v, want %+v away and %+v new", a.sequence, b.sequence, d, removed, added)
	}
}

// try asks what would be under a rule that nothing meets: what evidence alone
// lists goes, and what an operator lists stays.
func (m *model) try(t *testing.T, s *running) {
	t.Helper()
	settings := s.Settings()
	settings.Policy.Originals = 1000
	stay, gone := 0, 0
	for p, k := range m.hosts {
		switch {
		case m.isExempt(p):
		case k.manual != nil:
			stay++
		case k.evidence != nil:
			gone++
		}
	}
	got, err := s.Try(t.Context(), settings, func(one listing.Trial) error {
		k := m.hosts[one.Key.Prefix()]
		if k == nil || (one.Fate == listing.Stays) != (k.manual != nil) {
			t.Errorf("try: %+v", one)
		}
		return nil
	}, func(uint64, uint64) {})
	if err != nil || got.Come != 0 || got.Go != uint64(gone) || got.Stay != uint64(stay) {
		t.Fatalf("try: %+v %v, want %d to go and %d to stay", got, err, gone, stay)
	}
}
