package dnsd_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// TestListenErrors wants one clear line that names the address and what to do.
func TestListenErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenTCP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer takenTCP.Close()
	udp, tcp := taken.LocalAddr().String(), takenTCP.Addr().String()
	for _, c := range []struct{ listen, want string }{
		{udp, "listen on " + udp + ": address already in use: another DNS server has the port; stop it or change dns.listen"},
		{tcp, "listen on " + tcp + ": address already in use: another DNS server has the port; stop it or change dns.listen"},
		{"192.0.2.1:0", "listen on 192.0.2.1:0: cannot assign requested address: this host does not have the address"},
		{"127.0.0.1", "listen on 127.0.0.1: want an IP address and a port, as in 127.0.0.1:53 or [::1]:53, or a port for all addresses, as in :53"},
		{"127.0.0.1:dns", `listen on 127.0.0.1:dns: port "dns": want a number from 0 to 65535`},
		{"127.0.0.1:65536", `listen on 127.0.0.1:65536: port "65536": want a number from 0 to 65535`},
		{"localhost:53", `listen on localhost:53: host "localhost": want an IP address`},
	} {
		o := options(t)
		o.Listen = []string{"127.0.0.1:0", c.listen}
		s := dnsd.New(o)
		err := s.Listen()
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", c.listen)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.listen, err, c.want)
		}
		if len(s.Addrs()) != 0 {
			t.Errorf("%s: still bound to %s", c.listen, s.Addrs())
		}
	}
}

// TestListenPortZero wants UDP and TCP, of both families, on the one port that
// was free for all of them.
func TestListenPortZero(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Listen = []string{":0"}
	s := serve(t, o)
	var ports []uint16
	for _, addr := range s.Addrs() {
		ap := netip.MustParseAddrPort(addr.String())
		if !ap.Addr().IsUnspecified() {
			t.Errorf("bound to %s", addr)
		}
		ports = append(ports, ap.Port())
	}
	if len(ports) == 0 || ports[0] == 0 || len(slices.Compact(ports)) != 1 {
		t.Errorf("ports %v, want one", ports)
	}
}

// TestWildcardAnswersFromWhereItWasAsked asks addresses of loopback that are
// not the one which the kernel would choose, and wants them to answer.
func TestWildcardAnswersFromWhereItWasAsked(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Listen = []string{":0"}
	s := serve(t, o)
	_, port, err := net.SplitHostPort(s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	request := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	hosts := []string{"127.0.0.1", "127.9.8.7", "127.255.255.254"}
	if len(s.Addrs()) > 1 {
		hosts = append(hosts, "::1")
	}
	for _, host := range hosts {
		// The socket is connected, so that the kernel hands over nothing that
		// comes from elsewhere.
		addr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, dnsd.UDP, addr, request)
		exchange(t, dnsd.TCP, addr, request)
	}
}
