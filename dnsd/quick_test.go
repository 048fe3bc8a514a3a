package dnsd_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// paths compares the fast path of UDP with the general one.
type paths struct {
	view    dnsd.View
	quick   func([]byte) ([]byte, dnsd.Verdict, bool)
	taken   map[dnsd.Kind]int    // by the fast path
	brought map[dnsd.Cookies]int // to it
}

func newPaths(v dnsd.View) *paths {
	_, quick := dnsd.Worker(func() dnsd.View { return v })
	return &paths{view: v, quick: quick, taken: map[dnsd.Kind]int{}, brought: map[dnsd.Cookies]int{}}
}

// check wants the same bytes and the same verdict from both paths, and the
// packet untouched where the fast path leaves it to the other. It reports
// whether the fast path answered.
func (p *paths) check(t *testing.T, packet []byte) bool {
	t.Helper()
	want, wantVerdict := dnsd.Answer(nil, packet, dnsd.UDP, p.view)
	buffer := append(make([]byte, 0, 4096), packet...)
	got, verdict, ok := p.quick(buffer)
	if !ok {
		if !bytes.Equal(buffer, packet) {
			t.Errorf("the packet was changed:\n%x\n%x", packet, buffer)
		}
		return false
	}
	if !bytes.Equal(got, want) {
		t.Errorf("asked   %x\ngeneral %x\nfast    %x", packet, want, got)
	}
	if verdict != wantVerdict {
		t.Errorf("asked %x: counted as %+v, on the general path as %+v", packet, verdict, wantVerdict)
	}
	p.taken[verdict.Kind]++
	p.brought[verdict.Cookies]++
	return true
}

// goodCookie is what the client of ruledView has from it.
var goodCookie = cookieOption("2464c4abcf10c957010000006b0284e096f19709dfb137a7")

// withEDNS returns a question as it is, and with what askers put behind it.
func withEDNS(packet []byte) [][]byte {
	out := [][]byte{packet}
	if !bytes.Equal(packet[6:12], make([]byte, 6)) {
		return out
	}
	cookie := unhex("000a 0008 0102030405060708")
	for _, opt := range [][]byte{
		optRR(0, 0, 0), optRR(512, 0, 0), optRR(1232, 0, 0x8000), optRR(4096, 0, 0), optRR(65535, 0, 0xffff),
		optRR(1232, 0, 0, cookie...), optRR(1232, 0, 0, unhex(nsid)...), optRR(1232, 0, 0x8000, append(unhex(nsid), goodCookie...)...),
		optRR(512, 0, 0, cookieOption(wrongCookie)...), optRR(1232, 0, 0, 0, 10, 0, 99), optRR(1232, 1, 0),
	} {
		with := slices.Concat(packet, opt)
		with[11] = 1
		out = append(out, with)
	}
	return out
}

// types are those that each name is asked for.
var types = []uint16{
	dns.TypeA, dns.TypeTXT, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeANY, dns.TypeMX, dns.TypeDS, dns.TypePTR, dns.TypeCNAME,
	dns.TypeNone, dns.TypeNULL, dns.TypeOPT, dns.TypeSIG, dns.TypeTSIG, dns.TypeMAILB, dns.TypeIXFR, dns.TypeAXFR, 65280, 65535,
}

// allTypes returns the question of a packet for each type.
func allTypes(packet []byte) [][]byte {
	end := 12
	for packet[end] != 0 {
		end += 1 + int(packet[end])
	}
	var out [][]byte
	for _, qtype := range types {
		of := slices.Clone(packet)
		binary.BigEndian.PutUint16(of[end+1:], qtype)
		out = append(out, of)
	}
	return out
}

// TestBothPathsAgree asks all that the other tests ask, for each type, with and
// without EDNS.
func TestBothPathsAgree(t *testing.T) {
	t.Parallel()
	checkAll(t, newPaths(view(t)))
	ruled := newPaths(ruledView(t, dnsd.Rules{NSID: "ns1.bl.example"}))
	checkAll(t, ruled)
	for _, c := range []dnsd.Cookies{dnsd.NoCookie, dnsd.FirstCookie, dnsd.BadCookie, dnsd.GoodCookie} {
		if ruled.brought[c] < 100 {
			t.Errorf("cookie %s: %d of the answers came from the fast path", c, ruled.brought[c])
		}
	}
}

func checkAll(t *testing.T, p *paths) {
	t.Helper()
	for _, c := range allCases() {
		for _, packet := range allTypes(c.packet(t)) {
			for _, packet := range withEDNS(packet) {
				p.check(t, packet)
			}
		}
	}
	for _, c := range slices.Concat(complianceCases(), ednsCases(), malformedCases(), ruledCases()) {
		p.check(t, c.packet)
	}
	for name := range randomNames(1_000) {
		for _, packet := range withEDNS(packed(t, question(strings.Join(append(name, "bl.example."), "."), dns.TypeA))) {
			p.check(t, packet)
		}
	}
	for _, kind := range []dnsd.Kind{dnsd.Listed, dnsd.Unlisted, dnsd.Partial, dnsd.Apex, dnsd.NoAddress} {
		if p.taken[kind] < 100 {
			t.Errorf("%s: %d of the answers came from the fast path", kind, p.taken[kind])
		}
	}
}

// TestBothPathsAgreeOnZones asks zones whose names compress in every way.
func TestBothPathsAgreeOnZones(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("x", 60)+".", 2)
	for _, z := range []struct{ name, ns, hostmaster string }{
		{"bl.example.", "ns.bl.example.", "h.bl.example."},
		{"bl.example.", "bl.example.", "bl.example."},
		{"bl.example.", "ns.other.example.net.", "h.other.example.net."},
		{"bl.example.", "ns.other.example.net.", "ns.other.example.net."},
		{"bl.example.", "ns.Other.example.net.", "h.other.example.net."},
		{"bl.example.", "example.", "h.example."},
		{"bl.example.", "ns.bl.example.", "h.ns.bl.example."},
		{"bl.example.", "NS.BL.example.", "h.bl.Example."},
		{"example.", "ns.example.net.", "h.example.net."},
		{long + "example.", "ns." + long + "example.net.", "h." + long + "example.org."}, // the SOA does not fit into every answer
	} {
		set, err := zonefile.NewSet(&zonefile.Zone{
			Name: z.name, NS: []string{z.ns}, Hostmaster: z.hostmaster, Classes: listing.AllClasses, URL: "https://bl.example/",
			Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.81")},
		})
		if err != nil {
			t.Fatal(err)
		}
		p := newPaths(dnsd.View{Zones: set, Snapshot: snapshot(), Now: base})
		for _, name := range []string{
			"", "192.", "2.0.192.", "66.2.0.192.", "65.2.0.192.", "1.0.0.2.", "www.", "_status.", "h.", "ns.", "nS.", "x.ns.", "mail.example.org.",
			strings.TrimSuffix(nibbles("2001:db8:0:1::25"), "bl.example."), strings.TrimSuffix(nibbles("2001:db8:0:2::25"), "bl.example."),
		} {
			for _, packet := range allTypes(packed(t, question(name+z.name, dns.TypeA))) {
				for _, packet := range withEDNS(packet) {
					p.check(t, packet)
				}
			}
		}
		if len(p.taken) != 5 {
			t.Errorf("%s: the fast path took only %v", z.name, p.taken)
		}
	}
}

// TestShapesFollowTheSnapshot wants the new serial in the next answer, and
// the settings of other zones, from a worker that has answered before.
func TestShapesFollowTheSnapshot(t *testing.T) {
	t.Parallel()
	now := view(t)
	handle, _ := dnsd.Worker(func() dnsd.View { return now })
	serial := func(name string) (uint32, uint32) {
		t.Helper()
		var m dns.Msg
		if err := m.Unpack(handle(append(make([]byte, 0, 4096), packed(t, question(name, dns.TypeSOA))...))); err != nil {
			t.Fatal(err)
		}
		soa := slices.Concat(m.Answer, m.Ns)[0].(*dns.SOA)
		return soa.Serial, soa.Minttl
	}
	want := func(wantSerial, wantTTL uint32) {
		t.Helper()
		for _, name := range []string{"bl.example.", "192.bl.example.", "65.2.0.192.bl.example."} {
			if got, ttl := serial(name); got != wantSerial || ttl != wantTTL {
				t.Errorf("%s: serial %d, negative TTL %d, want %d, %d", name, got, ttl, wantSerial, wantTTL)
			}
		}
	}
	want(1795325400, 300)
	now.Snapshot = now.Snapshot.Next(listing.Next{Sequence: 1795325401})
	want(1795325401, 300)
	z := zoneBL()
	z.NegativeTTL = time.Minute
	set, err := zonefile.NewSet(z)
	if err != nil {
		t.Fatal(err)
	}
	now.Zones = set
	want(1795325401, 60)
}

// TestFastPathAllocatesNothing asks what resolvers send.
func TestFastPathAllocatesNothing(t *testing.T) {
	v := ruledView(t, dnsd.Rules{
		NSID: "ns1.bl.example", Rates: dnsd.Rates{Same: 1e9, All: 1e9, Quota: 1e9, Period: time.Hour},
		Access: dnsd.NewAccess(dnsd.AccessRule{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Action: dnsd.Empty}),
	})
	handle, quick := dnsd.Worker(func() dnsd.View { return v })
	buffer := make([]byte, 0, 4096)
	for _, name := range []string{
		"66.2.0.192.bl.example.", "67.2.0.192.bL.eXAMple.", "65.2.0.192.bl.example.", "200.100.51.198.bl.example.", "2.0.0.127.bl.example.",
		"2.0.192.bl.example.", "bl.example.", "ns1.bl.example.", "NS1.bl.eXample.", "www.example.org.bl.example.", nibbles("2001:db8:0:1::25"), nibbles("2001:db8:0:2::25"), mapped66, "66.2.0.192.bounce.bl.example.",
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeANY, dns.TypeMX} {
			for _, packet := range withEDNS(packed(t, question(name, qtype)))[:10] {
				if _, _, ok := quick(append(buffer, packet...)); !ok {
					t.Errorf("%s %s: left to the general path", name, dns.Type(qtype))
				}
				if n := testing.AllocsPerRun(10, func() { handle(append(buffer, packet...)) }); n != 0 {
					t.Errorf("%s %s: %v allocations", name, dns.Type(qtype), n)
				}
			}
		}
	}
}

// TestSamplingAllocatesNothing wants the worker to pay for samples with no memory
// but the ring's, once that has grown to what is asked.
func TestSamplingAllocatesNothing(t *testing.T) {
	v := view(t)
	handle := dnsd.SampledWorker(func() dnsd.View { return v }, 1)
	buffer, packet := make([]byte, 0, 4096), packed(t, question("66.2.0.192.bl.example.", dns.TypeTXT))
	for range 5000 {
		handle(append(buffer, packet...))
	}
	if n := testing.AllocsPerRun(1000, func() { handle(append(buffer, packet...)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzBothPaths hands any packet to both paths.
func FuzzBothPaths(f *testing.F) {
	for _, c := range slices.Concat(complianceCases(), ednsCases(), malformedCases(), ruledCases()) {
		f.Add(c.packet)
	}
	for _, c := range allCases() {
		for _, packet := range withEDNS(c.packet(f)) {
			f.Add(packet)
		}
	}
	plain, ruled := newPaths(view(f)), newPaths(ruledView(f, dnsd.Rules{NSID: "ns1.bl.example"}))
	f.Fuzz(func(t *testing.T, packet []byte) {
		plain.check(t, packet)
		ruled.check(t, packet)
	})
}
