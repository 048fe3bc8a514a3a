package dnsd_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// holder keeps a port open for servers that come and go.
func holder(t *testing.T) (addr string, sockets []*os.File) {
	t.Helper()
	for range 16 { // a free port of UDP that somebody has for TCP
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
		if err != nil {
			continue
		}
		defer tcp.Close()
		for _, s := range []interface{ File() (*os.File, error) }{udp, tcp.(*net.TCPListener)} {
			f, err := s.File()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			sockets = append(sockets, f)
		}
		return udp.LocalAddr().String(), sockets
	}
	t.Fatal("no port is free for UDP and TCP")
	return "", nil
}

// TestHeldSockets wants what is asked between two servers to be answered by the
// second, over both transports, when somebody else holds the sockets.
func TestHeldSockets(t *testing.T) {
	t.Parallel()
	addr, sockets := holder(t)
	request := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	answered := func(packet []byte) {
		t.Helper()
		var m dns.Msg
		if err := m.Unpack(packet); err != nil || len(m.Answer) != 1 {
			t.Errorf("answer %v: %v", m.Answer, err)
		}
	}
	for range 3 {
		o := options(t)
		o.Listen, o.Sockets = []string{addr}, sockets
		udp := dial(t, "udp", strAddr(addr))
		tcp := dial(t, "tcp", strAddr(addr)) // waits in the queue of the socket
		send(t, udp, request)
		send(t, tcp, framed(request))
		s, stop := start(t, o)
		if got := s.Addrs()[0].String(); got != addr {
			t.Errorf("bound to %s, want %s", got, addr)
		}
		answered(receiveUDP(t, udp))
		answered(receiveTCP(t, tcp))
		stop()
	}
}

// strAddr is an address that is known as text.
type strAddr string

func (strAddr) Network() string  { return "" }
func (a strAddr) String() string { return string(a) }

// TestHeldSocketsErrors wants no socket to be left that nobody reads.
func TestHeldSocketsErrors(t *testing.T) {
	t.Parallel()
	addr, sockets := holder(t)
	o := options(t)
	o.Metrics = nil // of several servers
	o.Sockets = sockets
	if err := dnsd.New(o).Listen(); err == nil || !strings.Contains(err.Error(), "a socket for "+addr+" was handed over") {
		t.Errorf("a socket of another address: %v", err)
	}
	again, err := net.FileListener(sockets[1])
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	twice, err := again.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer twice.Close()
	o.Listen, o.Sockets = []string{addr}, append([]*os.File{twice}, sockets...)
	if err := dnsd.New(o).Listen(); err == nil || !strings.Contains(err.Error(), "2 sockets of TCP") || !strings.Contains(err.Error(), addr) {
		t.Errorf("two sockets of TCP: %v", err)
	}
	o.Listen = []string{"127.0.0.1:0"}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	o.Sockets = []*os.File{file}
	if err := dnsd.New(o).Listen(); err == nil || !strings.Contains(err.Error(), "was handed over") {
		t.Errorf("no socket: %v", err)
	}
	both, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6unspecified})
	if err != nil {
		t.Skip("no IPv6 here")
	}
	defer both.Close()
	f, err := both.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Sockets = []*os.File{f}
	if err := dnsd.New(o).Listen(); err == nil || !strings.Contains(err.Error(), "BindIPv6Only") {
		t.Errorf("a socket of both families: %v", err)
	}
}
