package dnsd_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// slow is a server with a great zone, of which a client that reads nothing gets
// no more than the kernel keeps.
func slow(t *testing.T, limits dnsd.Limits) (*primary, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	p := newPrimary(t, randomSnapshot(rand.New(rand.NewPCG(1, 7)), 9, 150_000), func(o *dnsd.Options) { o.Limits, o.Metrics = limits, reg })
	return p, reg
}

// begin asks for the great zone and reads one message.
func (p *primary) begin(t *testing.T) net.Conn {
	t.Helper()
	conn := dial(t, "tcp", tcpAddr(t, p.addr))
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	send(t, conn, framed(packed(t, request("bounce.bl.example.", dns.TypeAXFR, 0, ""))))
	receiveTCP(t, conn)
	return conn
}

// await waits until metrics of transfers have the given values.
func await(t *testing.T, reg *prometheus.Registry, want string, names ...string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func running(n int) string {
	return fmt.Sprintf("# HELP backscatter_dns_transfers_running Transfers of zones that are being sent.\n# TYPE backscatter_dns_transfers_running gauge\nbackscatter_dns_transfers_running %d\n", n)
}

// A secondary that has gone, or that takes nothing, frees what it had.
func TestTransferAbandoned(t *testing.T) {
	t.Parallel()
	p, reg := slow(t, dnsd.Limits{TransferStall: 2 * time.Second}) // in which the first message comes on any machine
	p.begin(t).Close()
	await(t, reg, running(0), "backscatter_dns_transfers_running")
	p.begin(t) // and reads no more
	await(t, reg, running(0), "backscatter_dns_transfers_running")
}

// A secondary that goes on accepting, but too little for its time, is left.
func TestTransferTooSlow(t *testing.T) {
	t.Parallel()
	p, reg := slow(t, dnsd.Limits{TransferStall: time.Millisecond, TransferRate: math.MaxInt})
	conn := dial(t, "tcp", tcpAddr(t, p.addr))
	send(t, conn, framed(packed(t, request("bounce.bl.example.", dns.TypeAXFR, 0, ""))))
	total := 0
	for { // as fast as can be, which is not fast enough
		packet, err := readTCP(conn)
		if err != nil {
			break
		}
		total += len(packet)
	}
	if total > 20<<20 {
		t.Errorf("%d octets came", total)
	}
	const name = "backscatter_dns_transfers_total"
	until(t, "the transfer has failed", func() bool { return tallied(t, reg, name, map[string]string{"kind": "axfr", "result": "failed"}) == 1 })
}

// Beyond the limit transfers are put off, and all else is answered.
func TestTransferLimit(t *testing.T) {
	t.Parallel()
	p, reg := slow(t, dnsd.Limits{Transfers: 2, TransferStall: time.Minute})
	first := p.begin(t)
	p.begin(t)
	await(t, reg, running(2), "backscatter_dns_transfers_running")
	conn := dial(t, "tcp", tcpAddr(t, p.addr))
	packet, _, err := packSigned(request("bl.example.", dns.TypeAXFR, 0, keyName))
	if err != nil {
		t.Fatal(err)
	}
	send(t, conn, framed(packet))
	var m dns.Msg
	if err := m.Unpack(receiveTCP(t, conn)); err != nil || m.Rcode != dns.RcodeServerFailure || m.IsTsig() == nil {
		t.Errorf("%v, %v", &m, err)
	}
	send(t, conn, framed(goodQuestion(t, 3)))
	if got := id(receiveTCP(t, conn)); got != 3 {
		t.Errorf("answer to %d", got)
	}
	first.Close()
	await(t, reg, running(1), "backscatter_dns_transfers_running")
	if rrs := p.mustTake(t, request("bl.example.", dns.TypeIXFR, 9, keyName)); len(rrs) != 1 {
		t.Errorf("%v", rrs)
	}
}

// A stop does not wait for a secondary that takes nothing.
func TestTransferStops(t *testing.T) {
	t.Parallel()
	o := options(t)
	secondaries := shared(t)
	s := randomSnapshot(rand.New(rand.NewPCG(1, 7)), 9, 150_000)
	o.Secondaries = func() *dnsd.Secondaries { return secondaries }
	o.Snapshots = func() *listing.Snapshot { return s }
	server, stop := start(t, o)
	p := &primary{addr: server.Addrs()[0].String()}
	p.begin(t)
	stop()
}

// What a transfer takes of memory does not depend on how long it is.
func TestTransferMemory(t *testing.T) {
	const n = 100_000
	s := listing.NewSnapshot(listing.Build{Sequence: 5, Time: base, Entries: func(yield func(listing.Entry) bool) {
		e := entries[0]
		for i := range uint32(n) {
			e.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{8, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			if !yield(e) {
				return
			}
		}
	}})
	p := newPrimary(t, s, nil)
	conn := dial(t, "tcp", tcpAddr(t, p.addr))
	if err := conn.SetDeadline(time.Now().Add(6 * patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send(t, conn, framed(packed(t, request("bounce.bl.example.", dns.TypeAXFR, 0, ""))))
	total := 0
	for total < n*150 { // of some 180 octets each
		got, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		total += got
	}
	runtime.ReadMemStats(&after)
	if each := float64(after.TotalAlloc-before.TotalAlloc) / n; each > 20 { // records would be some hundreds
		t.Errorf("%.0f bytes allocated for each entry", each)
	}
}
