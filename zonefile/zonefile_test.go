package zonefile_test

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// made is the time of the snapshots in tests.
var made = time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)

const sequence = 1795325400

func day(text string) listing.Date {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return listing.DateOf(t)
}

// testZone carries all classes but callouts; its name servers are elsewhere.
func testZone() *zonefile.Zone {
	return &zonefile.Zone{
		Name:       "bl.example.",
		NS:         []string{"ns1.example.net", "ns2.example.net."},
		Hostmaster: "hostmaster.example.net",
		Classes:    listing.AllClasses &^ listing.ClassSetOf(listing.ClassCallout),
		URL:        "https://bl.example/",
		Addresses:  []netip.Addr{netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8::80")},
		Texts:      []string{`backscatter, see "https://bl.example/"; a \ and an é`},
	}
}

// entry returns an entry of the given classes, the first of which decides.
func entry(prefix string, summary listing.Summary, classes ...listing.Class) listing.Entry {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		addr := netip.MustParseAddr(prefix)
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	return listing.Entry{Prefix: p, Classes: listing.ClassSetOf(classes...), Class: classes[0], Summary: summary}
}

func snapshotOf(entries ...listing.Entry) *listing.Snapshot {
	return listing.NewSnapshot(listing.Build{
		Sequence: sequence, Time: made, NewestEvidence: made.Add(-19 * time.Second), Entries: slices.Values(entries),
	})
}

// sample has every kind of entry that a snapshot can hold.
func sample() *listing.Snapshot {
	five := listing.Summary{Events: 5, Since: day("2026-11-20"), Last: day("2026-11-21"), Until: day("2026-11-28")}
	one := listing.Summary{Events: 1, Since: day("2026-11-20"), Last: day("2026-11-20"), Until: day("2026-11-27")}
	many := listing.Summary{Events: 200, Since: day("2026-11-02"), Last: day("2026-11-22"), Until: day("2026-12-20")}
	operator := listing.Summary{Since: day("2026-11-01"), Until: day("2027-11-01")}
	return snapshotOf(
		entry("192.0.2.66", five, listing.ClassBounce),
		entry("192.0.2.67", five, listing.ClassBounce),
		entry("192.0.2.9", one, listing.ClassNotice),
		entry("198.51.100.1", many, listing.ClassBounce, listing.ClassAutoreply),
		entry("198.51.100.2", many, listing.ClassAutoreply),
		entry("198.51.100.3", one, listing.ClassChallenge),
		entry("198.51.100.4", five, listing.ClassCallout),
		entry("198.51.100.5", five, listing.ClassCallout, listing.ClassManual),
		entry("198.51.100.6", listing.Summary{}, listing.ClassManual),
		entry("2.0.0.1", one, listing.ClassBounce),
		entry("2.0.1.0/24", operator, listing.ClassManual),
		entry("203.0.113.0/25", operator, listing.ClassManual),
		entry("203.0.113.128/30", operator, listing.ClassManual),
		entry("198.51.101.0/24", operator, listing.ClassManual),
		entry("127.0.0.1", five, listing.ClassBounce),
		entry("127.0.0.77", five, listing.ClassBounce),
		entry("2001:db8:1:2::/64", five, listing.ClassBounce),
		entry("2001:db8:1:4::/62", operator, listing.ClassManual),
		entry("2001:db8:ff::/48", operator, listing.ClassManual),
	)
}

// sampleHosts are two of the sample's entries.
func sampleHosts() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("192.0.2.66/32"), netip.MustParsePrefix("192.0.2.67/32")}
}

// randomSnapshot has about n entries that do not overlap, most of them IPv4
// hosts, in a space so small that neighbours are common.
func randomSnapshot(rng *rand.Rand, n int) *listing.Snapshot {
	var entries []listing.Entry
	taken := map[netip.Prefix]bool{}
	for range n {
		var p netip.Prefix
		switch rng.IntN(10) {
		case 0:
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(rng.IntN(20)), byte(rng.IntN(256))}), 24+rng.IntN(9))
		case 1:
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(rng.IntN(20)), 0, byte(rng.IntN(256))}), 48+rng.IntN(17))
		default:
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + rng.IntN(3)), 0, byte(rng.IntN(4)), byte(rng.IntN(256))}), 32)
		}
		p = p.Masked()
		overlaps := false
		for q := range taken {
			overlaps = overlaps || q.Overlaps(p)
		}
		if overlaps {
			continue
		}
		taken[p] = true
		entries = append(entries, randomEntry(rng, p))
	}
	return snapshotOf(entries...)
}

func randomEntry(rng *rand.Rand, p netip.Prefix) listing.Entry {
	e := listing.Entry{Prefix: p, Class: listing.Classes[rng.IntN(len(listing.Classes))]}
	e.Classes = listing.ClassSetOf(e.Class, listing.Classes[rng.IntN(len(listing.Classes))])
	e.Summary = listing.Summary{
		Events: listing.RoundEvents(rng.IntN(40)), Since: day("2026-11-10"),
		Last: day("2026-11-18") + listing.Date(rng.IntN(4)), Until: day("2026-11-25") + listing.Date(rng.IntN(4)),
	}
	return e
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
