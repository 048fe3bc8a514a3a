package listing_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"backscatter/listing"
)

// TestNear wants a place for each listed IPv4 host, whether hosts are dense or
// scattered, and no trouble with any other address.
func TestNear(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 9))
	var all []listing.Entry
	seen := map[netip.Addr]bool{}
	add := func(v uint32) {
		a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		if !seen[a] {
			seen[a] = true
			all = append(all, listing.Entry{Prefix: netip.PrefixFrom(a, 32), Classes: listing.ClassSetOf(listing.ClassBounce), Class: listing.ClassBounce})
		}
	}
	for i := range uint32(40_000) {
		add(rnd.Uint32())
		add(203<<24 | 113<<8 | i) // more than one leaf holds
	}
	s := listing.NewSnapshot(listing.Build{Sequence: 1, Entries: slices.Values(all)})
	for a := range seen {
		if s.Near(a) == nil {
			t.Fatalf("nothing is known of %s, which is listed", a)
		}
	}
	for range 100_000 {
		v := rnd.Uint32()
		s.Near(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}))
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("2001:db8::1"), netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})} {
		s.Near(a)
	}
	empty := listing.NewSnapshot(listing.Build{})
	if empty.Near(netip.MustParseAddr("192.0.2.1")) != nil {
		t.Error("a place in an empty list")
	}
}
