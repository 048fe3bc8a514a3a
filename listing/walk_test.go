package listing_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"backscatter/listing"
)

// Walk yields what All does, in its order, and ends where it is told to.
func TestWalk(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	prefixes := map[netip.Prefix]bool{netip.MustParsePrefix("0.0.0.0/32"): true, netip.MustParsePrefix("255.255.255.255/32"): true}
	for range 2000 {
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], rng.Uint32())
		prefixes[netip.PrefixFrom(netip.AddrFrom4(v4), 32)] = true
		v4[3] = 0
		prefixes[netip.PrefixFrom(netip.AddrFrom4(v4), 24+rng.IntN(3))] = true
		prefixes[netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, v4[0], v4[1], v4[2]}), 64)] = true
	}
	s := listing.NewSnapshot(listing.Build{Sequence: 1, Time: time.Unix(1, 0), Entries: func(yield func(listing.Entry) bool) {
		for p := range prefixes {
			class := listing.Classes[rng.IntN(len(listing.Classes))]
			if !yield(listing.Entry{Prefix: p, Class: class, Classes: listing.ClassSetOf(class), Summary: listing.Summary{Events: uint16(rng.IntN(3))}}) {
				return
			}
		}
	}})
	all := slices.Collect(s.All())
	if len(all) != len(prefixes) {
		t.Fatalf("%d entries, want %d", len(all), len(prefixes))
	}
	for _, most := range []int{len(all), 0, 1, 100, len(all) - 1} {
		var got []listing.Entry
		s.Walk(func(some []listing.Host) bool {
			for _, h := range some {
				if len(got) == most {
					return false
				}
				var v4 [4]byte
				binary.BigEndian.PutUint32(v4[:], h.Addr)
				e := s.Told(h.Told)
				e.Prefix = netip.PrefixFrom(netip.AddrFrom4(v4), 32)
				got = append(got, e)
			}
			return true
		}, func(e listing.Entry) bool {
			if len(got) == most {
				return false
			}
			got = append(got, e)
			return true
		})
		if !slices.Equal(got, all[:most]) {
			t.Errorf("Walk yields %d entries, other than the first %d of All", len(got), most)
		}
	}
}
