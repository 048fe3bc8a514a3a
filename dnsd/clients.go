package dnsd

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// clients keeps the TCP connections that are open, the idlest first, and
// closes some when there are too many: who holds connections without asking
// must not keep others from asking.
type clients struct {
	limits  Limits
	metrics *metrics

	mu     sync.Mutex // guards all below
	idlest *list.List // of *client, in the order of their last question
	count  map[netip.Prefix]int
	end    time.Time // when to stop waiting for questions; zero while serving
}

// client is one TCP connection.
type client struct {
	conn   *net.TCPConn
	remote netip.AddrPort
	local  netip.AddrPort
	addr   netip.Addr // of remote
	from   netip.Prefix
	place  *list.Element // in clients.idlest; nil when it has left
}

func newClients(l Limits, m *metrics) *clients {
	return &clients{limits: l, metrics: m, idlest: list.New(), count: make(map[netip.Prefix]int)}
}

// enter takes a connection in, and closes another one if that is needed.
func (c *clients) enter(conn *net.TCPConn) *client {
	remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	local, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	cl := &client{conn: conn, remote: remote, local: local, addr: remote.Addr().Unmap(), from: clientOf(remote.Addr())}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.count[cl.from] >= c.limits.TCPPerClient:
		c.evict(func(o *client) bool { return o.from == cl.from }, evictedForClient)
	case c.idlest.Len() >= c.limits.TCPClients:
		c.evict(func(*client) bool { return true }, evictedForAll)
	}
	cl.place = c.idlest.PushBack(cl)
	c.count[cl.from]++
	c.metrics.accepted.Inc()
	c.metrics.connections.Set(float64(c.idlest.Len()))
	return cl
}

// clientOf returns the addresses that count as one client. Who wants many
// connections has a network to open them from: a /24, or what a site gets of IPv6,
// a /56 at least (RFC 6177 §2).
func clientOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 24
	if addr.Is6() {
		bits = 56
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// evict closes the idlest connection of which the condition holds. Its
// goroutine finds it closed and ends.
func (c *clients) evict(condition func(*client) bool, reason string) {
	for e := c.idlest.Front(); e != nil; e = e.Next() {
		if cl := e.Value.(*client); condition(cl) {
			c.remove(cl)
			reset(cl.conn)
			c.metrics.evicted.WithLabelValues(reason).Inc()
			return
		}
	}
}

// reset closes a connection without leaving its unsent data in the kernel.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // if this fails, closing takes the kernel a little longer
	_ = conn.Close()
}

// leave takes a connection out.
func (c *clients) leave(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(cl)
}

func (c *clients) remove(cl *client) {
	if cl.place == nil {
		return
	}
	c.idlest.Remove(cl.place)
	cl.place = nil
	if c.count[cl.from]--; c.count[cl.from] == 0 {
		delete(c.count, cl.from)
	}
	c.metrics.connections.Set(float64(c.idlest.Len()))
}

// active notes that a question came in.
func (c *clients) active(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl.place != nil {
		c.idlest.MoveToBack(cl.place)
	}
}

// awaitQuestion gives a connection so much time for what it is to read next, or
// less when the server is stopping.
func (c *clients) awaitQuestion(cl *client, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cl.conn.SetReadDeadline(earlier(time.Now().Add(d), c.end))
}

// awaitSent gives a connection so much time for what it is to write next, or
// less when the server is stopping: then the last answers get as long again as
// the last questions got.
func (c *clients) awaitSent(cl *client, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cl.conn.SetWriteDeadline(earlier(time.Now().Add(d), c.lastWrite()))
}

// stop lets no connection wait for questions beyond end.
func (c *clients) stop(end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
	for e := c.idlest.Front(); e != nil; e = e.Next() {
		conn := e.Value.(*client).conn
		_ = conn.SetReadDeadline(end) // an error means that it is closed
		_ = conn.SetWriteDeadline(c.lastWrite())
	}
}

func (c *clients) lastWrite() time.Time {
	if c.end.IsZero() {
		return time.Time{}
	}
	return c.end.Add(c.limits.Drain)
}

// earlier returns the earlier of a time and a limit, which is none when zero.
func earlier(t, limit time.Time) time.Time {
	if !limit.IsZero() && limit.Before(t) {
		return limit
	}
	return t
}
