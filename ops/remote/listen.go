package remote

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// LimitClients has no client address hold more connections than each: more are
// closed at once. Loopback and the proxies stand for many, and have no such limit.
func LimitClients(l net.Listener, each int, proxies func() []netip.Prefix) net.Listener {
	return &clients{Listener: l, each: each, proxies: proxies, open: map[netip.Addr]int{}}
}

type clients struct {
	net.Listener
	each    int
	proxies func() []netip.Prefix

	mu   sync.Mutex // guards open
	open map[netip.Addr]int
}

// Accept returns the next connection within the limit.
func (l *clients) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := peerOf(raw)
		if !from.IsValid() || nearby(from, l.proxies) {
			return raw, nil
		}
		addr := clientOf(from)
		if l.count(addr, 1) <= l.each {
			return &clientConn{Conn: raw, gone: sync.OnceFunc(func() { l.count(addr, -1) })}, nil
		}
		l.count(addr, -1)
		_ = raw.Close() // it has as many as it may
	}
}

func (l *clients) count(addr netip.Addr, n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[addr] += n
	now := l.open[addr]
	if now == 0 {
		delete(l.open, addr)
	}
	return now
}

type clientConn struct {
	net.Conn
	gone func()
}

// Close closes the connection and gives its place to another.
func (c *clientConn) Close() error {
	c.gone()
	return c.Conn.Close()
}

// peerOf returns who is connected, the zero address where that is no address.
func peerOf(c net.Conn) netip.Addr {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr()
}

// clientOf returns what counts as one client: an IPv4 address, or an IPv6 /64, all
// addresses of which one host can use.
func clientOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if p, err := addr.Prefix(64); err == nil && addr.Is6() {
		return p.Addr()
	}
	return addr
}

// nearby reports whether an address is this machine's or a proxy's.
func nearby(addr netip.Addr, proxies func() []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() {
		return true
	}
	return proxies != nil && slices.ContainsFunc(proxies(), func(p netip.Prefix) bool { return p.Contains(addr) })
}
