package intake

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// refusalWait bounds the time that telling a client to go away can take. The
// reply fits into the socket's buffer, so in truth it takes none.
const refusalWait = time.Second

// listener accepts no more connections than the limits allow; go-smtp itself
// has no such limit. Clients beyond them are told to come back (421), so that
// they neither wait in a queue nor keep others waiting.
type listener struct {
	net.Listener
	limits  Limits
	metrics *Metrics

	mu       sync.Mutex // guards all below
	open     map[*conn]struct{}
	clients  map[netip.Prefix]int // open connections of each
	draining bool
}

func newListener(l net.Listener, limits Limits, m *Metrics) *listener {
	return &listener{
		Listener: l, limits: limits, metrics: m,
		open: map[*conn]struct{}{}, clients: map[netip.Prefix]int{},
	}
}

// Accept returns the next connection that the limits allow.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, refusal := l.admit(raw)
		if refusal == "" {
			l.metrics.connections.WithLabelValues("accepted").Inc()
			return c, nil
		}
		l.metrics.connections.WithLabelValues(refusal).Inc()
		_ = raw.SetWriteDeadline(deadline(refusalWait))
		// RFC 5321 §3.8 allows 421 in place of the greeting.
		_, _ = io.WriteString(raw, "421 4.7.0 Too many connections, try again later\r\n")
		_ = raw.Close()
	}
}

// admit registers a connection, or says which limit stands against it.
func (l *listener) admit(raw net.Conn) (c *conn, refusal string) {
	addr := clientOf(raw.RemoteAddr())
	c = &conn{Conn: raw, owner: l, addr: addr, client: clientPrefix(addr), ends: deadline(l.limits.Session)}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.draining:
		return nil, "stopping"
	case len(l.open) >= l.limits.Connections:
		return nil, "too_many"
	case l.clients[c.client] >= l.limits.PerClient:
		return nil, "too_many_of_client"
	}
	l.open[c] = struct{}{}
	l.clients[c.client]++
	l.metrics.open.Inc()
	return c, ""
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
	if l.clients[c.client]--; l.clients[c.client] == 0 {
		delete(l.clients, c.client)
	}
	l.metrics.open.Dec()
}

// drain admits nobody any more and ends every session that is not receiving a
// message; those that are end with it.
func (l *listener) drain() {
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	for _, c := range l.connections() {
		c.drain()
	}
}

// closeAll closes every connection.
func (l *listener) closeAll() {
	for _, c := range l.connections() {
		_ = c.Close()
	}
}

func (l *listener) connections() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := make([]*conn, 0, len(l.open))
	for c := range l.open {
		open = append(open, c)
	}
	return open
}

// conn is one client's connection. It lies below go-smtp and, later, below
// TLS, and does what go-smtp leaves out:
//
//   - A failed read or write is final. go-smtp answers a timeout in the middle
//     of a message and goes on with what follows as commands; that would let
//     the rest of a message that stalled speak SMTP. It also takes the end of the
//     stream within a BDAT chunk for the end of the chunk.
//   - The ends of lines are mended, see [endings].
//   - Replies are counted, whatever the commands were: go-smtp counts syntax
//     errors only.
//   - The whole session has an end, and a stop ends it between messages.
type conn struct {
	net.Conn
	owner  *listener
	addr   netip.Addr   // of the client
	client netip.Prefix // what its limit counts by
	ends   time.Time    // of the session, at the latest

	readErr error       // the first; only the session's goroutine reads
	lines   endings     // the same
	writes  int         // only the session's goroutine writes
	broken  atomic.Bool // a read has failed
	last    atomic.Bool // the next reply is the last
	closed  sync.Once

	mu       sync.Mutex // guards all below
	arriving time.Time  // a message is coming in, and must have arrived by then
	draining bool
}

// Read reads, until it failed once.
func (c *conn) Read(p []byte) (int, error) {
	if c.readErr != nil {
		return 0, c.readErr
	}
	n, err := c.Conn.Read(p)
	n = c.lines.mend(p[:n])
	for n == 0 && err == nil && len(p) > 0 { // nothing but CRs
		n, err = c.Conn.Read(p)
		n = c.lines.mend(p[:n])
	}
	if err != nil {
		c.readErr = err
		c.broken.Store(true)
		if n > 0 {
			return n, nil
		}
	}
	return n, err
}

// Write writes a line of a reply, and closes the connection when it was the
// last one.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.writes++
	if err != nil || c.last.Load() || c.writes >= c.owner.limits.Replies {
		_ = c.Close()
	}
	return n, err
}

// Close closes the connection and gives its place to another.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closed.Do(func() { c.owner.forget(c) })
	return err
}

// SetReadDeadline sets the deadline, but none later than the session's end or
// the message's, and none in the future when the trap is stopping and no message
// is coming in.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setReadDeadline(t)
}

func (c *conn) setReadDeadline(t time.Time) error {
	switch {
	case !c.arriving.IsZero():
		t = earlier(t, c.arriving)
	case c.draining:
		t = longAgo
	}
	return c.Conn.SetReadDeadline(earlier(t, c.ends))
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// earlier returns the earlier of two deadlines, where the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// receive marks the beginning of a message that must have arrived within d,
// and reports whether it may: not when the trap is stopping.
func (c *conn) receive(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	c.arriving = deadline(d)
	return c.setReadDeadline(c.arriving) == nil
}

// received marks the end of a message.
func (c *conn) received() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arriving = time.Time{}
}

func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.arriving.IsZero() {
		_ = c.setReadDeadline(longAgo)
	}
}

// peerOf returns the trap's connection below c, which may be TLS above it.
func peerOf(c net.Conn) (*conn, bool) {
	for {
		switch below := c.(type) {
		case *conn:
			return below, true
		case interface{ NetConn() net.Conn }:
			c = below.NetConn()
		default:
			return nil, false
		}
	}
}

// clientOf returns the peer's address, unmapped and without a zone.
func clientOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// clientPrefix returns what counts as one client: an IPv4 address, or an IPv6
// /64, all addresses of which one host can use.
func clientPrefix(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero address has the zero prefix
	return p
}

func deadline(d time.Duration) time.Time {
	return time.Now().Add(d) //nolint:forbidigo // deadlines of sockets are by the clock
}
