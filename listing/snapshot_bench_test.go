package listing_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"backscatter/listing"
)

// scattered yields n random IPv4 hosts, which tell one of some things.
func scattered(n, summaries int) iter.Seq[listing.Entry] {
	return func(yield func(listing.Entry) bool) {
		rng := rand.New(rand.NewPCG(4, uint64(n)))
		seen := make(map[uint32]bool, n)
		for len(seen) < n {
			host := rng.Uint32()
			if !seen[host] && !yield(plainEntry(host4(host), rng.IntN(summaries))) {
				return
			}
			seen[host] = true
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bytesPerEntry builds a snapshot and returns what it occupies, by entry.
func bytesPerEntry(n, summaries int) (*listing.Snapshot, float64) {
	before := heap()
	s := listing.NewSnapshot(listing.Build{Entries: scattered(n, summaries)})
	return s, float64(heap()-before) / float64(s.Len())
}

// TestSnapshotMemory runs alone: it reads the heap of the whole process.
func TestSnapshotMemory(t *testing.T) {
	s, got := bytesPerEntry(1_000_000, 100)
	if got > 4 {
		t.Errorf("%.2f bytes an entry, want at most 4", got)
	}
	t.Logf("%.2f bytes an entry at %d", got, s.Len())
	runtime.KeepAlive(s)
}

func BenchmarkSnapshotMemory(b *testing.B) {
	for _, n := range []int{1_000_000, 5_000_000} {
		for _, summaries := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("%dM/%d", n/1_000_000, summaries), func(b *testing.B) {
				for b.Loop() {
					s, got := bytesPerEntry(n, summaries)
					b.ReportMetric(got, "B/entry")
					runtime.KeepAlive(s)
				}
			})
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	wide := netip.MustParsePrefix("198.51.100.0/24")
	s := listing.NewSnapshot(listing.Build{Entries: func(yield func(listing.Entry) bool) {
		_ = yield(plainEntry(host4(192<<24|2<<8|66), 1)) &&
			yield(plainEntry(wide, 2)) && yield(plainEntry(netip.MustParsePrefix("2001:db8::/64"), 3))
	}, Endings: []listing.Ending{{Prefix: wide, Until: time.Unix(1, 0)}}})
	addrs := []netip.Addr{
		netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("192.0.2.67"), netip.MustParseAddr("198.51.100.7"),
		netip.MustParseAddr("::ffff:192.0.2.66"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1"),
	}
	hits := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, addr := range addrs {
			if _, ok := s.Lookup(addr); ok {
				hits++
			}
			if _, ok := s.Until(addr); ok {
				hits++
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if hits == 0 {
		t.Error("nothing was found")
	}
}

func BenchmarkLookup(b *testing.B) {
	s := listing.NewSnapshot(listing.Build{Entries: scattered(5_000_000, 100)})
	rng := rand.New(rand.NewPCG(5, 6))
	hits, misses := make([]netip.Addr, 0, 1<<20), make([]netip.Addr, 1<<20)
	for e := range s.All() {
		if len(hits) < cap(hits) {
			hits = append(hits, e.Prefix.Addr())
		} else if i := rng.IntN(s.Len()); i < len(hits) {
			hits[i] = e.Prefix.Addr()
		}
	}
	rng.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
	for i := range misses {
		misses[i] = host4(rng.Uint32()).Addr()
	}
	for _, set := range []struct {
		name  string
		addrs []netip.Addr
	}{{"hit", hits}, {"random", misses}} {
		b.Run(set.name, func(b *testing.B) {
			b.ReportAllocs()
			i, found := 0, 0
			for b.Loop() {
				if e, ok := s.Lookup(set.addrs[i&(1<<20-1)]); ok {
					found += int(e.Class)
				}
				i++
			}
			runtime.KeepAlive(found)
		})
	}
}

func BenchmarkNext(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 8))
	dense := func(yield func(listing.Entry) bool) {
		for i := range uint32(5_000_000) {
			if !yield(plainEntry(host4(1<<24+i), int(i%100))) {
				return
			}
		}
	}
	for _, base := range []struct {
		name    string
		entries iter.Seq[listing.Entry]
	}{{"scattered", scattered(5_000_000, 100)}, {"dense", dense}} {
		s := listing.NewSnapshot(listing.Build{Entries: base.entries})
		for _, n := range []int{1, 1000, 200_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", base.name, n), func(b *testing.B) {
				b.ReportAllocs()
				added := make([]listing.Entry, n)
				for b.Loop() {
					b.StopTimer()
					for i := range added {
						added[i] = plainEntry(host4(1<<24+rng.Uint32N(5_000_000)), 1000)
						if base.name == "scattered" {
							added[i].Prefix = host4(rng.Uint32())
						}
					}
					b.StartTimer()
					runtime.KeepAlive(s.Next(listing.Next{Added: added}))
				}
			})
		}
	}
}

func BenchmarkNewSnapshot(b *testing.B) {
	entries := make([]listing.Entry, 0, 1_000_000)
	for e := range scattered(cap(entries), 100) {
		entries = append(entries, e)
	}
	b.Run("random", func(b *testing.B) {
		for b.Loop() {
			listing.NewSnapshot(listing.Build{Entries: func(yield func(listing.Entry) bool) {
				for _, e := range entries {
					if !yield(e) {
						return
					}
				}
			}})
		}
	})
	s := listing.NewSnapshot(listing.Build{Entries: scattered(1_000_000, 100)})
	b.Run("sorted", func(b *testing.B) {
		for b.Loop() {
			listing.NewSnapshot(listing.Build{Entries: s.All()})
		}
	})
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range s.All() {
				n++
			}
		}
	})
}
