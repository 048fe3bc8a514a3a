package dnsd

import (
	"net/netip"
	"slices"
	"testing"

	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// A link-local peer is the same whether its address comes with the interface, as over
// TCP, or without, as over UDP, and in whatever way it was written down.
func TestLinkLocalPeers(t *testing.T) {
	t.Parallel()
	plain, zoned := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::1%eth0")
	zone := &zonefile.Zone{Name: "bl.example."}
	allowing, err := NewSecondaries(nil, Sharing{Zone: "bl.example", Allow: []TransferRule{{From: []netip.Prefix{netip.MustParsePrefix("fe80::/64")}}}})
	if err != nil {
		t.Fatal(err)
	}
	packet, err := questionFor("bl.example.", dns.TypeSOA)
	if err != nil {
		t.Fatal(err)
	}
	packet[2] = byte(dns.OpcodeNotify << (opcodeShift - 8))
	for _, client := range []netip.Addr{plain, zoned} {
		if !allowing.allows(zone, client, nil) {
			t.Errorf("%s may not take the zone", client)
		}
		for _, primary := range []netip.Addr{plain, zoned} {
			var told []netip.Addr
			from := []netip.Addr{primary}
			s, err := allowing.Taking(Sources{Zone: "bl.example", From: from, Notify: func(from netip.Addr) { told = append(told, from) }})
			if err != nil {
				t.Fatal(err)
			}
			v := View{Secondaries: s, Client: client}
			if _, verdict := Answer(nil, packet, UDP, v); verdict.Kind != Notified {
				t.Errorf("primary %s, told by %s: %s", primary, client, verdict.Kind)
				continue
			}
			v.hear()
			first, second := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 53), netip.AddrPortFrom(primary, 53)
			c := &Copier{o: CopierOptions{Primaries: []netip.AddrPort{first, second}}, nudge: make(chan struct{}, 1)}
			c.Notify(told[0])
			if got := c.order(); !slices.Equal(got, []netip.AddrPort{second, first}) {
				t.Errorf("primary %s, told by %s: asked in the order %v", primary, client, got)
			}
		}
	}
}
