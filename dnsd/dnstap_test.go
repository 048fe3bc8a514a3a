package dnsd_test

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"

	dnstap "github.com/dnstap/golang-dnstap"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
)

// reader is somebody who reads dnstap, by the library's own means.
type reader struct {
	listener net.Listener
	frames   chan []byte
}

// readTap listens on a path until the test ends or the reader is closed.
func readTap(t *testing.T, path string) *reader {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{listener: l, frames: make(chan []byte, 4096)}
	t.Cleanup(func() { l.Close() })
	return r
}

// accept reads one connection in the background; gone ends it from this side.
func (r *reader) accept(t *testing.T) (gone func()) {
	t.Helper()
	conn, err := r.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in, err := dnstap.NewFrameStreamInputTimeout(conn, true, patience)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		in.ReadInto(r.frames)
	}()
	gone = func() { conn.Close(); <-done }
	t.Cleanup(gone)
	return gone
}

// next returns the next message.
func (r *reader) next(t *testing.T) *dnstap.Message {
	t.Helper()
	select {
	case frame := <-r.frames:
		var d dnstap.Dnstap
		if err := proto.Unmarshal(frame, &d); err != nil {
			t.Fatal(err)
		}
		if d.GetType() != dnstap.Dnstap_MESSAGE || string(d.Identity) != "ns1" || string(d.Version) != "backscatter" {
			t.Errorf("frame %v", &d)
		}
		return d.Message
	case <-time.After(patience):
		t.Fatal("no frame came")
		return nil
	}
}

func tapPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // a path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "tap")
}

// TestTap wants the very octets that were sent and received, both ways, from
// every path, with who sent them.
func TestTap(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Listen = append(o.Listen, "[::1]:0")
	s, stop := start(t, o)
	v4, v6 := s.Addrs()[0], s.Addrs()[1]
	path := tapPath(t)
	r := readTap(t, path)
	s.Tap(&dnsd.Tap{Socket: path, Sample: 1, Identity: "ns1", Version: "backscatter"})

	edns := question("66.2.0.192.BL.example.", dns.TypeTXT)
	edns.SetEdns0(1232, true)
	for i, c := range []struct {
		over    dnsd.Transport
		addr    net.Addr
		request []byte
	}{
		{dnsd.UDP, v4, packed(t, edns)},                                          // fast path, which writes over the question
		{dnsd.UDP, v6, packed(t, question("2.0.192.bl.example.", dns.TypeNS))},   //
		{dnsd.UDP, v4, packed(t, question("_status.bl.example.", dns.TypeTXT))},  // general path
		{dnsd.TCP, v4, packed(t, question("65.2.0.192.bl.example.", dns.TypeA))}, //
		{dnsd.TCP, v6, packed(t, question("bl.example.", dns.TypeAXFR))},         // refused
		{dnsd.UDP, v4, raw(0, [4]uint16{1})},                                     // malformed
	} {
		began := time.Now().Add(-time.Second)
		network := c.over.String()
		conn := dial(t, network, c.addr)
		var answer []byte
		if c.over == dnsd.UDP {
			send(t, conn, c.request)
			answer = receiveUDP(t, conn)
		} else {
			send(t, conn, framed(c.request))
			answer = receiveTCP(t, conn)
		}
		if i == 0 {
			r.accept(t)
		}
		client, err := netip.ParseAddrPort(conn.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := netip.ParseAddrPort(c.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []dnstap.Message_Type{dnstap.Message_AUTH_QUERY, dnstap.Message_AUTH_RESPONSE} {
			m := r.next(t)
			if m.GetType() != want || strings.ToLower(m.GetSocketProtocol().String()) != network || (m.GetSocketFamily() == dnstap.SocketFamily_INET6) != client.Addr().Is6() {
				t.Errorf("frame %v for %s over %s", m, want, network)
			}
			if !bytes.Equal(m.QueryAddress, client.Addr().AsSlice()) || m.GetQueryPort() != uint32(client.Port()) ||
				!bytes.Equal(m.ResponseAddress, server.Addr().AsSlice()) || m.GetResponsePort() != uint32(server.Port()) {
				t.Errorf("frame %v between %s and %s", m, client, server)
			}
			at, sent := time.Unix(int64(m.GetQueryTimeSec()), int64(m.GetQueryTimeNsec())), m.QueryMessage
			message := c.request
			if want == dnstap.Message_AUTH_RESPONSE {
				message, sent = answer, m.ResponseMessage
				answered := time.Unix(int64(m.GetResponseTimeSec()), int64(m.GetResponseTimeNsec()))
				if answered.Before(at) {
					t.Errorf("answered at %s, asked at %s", answered, at)
				}
			}
			if !bytes.Equal(message, sent) {
				t.Errorf("%s\nwant %x\n got %x", want, message, sent)
			}
			if at.Before(began) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("asked at %s", at)
			}
		}
	}
	stop() // takes leave of the reader
}

// TestTapComesBack wants answers while nobody reads, and frames again when
// somebody does.
func TestTapComesBack(t *testing.T) {
	t.Parallel()
	o, registry := options(t), prometheus.NewRegistry()
	o.Metrics = registry
	s := serve(t, o)
	path := tapPath(t)
	s.Tap(&dnsd.Tap{Socket: path, Sample: 1, Identity: "ns1", Version: "backscatter"})
	conn, request := dial(t, "udp", s.Addrs()[0]), packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	asked := 0
	ask := func() {
		send(t, conn, request)
		receiveUDP(t, conn)
		asked++
	}
	lost := func() int { return samples(t, registry, "dnstap", "lost_peer") }
	ask()
	eventually(t, "what nobody reads is lost", func() bool { return lost() == 1 })

	for range 2 { // readers come and go
		r := readTap(t, path)
		accepted := make(chan func(), 1)
		go func() { accepted <- r.accept(t) }()
		var gone func()
		eventually(t, "the reader is found", func() bool {
			ask()
			select {
			case gone = <-accepted:
				return true
			default:
				return false
			}
		})
		if m := r.next(t); !bytes.Equal(m.QueryMessage, request) {
			t.Errorf("frame %v", m)
		}
		r.listener.Close()
		gone()
		before := lost()
		eventually(t, "its end is noticed", func() bool { ask(); return lost() > before })
	}
	s.Tap(nil)
	eventually(t, "each came to an end", func() bool {
		return samples(t, registry, "dnstap", "written")+samples(t, registry, "dnstap", "lost_peer") == asked
	})
}

// TestTapOfTheDeaf has a reader that takes nothing: it holds nobody up.
func TestTapOfTheDeaf(t *testing.T) {
	t.Parallel()
	o, registry := options(t), prometheus.NewRegistry()
	o.Metrics, o.Limits = registry, dnsd.Limits{UDPWorkers: 1}
	s := serve(t, o)
	path := tapPath(t)
	readTap(t, path) // never accepts: the connection stands, and nothing comes back
	s.Tap(&dnsd.Tap{Socket: path, Sample: 1})
	const all = 3200
	askMany(t, s.Addrs()[0], all)
	s.Tap(nil)
	eventually(t, "each came to an end", func() bool {
		return samples(t, registry, "dnstap", "lost_full")+samples(t, registry, "dnstap", "lost_peer") == all
	})
}
