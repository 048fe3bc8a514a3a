package listing_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"backscatter/listing"
)

// oracle is what a snapshot should hold, looked up the slow and obvious way.
type oracle map[netip.Prefix]listing.Entry

func (o oracle) sorted() []listing.Entry {
	return slices.SortedFunc(maps.Values(o), func(a, b listing.Entry) int {
		return listing.ComparePrefix(a.Prefix, b.Prefix)
	})
}

func (o oracle) lookup(addr netip.Addr) (listing.Entry, bool) {
	addr = addr.Unmap()
	var best listing.Entry
	found := false
	for p, e := range o {
		if p.Contains(addr) && (!found || p.Bits() > best.Prefix.Bits()) {
			best, found = e, true
		}
	}
	return best, found
}

func (o oracle) within(p netip.Prefix) []listing.Entry {
	return slices.DeleteFunc(o.sorted(), func(e listing.Entry) bool {
		return p.Bits() > e.Prefix.Bits() || !p.Contains(e.Prefix.Addr())
	})
}

func (o oracle) counts() map[listing.Class]int {
	out := map[listing.Class]int{}
	for _, e := range o {
		out[e.Class]++
	}
	return out
}

// drawPrefix draws prefixes of all lengths from a few neighbourhoods, so that
// they meet.
func drawPrefix(t *rapid.T) netip.Prefix {
	base := rapid.SampledFrom([]string{
		"0.0.0.0", "192.0.2.0", "192.0.3.0", "198.51.100.0", "203.0.113.0", "255.255.255.0",
		"2001:db8::", "2001:db8:0:1::", "2001:db8:1::", "::", "ffff:ffff:ffff:ffff::",
	}).Draw(t, "base")
	addr := netip.MustParseAddr(base).AsSlice()
	i := rapid.IntRange(0, len(addr)-1).Draw(t, "octet")
	addr[i] ^= rapid.SampledFrom([]byte{0, 1, 2, 0x80, 0xff}).Draw(t, "flip")
	addr[len(addr)-1] ^= rapid.ByteRange(0, 7).Draw(t, "host")
	a, _ := netip.AddrFromSlice(addr)
	bits := a.BitLen()
	if rapid.Bool().Draw(t, "wide") {
		bits = rapid.IntRange(0, bits).Draw(t, "bits")
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func drawEntry(t *rapid.T, p netip.Prefix) listing.Entry {
	class := rapid.SampledFrom(listing.Classes).Draw(t, "class")
	return listing.Entry{
		Prefix:  p,
		Classes: listing.ClassSetOf(class, rapid.SampledFrom(listing.Classes).Draw(t, "also")),
		Class:   class,
		Summary: listing.Summary{
			Events: uint16(rapid.IntRange(0, 3).Draw(t, "events")),
			Until:  listing.Date(rapid.Uint16().Draw(t, "until")),
		},
	}
}

func plainEntry(p netip.Prefix, n int) listing.Entry {
	return listing.Entry{
		Prefix: p, Classes: listing.ClassSetOf(listing.ClassBounce), Class: listing.ClassBounce,
		Summary: listing.Summary{Events: uint16(n)},
	}
}

func host4(n uint32) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 32)
}

// version is a snapshot with what it should hold.
type version struct {
	snapshot *listing.Snapshot
	want     oracle
}

func (v version) next(n listing.Next) version {
	want := maps.Clone(v.want)
	for _, p := range n.Removed {
		delete(want, p)
	}
	for _, e := range n.Added {
		want[e.Prefix] = e
	}
	return version{v.snapshot.Next(n), want}
}

func (v version) check(t *rapid.T) {
	t.Helper()
	all := v.want.sorted()
	if diff := cmp.Diff(all, slices.Collect(v.snapshot.All()), prefixes(), noneIsEmpty()); diff != "" {
		t.Fatalf("All (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(v.want.counts(), v.snapshot.Counts()); diff != "" {
		t.Fatalf("Counts (-want +got):\n%s", diff)
	}
	if v.snapshot.Len() != len(all) {
		t.Fatalf("Len is %d, want %d", v.snapshot.Len(), len(all))
	}
}

func (v version) probe(t *rapid.T, p netip.Prefix) {
	t.Helper()
	if diff := cmp.Diff(v.want.within(p), slices.Collect(v.snapshot.Within(p)), prefixes(), noneIsEmpty()); diff != "" {
		t.Fatalf("Within(%s) (-want +got):\n%s", p, diff)
	}
	wantExact, wantThere := v.want[p]
	if got, there := v.snapshot.Get(p); got != wantExact || there != wantThere {
		t.Fatalf("Get(%s) = %+v, %v, want %+v, %v", p, got, there, wantExact, wantThere)
	}
	for _, addr := range []netip.Addr{
		p.Addr(), p.Addr().Next(), p.Addr().Prev(), netip.AddrFrom16(p.Addr().As16()),
		p.Addr().WithZone("eth0"),
	} {
		want, ok := v.want.lookup(addr.WithZone(""))
		if got, gotOK := v.snapshot.Lookup(addr); got != want || gotOK != ok {
			t.Fatalf("Lookup(%s) = %+v, %v, want %+v, %v", addr, got, gotOK, want, ok)
		}
	}
}

func prefixes() cmp.Option {
	return cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
}

func noneIsEmpty() cmp.Option {
	return cmp.Transformer("noneIsEmpty", func(s []listing.Entry) []listing.Entry { return append([]listing.Entry{}, s...) })
}

func TestSnapshotAgainstOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := version{listing.NewSnapshot(listing.Build{}), oracle{}}
		if rapid.Bool().Draw(t, "build") {
			want := oracle{}
			for range rapid.IntRange(0, 20).Draw(t, "first") {
				p := drawPrefix(t)
				want[p] = drawEntry(t, p)
			}
			v = version{listing.NewSnapshot(listing.Build{Entries: maps.Values(want)}), want}
		}
		var former []version
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			former = append(former, v)
			var n listing.Next
			seen := map[netip.Prefix]bool{}
			for range rapid.IntRange(0, 12).Draw(t, "added") {
				if p := drawPrefix(t); !seen[p] {
					seen[p] = true
					n.Added = append(n.Added, drawEntry(t, p))
				}
			}
			for range rapid.IntRange(0, 6).Draw(t, "removed") {
				n.Removed = append(n.Removed, drawPrefix(t))
			}
			if present := v.want.sorted(); len(present) > 0 {
				n.Removed = append(n.Removed, rapid.SampledFrom(present).Draw(t, "gone").Prefix)
			}
			v = v.next(n)
			v.check(t)
			for range 4 {
				v.probe(t, drawPrefix(t))
			}
		}
		for _, v := range former {
			v.check(t)
		}
	})
}

// TestSnapshotDense walks through leaves, fans and back, in one /12 and over
// its end.
func TestSnapshotDense(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	const first = 203<<24 | 0<<16
	v := version{listing.NewSnapshot(listing.Build{}), oracle{}}
	check := func(v version) {
		t.Helper()
		if !slices.Equal(v.want.sorted(), slices.Collect(v.snapshot.All())) {
			t.Fatal("All differs from what was put in")
		}
		if v.snapshot.Len() != len(v.want) || !maps.Equal(v.snapshot.Counts(), v.want.counts()) {
			t.Fatalf("Len %d, Counts %v, want %d, %v", v.snapshot.Len(), v.snapshot.Counts(), len(v.want), v.want.counts())
		}
	}
	for round, size := range []uint32{3000, 9000, 70_000, 5000, 9000, 20_000, 0, 500} {
		var n listing.Next
		present := map[uint32]bool{}
		spread := uint32(rng.IntN(40)) // hosts stand so far apart
		for i := range size {
			host := first + i*(1+spread)
			present[host] = true
			summary := round
			if rng.IntN(10) == 0 {
				summary = rng.IntN(70_000)
			}
			n.Added = append(n.Added, plainEntry(host4(host), summary))
		}
		for p := range v.want {
			a := p.Addr().As4()
			if host := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3]); !present[host] {
				n.Removed = append(n.Removed, p)
			}
		}
		rng.Shuffle(len(n.Added), func(i, j int) { n.Added[i], n.Added[j] = n.Added[j], n.Added[i] })
		before := v
		v = v.next(n)
		check(v)
		check(before)
		for range 200 {
			host := host4(first + rng.Uint32N(size*(1+spread)+2))
			want, ok := v.want[host]
			if got, gotOK := v.snapshot.Lookup(host.Addr()); got != want || gotOK != ok {
				t.Fatalf("Lookup(%s) = %+v, %v, want %+v, %v", host, got, gotOK, want, ok)
			}
		}
	}
}

func TestSnapshotForgetsDeadContents(t *testing.T) {
	t.Parallel()
	host, net := host4(192<<24|2<<8|1), netip.MustParsePrefix("2001:db8::/64")
	s := listing.NewSnapshot(listing.Build{})
	old := s
	for i := range 60_000 {
		e, f := plainEntry(host, i), plainEntry(net, i)
		f.Summary.Since = listing.Date(i/100 + 1)
		s = s.Next(listing.Next{Added: []listing.Entry{e, f}})
		if got, ok := s.Lookup(host.Addr()); !ok || got != e {
			t.Fatalf("change %d: Lookup = %+v, %v, want %+v", i, got, ok, e)
		}
		if got, ok := s.Get(net); !ok || got != f {
			t.Fatalf("change %d: Get = %+v, %v, want %+v", i, got, ok, f)
		}
		if s.Contents() > 10_000 {
			t.Fatalf("after %d changes of two entries %d contents are kept", i, s.Contents())
		}
	}
	if old.Len() != 0 {
		t.Fatalf("the first snapshot came to %d entries", old.Len())
	}
}

// TestSnapshotForks makes many snapshots out of one at the same time, as dry
// runs do beside the writer.
func TestSnapshotForks(t *testing.T) {
	t.Parallel()
	base := listing.NewSnapshot(listing.Build{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			s := base
			for i := range 500 {
				e := plainEntry(host4(uint32(i)), g*1000+i)
				s = s.Next(listing.Next{Added: []listing.Entry{e}})
				if got, ok := s.Get(e.Prefix); !ok || got != e {
					t.Errorf("fork %d: Get = %+v, %v, want %+v", g, got, ok, e)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSnapshotEndings(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)
	s := listing.NewSnapshot(listing.Build{Endings: []listing.Ending{
		{Prefix: netip.MustParsePrefix("2001:db8:0:1::/64"), Until: at.Add(3)},
		{Prefix: netip.MustParsePrefix("192.0.2.66/32"), Until: at.Add(1)},
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Until: at.Add(2)},
	}})
	for _, tt := range []struct {
		addr string
		want time.Duration
	}{
		{"192.0.2.65", 0},
		{"192.0.2.66", 1},
		{"::ffff:192.0.2.66", 1},
		{"192.0.2.67", 0},
		{"198.51.99.255", 0},
		{"198.51.100.0", 2},
		{"198.51.100.255", 2},
		{"198.51.101.0", 0},
		{"2001:db8::ffff:ffff:ffff:ffff", 0},
		{"2001:db8:0:1::", 3},
		{"2001:db8:0:1:ffff:ffff:ffff:ffff", 3},
		{"2001:db8:0:2::", 0},
		{"::", 0},
		{"0.0.0.0", 0},
	} {
		var want time.Time
		if tt.want != 0 {
			want = at.Add(tt.want)
		}
		if got, ok := s.Until(netip.MustParseAddr(tt.addr)); !got.Equal(want) || ok != (tt.want != 0) {
			t.Errorf("Until(%s) = %v, %v, want %v", tt.addr, got, ok, want)
		}
	}
	if got, ok := s.Next(listing.Next{}).Until(netip.MustParseAddr("192.0.2.66")); ok {
		t.Errorf("without a table: Until = %v", got)
	}
}

func TestSnapshotMeta(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)
	first := listing.NewSnapshot(listing.Build{Sequence: 1<<32 + 7, Time: at, NewestEvidence: at.Add(-time.Hour)})
	if first.Sequence() != 1<<32+7 || first.Serial() != 7 || !first.Time().Equal(at) || !first.NewestEvidence().Equal(at.Add(-time.Hour)) {
		t.Errorf("built: %d, %d, %v, %v", first.Sequence(), first.Serial(), first.Time(), first.NewestEvidence())
	}
	second := first.Next(listing.Next{Sequence: 1<<32 + 8, Time: at.Add(time.Hour)})
	if second.Sequence() != 1<<32+8 || !second.Time().Equal(at.Add(time.Hour)) || !second.NewestEvidence().IsZero() {
		t.Errorf("next: %d, %v, %v", second.Sequence(), second.Time(), second.NewestEvidence())
	}
	select {
	case <-first.Superseded():
		t.Error("Next superseded the snapshot by itself")
	default:
	}
	first.Supersede()
	first.Supersede()
	<-first.Superseded()
	select {
	case <-second.Superseded():
		t.Error("superseding the first superseded the second")
	default:
	}
}

func TestSnapshotStopsEarly(t *testing.T) {
	t.Parallel()
	s := listing.NewSnapshot(listing.Build{Entries: func(yield func(listing.Entry) bool) {
		for i, p := range []string{"192.0.2.1/32", "192.0.2.2/31", "192.0.2.9/32", "2001:db8::/64", "2001:db8:1::/64"} {
			if !yield(plainEntry(netip.MustParsePrefix(p), i)) {
				return
			}
		}
	}})
	for stop := 1; stop <= s.Len(); stop++ {
		n := 0
		for range s.All() {
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("stopped after %d, want %d", n, stop)
		}
	}
}

func ExampleSnapshot_Next() {
	s := listing.NewSnapshot(listing.Build{Sequence: 1})
	next := s.Next(listing.Next{Sequence: 2, Added: []listing.Entry{{
		Prefix:  netip.MustParsePrefix("192.0.2.66/32"),
		Classes: listing.ClassSetOf(listing.ClassBounce),
		Class:   listing.ClassBounce,
	}}})
	e, ok := next.Lookup(netip.MustParseAddr("::ffff:192.0.2.66"))
	fmt.Println(e.Prefix, e.Class, ok, s.Len(), next.Len())
	// Output: 192.0.2.66/32 bounce true 0 1
}
