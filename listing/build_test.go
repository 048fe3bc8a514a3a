package listing_test

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"backscatter/listing"
)

// TestBuilder gives random lists to a builder, host by host and as hosts that tell
// the same, from hosts that are scattered to those that stand side by side, and wants
// the snapshot to have just these.
func TestBuilder(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 7))
	for round, spread := range []uint32{1, 1, 2, 7, 300, 5000, 70_000, 70_000} {
		b, want := listing.NewBuilder(), oracle{}
		begin := rng.Uint32()
		hosts := map[int][]uint32{}
		for i := range uint32(25_000) {
			host, tells := begin+i*spread, 0 // over the end of all addresses, too
			if round%2 == 1 {
				tells = rng.IntN(400)
			}
			e := plainEntry(host4(host), tells)
			want[e.Prefix] = e
			if rng.IntN(10) == 0 {
				b.Add(e)
			} else {
				hosts[tells] = append(hosts[tells], host)
			}
		}
		for tells, some := range hosts {
			if rng.IntN(2) == 0 {
				rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			}
			cut := rng.IntN(len(some))
			b.AddHosts(plainEntry(netip.Prefix{}, tells), some[:cut])
			b.AddHosts(plainEntry(host4(1), tells), some[cut:])
		}
		net := plainEntry(netip.MustParsePrefix("2001:db8::/64"), round)
		want[net.Prefix] = net
		s := b.Snapshot(listing.Build{Sequence: 7, Entries: slices.Values([]listing.Entry{net})})
		if !slices.Equal(want.sorted(), slices.Collect(s.All())) {
			t.Fatalf("round %d: All differs from what was put in", round)
		}
		if s.Sequence() != 7 || s.Len() != len(want) || !maps.Equal(s.Counts(), want.counts()) {
			t.Errorf("round %d: sequence %d, %d entries, %v", round, s.Sequence(), s.Len(), s.Counts())
		}
		// It is a snapshot like any other.
		gone := host4(begin)
		next := s.Next(listing.Next{Removed: []netip.Prefix{gone}})
		delete(want, gone)
		if !slices.Equal(want.sorted(), slices.Collect(next.All())) || next.Len() != len(want) || !maps.Equal(next.Counts(), want.counts()) {
			t.Errorf("round %d: what follows it differs", round)
		}
	}
}

// A host that came twice is there once, and counted once: so who asks how many there
// are learns of it.
func TestBuilderHostsTwice(t *testing.T) {
	t.Parallel()
	b := listing.NewBuilder()
	b.Add(plainEntry(host4(3), 1))
	b.AddHosts(plainEntry(netip.Prefix{}, 1), []uint32{1, 2, 1, 3, 4})
	b.AddHosts(plainEntry(netip.Prefix{}, 2), []uint32{4, 5})
	s := b.Snapshot(listing.Build{})
	if got := s.Counts()[listing.ClassBounce]; s.Len() != 5 || got != 5 {
		t.Errorf("%d entries, %d of them bounces, want 5", s.Len(), got)
	}
}
