package dnsd_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

func goodQuestion(tb testing.TB, id uint16) []byte {
	tb.Helper()
	m := question("66.2.0.192.bl.example.", dns.TypeTXT)
	m.Id = id
	return packed(tb, m)
}

func id(packet []byte) uint16 { return uint16(packet[0])<<8 | uint16(packet[1]) }

// TestPipelining sends many questions at once and wants each answered
// (RFC 7766 §6.2.1.1), many more than may wait.
func TestPipelining(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Limits.TCPPipeline = 4
	conn := dial(t, "tcp", serve(t, o).Addrs()[0])
	const n = 3000
	var questions []byte
	for i := range n {
		questions = append(questions, framed(goodQuestion(t, uint16(i)))...)
	}
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		if _, err := conn.Write(questions); err != nil {
			t.Error(err)
		}
	})
	seen := map[uint16]bool{}
	for range n {
		seen[id(receiveTCP(t, conn))] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d questions answered", len(seen), n)
	}
}

// TestHalfClose wants all that was asked answered after the client has said
// that it has no more questions.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	conn := dial(t, "tcp", serve(t, options(t)).Addrs()[0])
	send(t, conn, slices.Concat(framed(goodQuestion(t, 1)), framed(goodQuestion(t, 2))))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got := []uint16{id(receiveTCP(t, conn)), id(receiveTCP(t, conn))}
	if diff := cmp.Diff([]uint16{1, 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := readTCP(conn); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
}

// TestSplitAnywhere sends a question a byte at a time.
func TestSplitAnywhere(t *testing.T) {
	t.Parallel()
	conn := dial(t, "tcp", serve(t, options(t)).Addrs()[0])
	for _, b := range framed(goodQuestion(t, 7)) {
		send(t, conn, []byte{b})
	}
	if got := id(receiveTCP(t, conn)); got != 7 {
		t.Errorf("answer to %d", got)
	}
}

// closed wants the server to close the connection, and returns how long it took.
func closed(tb testing.TB, conn net.Conn) time.Duration {
	tb.Helper()
	began := time.Now()
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Fatal("still open")
	}
	return time.Since(began)
}

// TestSlowClients wants those that hold a connection and do not ask dropped,
// each by its own limit, while others are served.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const short, long = 50 * time.Millisecond, time.Hour
	for _, c := range []struct {
		name   string
		limits dnsd.Limits
		behave func(testing.TB, net.Conn)
	}{
		{"idle from the start", dnsd.Limits{TCPIdle: short, TCPRead: long}, func(testing.TB, net.Conn) {}},
		{"idle after a question", dnsd.Limits{TCPIdle: short, TCPRead: long}, func(tb testing.TB, conn net.Conn) {
			tb.Helper()
			send(tb, conn, framed(goodQuestion(tb, 1)))
			receiveTCP(tb, conn)
		}},
		{"half a length", dnsd.Limits{TCPIdle: long, TCPRead: short}, func(tb testing.TB, conn net.Conn) {
			tb.Helper()
			send(tb, conn, []byte{0})
		}},
		{"half a question", dnsd.Limits{TCPIdle: long, TCPRead: short}, func(tb testing.TB, conn net.Conn) {
			tb.Helper()
			send(tb, conn, framed(goodQuestion(tb, 1))[:20])
		}},
		{"the longest question, announced", dnsd.Limits{TCPIdle: long, TCPRead: short}, func(tb testing.TB, conn net.Conn) {
			tb.Helper()
			send(tb, conn, []byte{0xff, 0xff, 0})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Limits = c.limits
			addr := serve(t, o).Addrs()[0]
			conn := dial(t, "tcp", addr)
			c.behave(t, conn)
			if took := closed(t, conn); took > patience/2 {
				t.Errorf("closed after %s", took)
			}
			exchange(t, dnsd.TCP, addr, goodQuestion(t, 2))
		})
	}
}

// TestClientThatDoesNotRead wants a client that asks and never takes its
// answers dropped, and no more of its questions read meanwhile.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Limits = dnsd.Limits{TCPPipeline: 2, TCPWrite: 50 * time.Millisecond}
	registry := prometheus.NewRegistry()
	o.Metrics = registry
	conn := dial(t, "tcp", serve(t, o).Addrs()[0])
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil { // soon full
		t.Fatal(err)
	}
	big := framed(packed(t, question("big.example.", dns.TypeNS)))
	for {
		if _, err := conn.Write(big); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("still open")
			}
			break
		}
	}
	eventually(t, "the connection is gone", func() bool {
		return counted(t, registry, "backscatter_dns_tcp_connections", nil) == 0
	})
	if counted(t, registry, "backscatter_dns_dropped_total", map[string]string{"transport": "tcp", "reason": "not_sent"}) == 0 {
		t.Error("nothing counted as not sent")
	}
}

// TestConnectionLimits wants the idlest connection closed for a new one, of the
// same client when that has too many, else of all.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		limits dnsd.Limits
		reason string
	}{
		{"per client", dnsd.Limits{TCPClients: 100, TCPPerClient: 3}, "limit_per_client"},
		{"in all", dnsd.Limits{TCPClients: 3, TCPPerClient: 100}, "limit_in_all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Limits = c.limits
			registry := prometheus.NewRegistry()
			o.Metrics = registry
			addr := serve(t, o).Addrs()[0]
			asks := func(conn net.Conn) {
				send(t, conn, framed(goodQuestion(t, 1)))
				receiveTCP(t, conn)
			}
			var conns []net.Conn
			for range 3 {
				conns = append(conns, dial(t, "tcp", addr))
				asks(conns[len(conns)-1])
			}
			asks(conns[0]) // now the second is the idlest
			asks(dial(t, "tcp", addr))
			closed(t, conns[1])
			asks(conns[0])
			asks(conns[2])
			if got := counted(t, registry, "backscatter_dns_tcp_evicted_total", map[string]string{"reason": c.reason}); got != 1 {
				t.Errorf("%v evicted, want 1", got)
			}
			if got := counted(t, registry, "backscatter_dns_tcp_connections", nil); got != 3 {
				t.Errorf("%v connections, want 3", got)
			}
		})
	}
}

// TestOneClientCannotStarveAnother has one client open many times what it may,
// and wants another answered.
func TestOneClientCannotStarveAnother(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Limits = dnsd.Limits{TCPClients: 20, TCPPerClient: 10}
	addr := serve(t, o).Addrs()[0]
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 2)}} // of another network
	other, err := from.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i := range 200 {
		dial(t, "tcp", addr)
		if i%50 == 0 {
			send(t, other, framed(goodQuestion(t, uint16(i))))
			if got := id(receiveTCP(t, other)); got != uint16(i) {
				t.Errorf("answer to %d, asked %d", got, i)
			}
		}
	}
}

// TestStopUnderLoad stops a server that has much to answer, and wants it to
// answer every question that it had received, and to be gone within its bound.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		datagrams = 100 // fit into the receive buffers of both ends
		pipelined = 500
		drain     = 3 * time.Second
	)
	o := options(t)
	o.Limits.Drain = drain
	registry := prometheus.NewRegistry()
	o.Metrics = registry
	s, stop := start(t, o)
	addr := s.Addrs()[0]
	idle, udp, tcp := dial(t, "tcp", addr), dial(t, "udp", addr), dial(t, "tcp", addr)

	var readers sync.WaitGroup
	readers.Go(func() {
		for i := range pipelined {
			if _, err := readTCP(tcp); err != nil {
				t.Errorf("tcp: %d of %d answered: %v", i, pipelined, err)
				return
			}
		}
	})
	var questions []byte
	for i := range pipelined {
		questions = append(questions, framed(goodQuestion(t, uint16(i)))...)
	}
	for i := range datagrams {
		send(t, udp, goodQuestion(t, uint16(i)))
	}
	send(t, tcp, questions)
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*drain {
		t.Errorf("stopped after %s", took)
	}
	if got := counted(t, registry, "backscatter_dns_tcp_connections", nil); got != 0 {
		t.Errorf("%v connections after the server has stopped", got)
	}
	for i := range datagrams {
		if _, err := udp.Read(make([]byte, 1500)); err != nil {
			t.Fatalf("udp: %d of %d answered: %v", i, datagrams, err)
		}
	}
	readers.Wait()
	closed(t, idle)
	if conn, err := net.Dial("tcp", addr.String()); err == nil {
		conn.Close()
		t.Error("still accepts connections")
	}
	if got := counted(t, registry, "backscatter_dns_answers_total", nil); got != datagrams+pipelined {
		t.Errorf("%v answers counted, want %d", got, datagrams+pipelined)
	}
}

// TestManyClients asks over both transports from many goroutines at once, and
// wants each to get the answer to its own question.
func TestManyClients(t *testing.T) {
	t.Parallel()
	addr := serve(t, options(t)).Addrs()[0]
	for c := range 8 {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			over := dnsd.Transport(c % 2)
			for i := range 50 {
				name := fmt.Sprintf("%d.100.51.198.bl.example.", (c*50+i)%256)
				request := packed(t, question(name, dns.TypeA))
				want := found(a(name, 600, 9))
				if diff := cmp.Diff(want, words(t, request, exchange(t, over, addr, request))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}
