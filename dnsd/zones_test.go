package dnsd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// TestZonesOfOneStore serves one store as a zone of all classes, as a zone of each
// class below that, and as a zone of each class elsewhere, one of them around
// another. The longest name that a question ends with is the zone that answers
// (RFC 1034 §4.3.2), by the fast path as by the other.
func TestZonesOfOneStore(t *testing.T) {
	t.Parallel()
	classes := []listing.Class{listing.ClassBounce, listing.ClassNotice, listing.ClassAutoreply, listing.ClassChallenge, listing.ClassManual}
	carried := map[string][]listing.Class{"bl.example.": classes}
	for _, c := range classes {
		carried[c.String()+".bl.example."] = []listing.Class{c}
		carried[c.String()+".example.net."] = []listing.Class{c}
	}
	carried["more.bounce.example.net."] = classes[1:2]
	var all []*zonefile.Zone
	for name, c := range carried {
		all = append(all, &zonefile.Zone{Name: name, NS: []string{"ns.example.org."}, Hostmaster: "hostmaster.example.org.", Classes: listing.ClassSetOf(c...)})
	}
	set, err := zonefile.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	v := dnsd.View{Zones: set, Snapshot: snapshot(), Now: base}
	p := newPaths(v)
	listed := map[string][]listing.Class{ // by name below a zone
		"66.2.0.192.":                 {listing.ClassBounce},
		"67.2.0.192.":                 {listing.ClassNotice},
		"69.2.0.192.":                 {listing.ClassBounce, listing.ClassAutoreply},
		"7.100.51.198.":               {listing.ClassManual},
		"65.2.0.192.":                 nil,
		"2.0.0.127.":                  nil, // is asked of all
		nibblesOf("2001:db8:0:1::25"): {listing.ClassBounce},
	}
	for zone, has := range carried {
		for name, is := range listed {
			packet := askWith(name+zone, dns.TypeA)
			response, _ := dnsd.Answer(nil, packet, dnsd.UDP, v)
			want := ""
			for _, c := range slices.Backward(has) {
				if slices.Contains(is, c) {
					want = zonefile.Code(c).String() // the heaviest is the first here
				}
			}
			if name == "2.0.0.127." {
				want = "127.0.0.2"
			}
			var m dns.Msg
			if err := m.Unpack(response); err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(m.Answer) == 1 {
				got = m.Answer[0].(*dns.A).A.String()
			} else if m.Rcode != dns.RcodeNameError || m.Ns[0].Header().Name != zone {
				t.Errorf("%s%s: %v", name, zone, &m)
			}
			if got != want {
				t.Errorf("%s%s: %q, want %q", name, zone, got, want)
			}
			if !p.check(t, packet) {
				t.Errorf("%s%s: left to the general path", name, zone)
			}
		}
	}
	// Between the zones there is nothing, and above them nobody.
	for name, want := range map[string]int{"66.2.0.192.example.net.": dns.RcodeRefused, "66.2.0.192.other.bl.example.": dns.RcodeNameError} {
		if _, verdict := dnsd.Answer(nil, askWith(name, dns.TypeA), dnsd.UDP, v); verdict.Rcode != want {
			t.Errorf("%s: %s, want %s", name, rcode(verdict.Rcode), rcode(want))
		}
	}
}

// nibblesOf returns the labels of an address, which stand below any zone.
func nibblesOf(addr string) string {
	name := nibbles(addr)
	return name[:len(name)-len("bl.example.")]
}

// TestTestPoints asks for 127.0.0.0/24 in full: the codes of the classes that the
// zone carries and 127.0.0.2 are listed, and nothing else, in either family, and
// whatever the store has (RFC 5782 §5).
func TestTestPoints(t *testing.T) {
	t.Parallel()
	v := view(t)
	p := newPaths(v)
	for zone, codes := range map[string][]int{"bl.example.": {2, 3, 4, 5, 9}, "bounce.bl.example.": {2}, "big.example.": {2}} {
		for n := range 256 {
			addr := netip.AddrFrom4([4]byte{127, 0, 0, byte(n)})
			for _, name := range []string{v.Zones.Find(zone).Owner(addr), fmt.Sprintf("%x.%x%s", n&15, n>>4, strings.TrimSuffix(mapped127, "bl.example.")) + zone} {
				packet := askWith(name, dns.TypeA)
				_, verdict := dnsd.Answer(nil, packet, dnsd.UDP, v)
				want := dns.RcodeNameError
				if slices.Contains(codes, n) {
					want = dns.RcodeSuccess
				}
				if verdict.Rcode != want {
					t.Errorf("%s: %s, want %s", name, rcode(verdict.Rcode), rcode(want))
				}
				p.check(t, packet)
			}
		}
	}
}
