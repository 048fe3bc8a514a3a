package listing

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// The digest of a snapshot is the sum of what its entries are hashed to one by one.
func TestDigest(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var entries []Entry
	for i := range 5000 {
		e := Entry{
			Prefix: hostPrefix(rng.Uint32()), Classes: ClassSet(1 << rng.IntN(5)), Class: Class(2 + rng.IntN(4)),
			Summary: Summary{Events: uint16(rng.IntN(100)), Since: Date(rng.IntN(1 << 16)), Last: Date(rng.IntN(1 << 16)), Until: Date(rng.IntN(1 << 16))},
		}
		if i%10 == 0 {
			e.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 8), byte(i)}), 64)
		}
		entries = append(entries, e)
	}
	var want uint64
	byClass := [ClassManual + 1]int{}
	s := NewSnapshot(Build{Entries: func(yield func(Entry) bool) {
		for _, e := range entries {
			if !yield(e) {
				return
			}
		}
	}})
	for e := range s.All() {
		want += entryHash(e)
		byClass[e.Class]++
	}
	if got, counts := s.digest(); got != want || counts != byClass {
		t.Errorf("digest %#x of %v, want %#x of %v", got, counts, want, byClass)
	}
}
