package dnsd_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const patience = time.Minute // for what must happen, on a busy machine

// base is the time of the fixture.
var base = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)

// entries are what the fixture lists.
var entries = []listing.Entry{
	entry("192.0.2.66/32", listing.ClassBounce),
	entry("192.0.2.67/32", listing.ClassNotice),
	entry("192.0.2.68/32", listing.ClassBounce),
	entry("192.0.2.69/32", listing.ClassBounce, listing.ClassAutoreply),
	entry("192.0.2.70/32", listing.ClassAutoreply),
	entry("198.51.100.0/24", listing.ClassManual),
	entry("2001:db8:0:1::/64", listing.ClassBounce),
	entry("2001:db8:ab::/48", listing.ClassManual),
	entry("127.0.0.1/32", listing.ClassManual), // must not be answered, whatever the store holds
}

func entry(prefix string, classes ...listing.Class) listing.Entry {
	e := listing.Entry{
		Prefix:  netip.MustParsePrefix(prefix),
		Classes: listing.ClassSetOf(classes...),
		Class:   classes[0],
		Summary: listing.Summary{
			Events: 5,
			Since:  listing.DateOf(base.AddDate(0, 0, -3)),
			Last:   listing.DateOf(base.AddDate(0, 0, -1)),
			Until:  listing.DateOf(base.AddDate(0, 0, 6)),
		},
	}
	if e.Class == listing.ClassManual {
		e.Summary = listing.Summary{Since: e.Summary.Since}
	}
	return e
}

func snapshot() *listing.Snapshot {
	return listing.NewSnapshot(listing.Build{
		Sequence:       1795325400,
		Time:           base.Add(-time.Minute),
		NewestEvidence: base.Add(-90 * time.Second),
		Entries:        slices.Values(entries),
		Endings: []listing.Ending{
			{Prefix: netip.MustParsePrefix("192.0.2.67/32"), Until: base.Add(100 * time.Second)},
			{Prefix: netip.MustParsePrefix("192.0.2.68/32"), Until: base.Add(3 * time.Second)},
		},
	})
}

func zoneBL() *zonefile.Zone {
	return &zonefile.Zone{
		Name: "bl.example.", NS: []string{"ns1.bl.example.", "ns2.example.net."}, Hostmaster: "hostmaster.bl.example.",
		TTL: 10 * time.Minute, NegativeTTL: 5 * time.Minute, URL: "https://bl.example/",
		Classes: listing.ClassSetOf(listing.ClassBounce, listing.ClassNotice, listing.ClassAutoreply, listing.ClassChallenge, listing.ClassManual),
		Addresses: []netip.Addr{
			netip.MustParseAddr("203.0.113.80"), netip.MustParseAddr("2001:db8::80"),
		},
		Texts: []string{`see "https://bl.example/"`},
	}
}

func zoneBounce() *zonefile.Zone {
	return &zonefile.Zone{
		Name: "bounce.bl.example.", NS: []string{"bounce.bl.example."}, Hostmaster: "hostmaster.bl.example.",
		Classes:   listing.ClassSetOf(listing.ClassBounce),
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.81")},
	}
}

// zoneBig has more name servers than fit into a UDP packet.
func zoneBig() *zonefile.Zone {
	z := zoneBounce()
	z.Name, z.NS = "big.example.", nil
	for i := range 60 {
		z.NS = append(z.NS, fmt.Sprintf("ns%d.%s.example.net.", i, strings.Repeat(string(rune('a'+i%26)), 40)))
	}
	return z
}

func zones(tb testing.TB) *zonefile.Set {
	tb.Helper()
	set, err := zonefile.NewSet(zoneBL(), zoneBounce(), zoneBig())
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func view(tb testing.TB) dnsd.View {
	tb.Helper()
	return dnsd.View{Zones: zones(tb), Snapshot: snapshot(), Version: `backscatter "1\0"`, Hostname: "ns1.bl.example", Now: base}
}

// options serve the fixture on a free port of the loopback.
func options(tb testing.TB) dnsd.Options {
	tb.Helper()
	v := view(tb)
	return dnsd.Options{
		Listen:    []string{"127.0.0.1:0"},
		Zones:     func() *zonefile.Set { return v.Zones },
		Snapshots: func() *listing.Snapshot { return v.Snapshot },
		Version:   v.Version, Hostname: v.Hostname,
		Metrics: prometheus.NewRegistry(),
	}
}

// serve runs a server until the test ends, and wants it to end well.
func serve(tb testing.TB, o dnsd.Options) *dnsd.Server {
	tb.Helper()
	s, stop := start(tb, o)
	tb.Cleanup(stop)
	return s
}

// start runs a server; stop ends it, and wants it to end well and in time.
func start(tb testing.TB, o dnsd.Options) (s *dnsd.Server, stop func()) {
	tb.Helper()
	s = dnsd.New(o)
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	return s, func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("serve: %v", err)
			}
		case <-time.After(patience):
			tb.Error("the server did not stop")
		}
	}
}

// exchange sends a packet as it is and returns the answer.
func exchange(tb testing.TB, over dnsd.Transport, addr net.Addr, packet []byte) []byte {
	tb.Helper()
	if over == dnsd.UDP {
		conn := dial(tb, "udp", addr)
		send(tb, conn, packet)
		return receiveUDP(tb, conn)
	}
	conn := dial(tb, "tcp", addr)
	send(tb, conn, framed(packet))
	return receiveTCP(tb, conn)
}

func dial(tb testing.TB, network string, addr net.Addr) net.Conn {
	tb.Helper()
	conn, err := net.Dial(network, addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return conn
}

func send(tb testing.TB, w io.Writer, packet []byte) {
	tb.Helper()
	if _, err := w.Write(packet); err != nil {
		tb.Fatal(err)
	}
}

func receiveUDP(tb testing.TB, r io.Reader) []byte {
	tb.Helper()
	buf := make([]byte, 65535)
	n, err := r.Read(buf)
	if err != nil {
		tb.Fatalf("no answer: %v", err)
	}
	return buf[:n]
}

func receiveTCP(tb testing.TB, r io.Reader) []byte {
	tb.Helper()
	packet, err := readTCP(r)
	if err != nil {
		tb.Fatalf("no answer: %v", err)
	}
	return packet
}

func readTCP(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, packet)
	return packet, err
}

// framed puts the length before a packet, as TCP wants it.
func framed(packet []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
}

// question returns a message that asks for a name.
func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.Id = 0x4711
	m.Question = []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}
	return m
}

func packed(tb testing.TB, m *dns.Msg) []byte {
	tb.Helper()
	packet, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return packet
}
