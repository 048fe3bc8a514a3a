package listing_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"backscatter/listing"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		records []string
		exempt  []string
		want    []string // "prefix" or "prefix of record"
	}{
		{"nothing", nil, []string{"192.0.2.0/24"}, nil},
		{"hosts", []string{"192.0.2.2/32", "192.0.2.1/32"}, nil, []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{"exempt host", []string{"192.0.2.1/32", "192.0.2.2/32"}, []string{"192.0.2.1/32"}, []string{"192.0.2.2/32"}},
		{"exempt by a wider", []string{"192.0.2.1/32", "192.0.3.1/32"}, []string{"192.0.2.0/24", "192.0.2.0/30"}, []string{"192.0.3.1/32"}},
		{"covered by a wider record", []string{"192.0.2.1/32", "192.0.2.0/28", "192.0.2.0/24"}, nil, []string{"192.0.2.0/24"}},
		{
			"prefix with a hole",
			[]string{"192.0.2.0/29"},
			[]string{"192.0.2.3/32"},
			[]string{"192.0.2.0/31 of 192.0.2.0/29", "192.0.2.2/32 of 192.0.2.0/29", "192.0.2.4/30 of 192.0.2.0/29"},
		},
		{
			"host in a piece, host in a hole",
			[]string{"192.0.2.0/30", "192.0.2.0/32", "192.0.2.3/32"},
			[]string{"192.0.2.0/31"},
			[]string{"192.0.2.2/31 of 192.0.2.0/30"},
		},
		{"holes that leave nothing", []string{"192.0.2.0/31"}, []string{"192.0.2.0/32", "192.0.2.1/32"}, nil},
		{
			"both families",
			[]string{"2001:db8::/64", "255.255.255.255/32"},
			[]string{"::/8", "0.0.0.0/1"},
			[]string{"255.255.255.255/32", "2001:db8::/64"},
		},
		{"everything exempt", []string{"192.0.2.1/32", "2001:db8::/64"}, []string{"0.0.0.0/0", "::/0"}, nil},
	} {
		records := entries(tt.records)
		var exempt []netip.Prefix
		for _, x := range tt.exempt {
			exempt = append(exempt, netip.MustParsePrefix(x))
		}
		given := slices.Clone(records)
		var got []string
		for _, e := range listing.Visible(records, exempt) {
			text := e.Prefix.String()
			if of := records[e.Summary.Events].Prefix; of != e.Prefix {
				text += " of " + of.String()
			}
			got = append(got, text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if !slices.Equal(given, records) {
			t.Errorf("%s: the records given were changed", tt.name)
		}
	}
}

// entries makes an entry of each prefix, which tells its number.
func entries(prefixes []string) []listing.Entry {
	var out []listing.Entry
	for i, p := range prefixes {
		out = append(out, plainEntry(netip.MustParsePrefix(p), i))
	}
	return out
}

func TestVisibleDownToOneAddress(t *testing.T) {
	t.Parallel()
	records := entries([]string{"2001:db8::/48"})
	hole := netip.MustParsePrefix("2001:db8::1/128")
	got := listing.Visible(records, []netip.Prefix{hole})
	if len(got) != 80 {
		t.Fatalf("%d pieces, want one for each of the 80 lengths from /49 to /128", len(got))
	}
	s := listing.NewSnapshot(listing.Build{Entries: slices.Values(got)})
	for addr, want := range map[string]bool{
		"2001:db8::": true, "2001:db8::1": false, "2001:db8::2": true, "2001:db8:0:ffff:ffff:ffff:ffff:ffff": true, "2001:db8:1::": false,
	} {
		if _, ok := s.Lookup(netip.MustParseAddr(addr)); ok != want {
			t.Errorf("Lookup(%s) = %v, want %v", addr, ok, want)
		}
	}
}

// smallPrefix draws a prefix within a /24 of IPv4 or the last octet of IPv6, so
// that a test can ask about each address.
func smallPrefix(t *rapid.T) netip.Prefix {
	base := rapid.SampledFrom([]string{"192.0.2.0/24", "2001:db8::/120"}).Draw(t, "base")
	p := netip.MustParsePrefix(base)
	b := p.Addr().AsSlice()
	b[len(b)-1] = rapid.Byte().Draw(t, "octet")
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits()+rapid.IntRange(0, 8).Draw(t, "bits")).Masked()
}

// TestVisibleAgainstAddresses asks for each address by itself what it should
// tell, and whether the entries are as few as they can be.
func TestVisibleAgainstAddresses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		records := map[netip.Prefix]listing.Entry{}
		for i := range rapid.IntRange(0, 12).Draw(t, "records") {
			p := smallPrefix(t)
			records[p] = plainEntry(p, i)
		}
		var exempt []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(t, "exempt") {
			exempt = append(exempt, smallPrefix(t))
		}
		got := listing.Visible(oracle(records).sorted(), exempt)
		for i, e := range got {
			if e.Prefix != e.Prefix.Masked() {
				t.Fatalf("%s is not masked", e.Prefix)
			}
			if i > 0 && (listing.ComparePrefix(got[i-1].Prefix, e.Prefix) >= 0 || got[i-1].Prefix.Overlaps(e.Prefix)) {
				t.Fatalf("%s after %s", e.Prefix, got[i-1].Prefix)
			}
			if i > 0 && got[i-1].Summary == e.Summary && siblings(got[i-1].Prefix, e.Prefix) {
				t.Fatalf("%s and %s of one record are not joined", got[i-1].Prefix, e.Prefix)
			}
		}
		for _, base := range []string{"192.0.2.0", "2001:db8::"} {
			addr := netip.MustParseAddr(base)
			for range 256 {
				want, listed := shown(addr, records, exempt)
				i := slices.IndexFunc(got, func(e listing.Entry) bool { return e.Prefix.Contains(addr) })
				if (i >= 0) != listed || listed && got[i].Summary != want.Summary {
					t.Fatalf("%s: listed %v, want %v as %+v", addr, i >= 0, listed, want)
				}
				addr = addr.Next()
			}
		}
	})
}

// shown says what an address should tell: what the widest record says that
// covers it, unless it is exempt.
func shown(addr netip.Addr, records map[netip.Prefix]listing.Entry, exempt []netip.Prefix) (listing.Entry, bool) {
	var best listing.Entry
	found := false
	for p, e := range records {
		if p.Contains(addr) && (!found || p.Bits() < best.Prefix.Bits()) {
			best, found = e, true
		}
	}
	for _, x := range exempt {
		if x.Contains(addr) {
			return best, false
		}
	}
	return best, found
}

// siblings reports whether two prefixes are the halves of one.
func siblings(a, b netip.Prefix) bool {
	return a.Bits() == b.Bits() && a.Bits() > 0 &&
		netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked() == netip.PrefixFrom(b.Addr(), b.Bits()-1).Masked()
}

// TestRegionsSuffice changes records and exemptions at random, makes the new
// state out of the regions alone, and compares it with all made anew.
func TestRegionsSuffice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		records, exempt := map[netip.Prefix]listing.Entry{}, map[netip.Prefix]bool{}
		snapshot := listing.NewSnapshot(listing.Build{})
		for step := range rapid.IntRange(1, 6).Draw(t, "steps") {
			var changed []netip.Prefix
			for i := range rapid.IntRange(1, 5).Draw(t, "changes") {
				p := smallPrefix(t)
				changed = append(changed, p)
				switch rapid.IntRange(0, 3).Draw(t, "kind") {
				case 0, 1:
					records[p] = plainEntry(p, step*10+i)
				case 2:
					delete(records, p)
				case 3:
					exempt[p] = !exempt[p]
				}
			}
			var holes []netip.Prefix
			for p, on := range exempt {
				if on {
					holes = append(holes, p)
				}
			}
			var before, inside []listing.Entry
			for _, region := range listing.Regions(changed, widestOf(records)) {
				before = slices.AppendSeq(before, snapshot.Within(region))
				inside = append(inside, oracle(records).within(region)...)
			}
			removed, added := listing.Diff(before, listing.Visible(inside, holes))
			var gone []netip.Prefix
			for _, e := range removed {
				gone = append(gone, e.Prefix)
			}
			snapshot = snapshot.Next(listing.Next{Removed: gone, Added: added})
			want := listing.Visible(oracle(records).sorted(), holes)
			if diff := cmp.Diff(want, slices.Collect(snapshot.All()), prefixes(), noneIsEmpty()); diff != "" {
				t.Fatalf("step %d, changed %v (-anew +by region):\n%s", step, changed, diff)
			}
		}
	})
}

func widestOf(records map[netip.Prefix]listing.Entry) func(netip.Prefix) (netip.Prefix, bool) {
	return func(p netip.Prefix) (best netip.Prefix, ok bool) {
		for q := range records {
			if q.Bits() <= p.Bits() && q.Contains(p.Addr()) && (!ok || q.Bits() < best.Bits()) {
				best, ok = q, true
			}
		}
		return best, ok
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	a := entries([]string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.4/32", "2001:db8::/64"})
	b := entries([]string{"192.0.2.0/32", "192.0.2.2/32", "192.0.2.4/32"})
	b[1].Class = listing.ClassNotice
	removed, added := listing.Diff(a, b)
	if want := []listing.Entry{a[0], a[1], a[3]}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v", removed, want)
	}
	if want := []listing.Entry{b[0], b[1]}; !slices.Equal(added, want) {
		t.Errorf("added %v, want %v", added, want)
	}
	if removed, added := listing.Diff(a, a); len(removed)+len(added) != 0 {
		t.Errorf("nothing changed: removed %v, added %v", removed, added)
	}
}

// TestVisibleScales publishes 200 000 hosts under 10 000 exemptions. It takes
// tens of milliseconds; what compares each with each takes minutes.
func TestVisibleScales(t *testing.T) {
	t.Parallel()
	records := make([]listing.Entry, 200_000)
	changed := make([]netip.Prefix, len(records))
	for i := range records {
		records[i] = plainEntry(host4(uint32(i)*20_000), i%50)
		changed[i] = records[i].Prefix
	}
	exempt := make([]netip.Prefix, 10_000)
	for i := range exempt {
		exempt[i] = host4(uint32(i) * 400_000)
	}
	start := time.Now()
	regions := listing.Regions(changed, func(p netip.Prefix) (netip.Prefix, bool) { return p, true })
	visible := listing.Visible(records, exempt)
	removed, added := listing.Diff(nil, visible)
	if len(regions) != len(records) || len(removed) != 0 || len(added) != len(records)-len(exempt) {
		t.Errorf("%d regions, %d removed, %d added", len(regions), len(removed), len(added))
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

func BenchmarkVisible(b *testing.B) {
	records := make([]listing.Entry, 200_000)
	for i := range records {
		records[i] = plainEntry(host4(uint32(i)*20_000), i%50)
	}
	for b.Loop() {
		listing.Diff(nil, listing.Visible(records, nil))
	}
}

func TestSpecialExemptions(t *testing.T) {
	t.Parallel()
	var exempt []netip.Prefix
	lab := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("10.0.0.0/7")}
	for _, e := range listing.SpecialExemptions(lab) {
		if err := e.Validate(); err != nil || !e.BuiltIn || !e.Active(noon) {
			t.Errorf("%+v: %v", e, err)
		}
		exempt = append(exempt, e.Prefix)
	}
	for _, addr := range []string{
		"192.0.2.1", "192.0.2.127", "192.0.2.128", "192.0.3.1", "10.1.2.3", "127.0.0.1", "2001:db8::1", "2001:db9::1", "fe80::1", "::1", "2001::1", "8.8.8.8",
	} {
		a := netip.MustParseAddr(addr)
		_, want := listing.IsSpecial(a, lab)
		if got := slices.ContainsFunc(exempt, func(p netip.Prefix) bool { return p.Contains(a) }); got != want {
			t.Errorf("%s: exempt %v, special %v", addr, got, want)
		}
	}
}

func ExampleVisible() {
	records := []listing.Entry{
		{Prefix: netip.MustParsePrefix("192.0.2.0/29"), Class: listing.ClassManual},
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Class: listing.ClassBounce}, // inside the first
		{Prefix: netip.MustParsePrefix("192.0.2.66/32"), Class: listing.ClassBounce},
	}
	exempt := []netip.Prefix{netip.MustParsePrefix("192.0.2.4/31")}
	for _, e := range listing.Visible(records, exempt) {
		fmt.Println(e.Prefix, e.Class)
	}
	// Output:
	// 192.0.2.0/30 manual
	// 192.0.2.6/31 manual
	// 192.0.2.66/32 bounce
}
