package intake

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one client's connection. It lies below go-smtp and does what that
// leaves out:
//
//   - A failed read or write is final. go-smtp answers a timeout in the middle
//     of a message and goes on with what follows as commands; that would let
//     the rest of a message that stalled speak SMTP. It also takes the end of the
//     stream within a BDAT chunk for the end of the chunk.
//   - Commands are handed over one at a time, so that those that go-smtp does
//     not know can be answered here, in their turn: STARTTLS, after which all of
//     this goes on within TLS, and XCLIENT. See [conn.intercept].
//   - The lines of messages are mended, see [stream].
//   - Replies are counted, whatever the commands were, and refusals may be
//     delayed: go-smtp counts syntax errors only.
//   - The whole session has an end, and a stop ends it between messages.
type conn struct {
	net.Conn
	owner *listener
	ends  time.Time // of the session, at the latest

	// What follows belongs to the session's goroutine.
	opened    bool          // the greeting was let out
	in        *bufio.Reader // of Conn, or of TLS upon it
	readErr   error         // the first
	stream    stream
	mended    []byte // room for what was read of a message, and mended
	pending   []byte // read and mended, and not handed over yet
	writes    int
	swallow   bool   // the next reply is to a command that the client did not send
	mustGreet bool   // what the client said of itself was forgotten
	helo, ptr string // of the client, by the word of a relay
	told      bool   // a relay that held the client's session told who it is
	nobody    bool   // a relay speaks for a client, and does not tell who it is
	local     bool   // a relay connected for nobody, by its PROXY header

	addr   netip.Addr   // of the client; changes under owner.mu, read by the session
	client netip.Prefix // what its limit counts by; the same

	secured atomic.Pointer[tls.Conn] // TLS upon Conn
	broken  atomic.Bool              // a read has failed
	last    atomic.Bool              // the next reply is the last
	closed  sync.Once

	mu       sync.Mutex // guards all below
	arriving time.Time  // a message is coming in, and must have arrived by then
	draining bool
}

func newConn(raw net.Conn, l *listener, addr netip.Addr) *conn {
	return &conn{
		Conn: raw, owner: l, ends: deadline(l.limits.Session),
		in: bufio.NewReader(raw), addr: addr, client: clientPrefix(addr),
		stream: stream{fold: l.limits.Line / 2},
	}
}

// Close closes the connection and gives its place to another.
func (c *conn) Close() error {
	var err error
	if secured := c.secured.Load(); secured != nil {
		err = secured.Close()
	} else {
		err = c.Conn.Close()
	}
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
