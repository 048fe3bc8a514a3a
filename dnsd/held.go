package dnsd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// held are sockets that somebody opened for us and keeps open beyond our life, so
// that what arrives while there is no server waits for the next one.
type held struct {
	udp map[netip.AddrPort][]*os.File
	tcp map[netip.AddrPort][]*os.File
}

// Sockets returns copies of the open sockets, for a process that goes on with
// them: what has not been answered when this server ends waits in them.
func (s *Server) Sockets() ([]*os.File, error) {
	var files []*os.File
	for _, e := range s.endpoints {
		udp, err := e.udp.files()
		files = append(files, udp...)
		if err == nil {
			var tcp *os.File
			if tcp, err = e.tcp.File(); err == nil {
				files = append(files, tcp)
			}
		}
		if err != nil {
			for _, f := range files {
				_ = f.Close() // a copy
			}
			return nil, fmt.Errorf("copy the sockets of %s: %w", e.udp.LocalAddr(), err)
		}
	}
	return files, nil
}

// sortHeld finds out what the sockets are.
func sortHeld(files []*os.File) (held, error) {
	h := held{udp: make(map[netip.AddrPort][]*os.File), tcp: make(map[netip.AddrPort][]*os.File)}
	for _, f := range files {
		if l, err := tcpListener(f); err == nil {
			addr := plain(l.Addr().(*net.TCPAddr).AddrPort())
			h.tcp[addr] = append(h.tcp[addr], f)
			_ = l.Close() // a copy; f stays open
			continue
		}
		c, err := packetConn(f)
		if err != nil {
			return held{}, fmt.Errorf("socket %s that was handed over: want one of UDP, or one of TCP that listens: %w", f.Name(), err)
		}
		addr := plain(c.LocalAddr().(*net.UDPAddr).AddrPort())
		err = ownFamily(c, addr)
		_ = c.Close() // a copy; f stays open
		if err != nil {
			return held{}, fmt.Errorf("socket %s that was handed over for %s: %w", f.Name(), addr, err)
		}
		h.udp[addr] = append(h.udp[addr], f)
	}
	return h, nil
}

// take returns the sockets for an address, which nobody else gets.
func (h held) take(addr netip.AddrPort) (udp []*os.File, tcp []*os.File) {
	udp, tcp = h.udp[addr], h.tcp[addr]
	delete(h.udp, addr)
	delete(h.tcp, addr)
	return udp, tcp
}

// left returns an error for a socket that nobody has taken: questions that come
// to it would wait for ever.
func (h held) left() error {
	for _, rest := range []map[netip.AddrPort][]*os.File{h.udp, h.tcp} {
		for addr := range rest {
			return fmt.Errorf("a socket for %s was handed over, and nobody serves that address: name it in dns.listen, or take it out of the socket unit", addr)
		}
	}
	return nil
}

func tcpListener(f *os.File) (*net.TCPListener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if t, ok := l.(*net.TCPListener); ok {
		return t, nil
	}
	_ = l.Close()
	return nil, errors.New("it listens, and not for TCP")
}

func packetConn(f *os.File) (*net.UDPConn, error) {
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UDPConn); ok {
		return u, nil
	}
	_ = c.Close()
	return nil, errors.New("it takes packets, and not over UDP")
}

// ownFamily refuses a socket that serves both families at once: an IPv4 client's
// address would come as one of IPv6, and no rule for it would be found.
func ownFamily(c *net.UDPConn, addr netip.AddrPort) error {
	if !addr.Addr().Is6() || !addr.Addr().IsUnspecified() {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	only := 0
	var asked error
	if err := raw.Control(func(fd uintptr) {
		only, asked = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY)
	}); err != nil {
		return err
	}
	if asked == nil && only == 0 {
		return errors.New("it serves IPv4 too: say BindIPv6Only=ipv6-only in the socket unit")
	}
	return asked
}

// plain returns an address as dns.listen writes it.
func plain(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}
