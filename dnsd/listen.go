package dnsd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

const (
	receiveBuffer = 4 << 20 // asked of the kernel for bursts; it gives what it allows
	portTries     = 16      // free ports of UDP that are tried for TCP
)

// endpoint is one address with its sockets.
type endpoint struct {
	udp    *udpListener
	tcp    *net.TCPListener
	family family
}

func (e endpoint) close() {
	if e.udp != nil {
		e.udp.Close()
	}
	if e.tcp != nil {
		_ = e.tcp.Close()
	}
}

// bind opens the sockets for one address of the configuration: those of UDP and TCP
// for a host, or those of both families for none (every address of both families), all on one port. What was
// opened is closed again on error.
func bind(listen string, sockets int, h held) ([]endpoint, error) {
	addrs, err := parseListen(listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", listen, err)
	}
	for try := 1; ; try++ {
		endpoints, err := bindAll(addrs, sockets, h)
		if err == nil {
			return endpoints, nil
		}
		// With port 0, UDP chooses a port that somebody may have for TCP.
		if addrs[0].Port() != 0 || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s: %w", listen, err)
		}
	}
}

// parseListen reads host:port. Names are not resolved: what a name means may
// change, and what is served must not.
func parseListen(listen string) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, errors.New("want an IP address and a port, as in 127.0.0.1:53 or [::1]:53, or a port for all addresses, as in :53")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: want a number from 0 to 65535", portText)
	}
	if host == "" {
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)),
			netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)),
		}, nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil, fmt.Errorf("host %q: want an IP address", host)
	}
	return []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), uint16(port))}, nil
}

// bindAll opens both sockets for each address. Port 0 becomes the port that
// the first of them was given. A host without IPv6 serves every address by
// serving those of IPv4.
func bindAll(addrs []netip.AddrPort, sockets int, h held) (endpoints []endpoint, err error) {
	defer func() {
		if err != nil {
			for _, e := range endpoints {
				e.close()
			}
			endpoints = nil
		}
	}()
	port := addrs[0].Port()
	for i, addr := range addrs {
		e, err := bindOne(netip.AddrPortFrom(addr.Addr(), port), sockets, h)
		if i > 0 && errors.Is(err, syscall.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return endpoints, err
		}
		endpoints = append(endpoints, e)
		port = e.udp.LocalAddr().AddrPort().Port()
	}
	return endpoints, nil
}

func bindOne(addr netip.AddrPort, sockets int, h held) (e endpoint, err error) {
	defer func() {
		if err != nil {
			e.close()
			e = endpoint{}
		}
	}()
	tcp := "tcp4"
	if addr.Addr().Is6() {
		e.family = ipv6Family
		tcp = "tcp6" // refuses mapped IPv4, so both families can have a wildcard
	}
	udps, tcps := h.take(addr)
	if len(tcps) > 1 {
		return e, fmt.Errorf("%d sockets of TCP were handed over for it: want one, as nobody would accept connections on the others", len(tcps))
	}
	if e.udp, err = listenUDP(addr, sockets, udps); err != nil {
		return e, explain(err)
	}
	if len(tcps) > 0 {
		e.tcp, err = tcpListener(tcps[0])
		return e, err
	}
	bound := netip.AddrPortFrom(addr.Addr(), e.udp.LocalAddr().AddrPort().Port())
	if e.tcp, err = net.ListenTCP(tcp, net.TCPAddrFromAddrPort(bound)); err != nil {
		return e, explain(err)
	}
	return e, nil
}

// explain cuts the error of a bind down to its cause, and says what to do.
func explain(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch errno {
	case syscall.EADDRINUSE:
		return fmt.Errorf("%w: another DNS server has the port; stop it or change dns.listen", errno)
	case syscall.EACCES, syscall.EPERM:
		return fmt.Errorf("%w: ports below 1024 need root or CAP_NET_BIND_SERVICE", errno)
	case syscall.EADDRNOTAVAIL:
		return fmt.Errorf("%w: this host does not have the address", errno)
	}
	return errno
}
