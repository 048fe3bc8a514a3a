package dnsd_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// notice is a primary's word that a zone has changed.
func notice(zone, key string) *dns.Msg {
	m := new(dns.Msg).SetNotify(zone)
	m.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.example.", Mbox: "a.example.", Serial: 7}}
	if key != "" {
		m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	}
	return m
}

// TestNotified holds whose word is taken that something is new (RFC 1996 §3.10,
// §4.7), and what the others are told.
func TestNotified(t *testing.T) {
	t.Parallel()
	keys := []dnsd.Key{{Name: keyName, Algorithm: "hmac-sha256", Secret: []byte(secret)}}
	base, err := dnsd.NewSecondaries(keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := base.Taking(dnsd.Sources{Zone: "bl.example", Key: otherName}); err == nil {
		t.Error("an unknown key is taken")
	}
	loopback, other := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	for name, c := range map[string]struct {
		sources *dnsd.Sources
		m       *dns.Msg
		want    int
		told    bool
	}{
		"from a primary":             {&dnsd.Sources{Zone: "bl.example.", From: []netip.Addr{other, loopback}}, notice("bl.EXAMPLE.", ""), dns.RcodeSuccess, true},
		"signed":                     {&dnsd.Sources{Zone: "bl.example", From: []netip.Addr{loopback}, Key: keyName}, notice("bl.example.", keyName), dns.RcodeSuccess, true},
		"not signed":                 {&dnsd.Sources{Zone: "bl.example", From: []netip.Addr{loopback}, Key: keyName}, notice("bl.example.", ""), dns.RcodeRefused, false},
		"from a stranger":            {&dnsd.Sources{Zone: "bl.example", From: []netip.Addr{other}}, notice("bl.example.", ""), dns.RcodeRefused, false},
		"of another zone":            {&dnsd.Sources{Zone: "bl.example", From: []netip.Addr{loopback}}, notice("other.example.", ""), dns.RcodeNotAuth, false},
		"to who is nobody's":         {nil, notice("bl.example.", ""), dns.RcodeNotImplemented, false},
		"with two questions":         {&dnsd.Sources{Zone: "bl.example", From: []netip.Addr{loopback}}, twice(notice("bl.example.", "")), dns.RcodeNotImplemented, false},
		"of another type than a SOA": {&dnsd.Sources{Zone: "bl.example", From: []netip.Addr{loopback}}, typed(notice("bl.example.", "")), dns.RcodeFormatError, false},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" over "+network, func(t *testing.T) {
				t.Parallel()
				told := make(chan netip.Addr, 1)
				s := base
				if c.sources != nil {
					sources := *c.sources
					sources.Notify = func(from netip.Addr) { told <- from }
					taking, err := base.Taking(sources)
					if err != nil {
						t.Fatal(err)
					}
					s = taking
				}
				o := options(t)
				o.Secondaries = func() *dnsd.Secondaries { return s }
				client := dns.Client{Net: network, TsigSecret: tsigSecrets, Timeout: patience}
				reply, _, err := client.Exchange(c.m.Copy(), serve(t, o).Addrs()[0].String())
				if err != nil {
					t.Fatal(err)
				}
				if reply.Rcode != c.want || reply.Opcode != dns.OpcodeNotify || len(reply.Answer) > 0 {
					t.Errorf("got %v", reply)
				}
				select {
				case from := <-told:
					if !c.told || from != loopback {
						t.Errorf("told by %s", from)
					}
				default:
					if c.told {
						t.Error("nobody was told")
					}
				}
			})
		}
	}
}

func twice(m *dns.Msg) *dns.Msg {
	m.Question = append(m.Question, m.Question[0])
	return m
}

func typed(m *dns.Msg) *dns.Msg {
	m.Question[0].Qtype = dns.TypeA
	return m
}

// A word of a primary is enough for the copier to have what is new.
func TestCopierIsTold(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, lasting(1000), nil)
	p.zones = zones(t)
	c := copying(t, filepath.Join(t.TempDir(), "copy"), func(o *dnsd.CopierOptions) {
		o.Primaries = []netip.AddrPort{netip.MustParseAddrPort(p.addr)}
		o.Key = &dnsd.Key{Name: keyName, Algorithm: "hmac-sha256", Secret: []byte(secret)}
	})
	s, err := shared(t).Taking(dnsd.Sources{Zone: "bl.example", From: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Key: keyName, Notify: c.Notify})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Zones, o.Snapshots, o.Secondaries = c.Zones, c.Snapshot, func() *dnsd.Secondaries { return s }
	addr := serve(t, o).Addrs()[0].(*net.UDPAddr).AddrPort()
	runCopier(t, c)
	until(t, "the copier has the zone", func() bool { return c.Snapshot() != nil })
	notifying(t, p, nil, dnsd.Target{To: addr, Key: keyName})
	for range 5 {
		serial := p.move()
		until(t, "the copier has what is new", func() bool { return c.Snapshot().Serial() == serial })
	}
}

// FuzzInbound feeds a copier what no primary sends. What it takes can be answered
// from, and it takes nothing else.
func FuzzInbound(f *testing.F) {
	z := zoneBL()
	whole, later := lasting(1000), lasting(1001, entry("192.0.2.99/32", listing.ClassBounce))
	q := question("bl.example.", dns.TypeAXFR)
	var seed []byte
	for _, m := range honest(z, whole)(q) {
		seed = append(seed, framed(m)...)
	}
	f.Add(seed)
	f.Add(framed(message(q, z.SOA(1001), z.SOA(1000), z.StatusTXT(whole), z.SOA(1001), z.StatusTXT(later), z.SOA(1001))))
	f.Fuzz(func(t *testing.T, stream []byte) {
		have, err := zonefile.NewSet(z)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range dnsd.Taken(stream, &zonefile.Copy{Zones: have, Snapshot: whole}) {
			set := c.Zones.All()
			if len(set) != 1 || set[0].Name != z.Name || set[0].Validate() != nil {
				t.Errorf("took %+v", set)
			}
			for e := range c.Snapshot.All() {
				if e.Prefix.Addr().IsLoopback() {
					continue // the fixture has it, and no zone shows it
				}
				if got, ok := set[0].Lookup(c.Snapshot, e.Prefix.Addr()); !ok || len(set[0].Text(got)) > 255 {
					t.Errorf("%s is not answered for", e.Prefix)
				}
			}
		}
	})
}
