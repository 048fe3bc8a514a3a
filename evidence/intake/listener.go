package intake

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// refusalWait bounds the time that telling a client to go away can take. The
// reply fits into the socket's buffer, so in truth it takes none.
const refusalWait = time.Second

// tooMany is the reply to a client beyond the limits. RFC 5321 §3.8 allows 421
// in place of the greeting.
const tooMany = "421 4.7.0 Too many connections, try again later\r\n"

// listener accepts no more connections than the limits allow; go-smtp itself
// has no such limit. Clients beyond them are told to come back (421), so that
// they neither wait in a queue nor keep others waiting.
type listener struct {
	net.Listener
	limits   Limits
	services services
	metrics  *Metrics
	stopping chan struct{} // closed when nobody is admitted any more

	mu       sync.Mutex // guards all below
	open     map[*conn]struct{}
	clients  map[netip.Prefix]int // open connections of each
	rates    rates
	draining bool
}

func newListener(l net.Listener, limits Limits, s services, m *Metrics) *listener {
	return &listener{
		Listener: l, limits: limits, services: s, metrics: m, stopping: make(chan struct{}),
		open: map[*conn]struct{}{}, clients: map[netip.Prefix]int{}, rates: rates{perMinute: limits.Rate},
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
		_, _ = io.WriteString(raw, tooMany)
		_ = raw.Close()
	}
}

// admit registers a connection, or says which limit stands against it.
func (l *listener) admit(raw net.Conn) (c *conn, refusal string) {
	addr := clientOf(raw.RemoteAddr())
	c = newConn(raw, l, addr)
	relay := l.services.relay(addr)
	own := l.services.relaysOnly && (relay || addr.IsLoopback() || !addr.IsValid())
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.draining:
		return nil, "stopping"
	case l.services.relaysOnly && !own:
		return nil, "stranger"
	case len(l.open) >= l.limits.Connections:
		return nil, "too_many"
	case own:
	case l.services.proxy && relay:
		// Who the client is will be told, and counted by then.
	default:
		if refusal := l.place(c.client, relay); refusal != "" {
			return nil, refusal
		}
	}
	l.open[c] = struct{}{}
	l.clients[c.client]++
	l.metrics.open.Inc()
	return c, ""
}

// place tells which limit of a single client stands against one connection
// more. A relay stands for many, so its rate has no limit.
func (l *listener) place(client netip.Prefix, relay bool) (refusal string) {
	if l.clients[client] >= l.limits.PerClient {
		return "too_many_of_client"
	}
	if !relay && !l.rates.take(client, now()) {
		return "too_fast"
	}
	return ""
}

// rename counts a connection for another client from now on, of which a relay
// told. It does so even when a limit stands against that, and says which.
func (l *listener) rename(c *conn, addr netip.Addr) (refusal string) {
	client, relay := clientPrefix(addr), l.services.relay(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	refusal = l.place(client, relay)
	l.uncount(c.client)
	c.addr, c.client = addr, client
	l.clients[client]++
	return refusal
}

func (l *listener) uncount(client netip.Prefix) {
	if l.clients[client]--; l.clients[client] == 0 {
		delete(l.clients, client)
	}
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
	l.uncount(c.client)
	l.metrics.open.Dec()
}

// drain admits nobody any more and ends every session that is not receiving a
// message; those that are end with it.
func (l *listener) drain() {
	l.mu.Lock()
	if !l.draining {
		l.draining = true
		close(l.stopping)
	}
	l.mu.Unlock()
	for _, c := range l.connections() {
		c.drain()
	}
}

// closeAll cuts every connection off.
func (l *listener) closeAll() {
	for _, c := range l.connections() {
		_ = c.Conn.Close() // the session finds it so, and ends
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

// maxRates bounds the clients whose rates are kept.
const maxRates = 1 << 14

// rates counts the connections of each client against a rate per minute: a
// bucket of as many tokens as may come in a minute, which fills evenly.
type rates struct {
	perMinute int
	buckets   map[netip.Prefix]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// take takes one token, or reports that there is none. Where too many clients
// are on their way to be remembered one by one, none is: the limits of all
// together hold then.
func (r *rates) take(client netip.Prefix, now time.Time) bool {
	if r.buckets == nil {
		r.buckets = map[netip.Prefix]bucket{}
	}
	b, known := r.buckets[client]
	if !known {
		if len(r.buckets) >= maxRates {
			r.sweep(now)
		}
		if len(r.buckets) >= maxRates {
			return true
		}
		b = bucket{left: float64(r.perMinute), at: now}
	}
	b = r.filled(b, now)
	ok := b.left >= 1
	if ok {
		b.left--
	}
	r.buckets[client] = b
	return ok
}

func (r *rates) filled(b bucket, now time.Time) bucket {
	if since := now.Sub(b.at); since > 0 {
		b.left = min(b.left+since.Minutes()*float64(r.perMinute), float64(r.perMinute))
		b.at = now
	}
	return b
}

// sweep forgets those who have come slowly.
func (r *rates) sweep(now time.Time) {
	for client, b := range r.buckets {
		if r.filled(b, now).left >= float64(r.perMinute) {
			delete(r.buckets, client)
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

func now() time.Time {
	return time.Now() //nolint:forbidigo // deadlines of sockets, and rates, are by the clock
}

func deadline(d time.Duration) time.Time { return now().Add(d) }
