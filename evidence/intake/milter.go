package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-milter"

	"backscatter/evidence"
)

// MilterOptions is what a [Milter] is made of. Addr, Reporter, Takes and Sink
// are needed.
type MilterOptions struct {
	Addr     string // host:port, port 0 picks one; or unix:PATH
	Reporter string
	// Takes reports whether a message is evidence, by its envelope.
	Takes  func(from, rcpt string) bool
	Sink   Sink // a [Spool]: the mail server cannot be asked again
	Limits MilterLimits

	Logger  *slog.Logger
	Metrics *Metrics
}

// MilterLimits bounds what a [Milter] spends. A zero field means the default.
type MilterLimits struct {
	Connections int           // of mail servers, one for each of their sessions
	Memory      int64         // octets of messages held at one time
	Submissions int           // messages handed in at one time
	Submit      time.Duration // the longest that a message waits for the sink
	Idle        time.Duration // the longest wait for what the mail server says next
}

func (l MilterLimits) orDefaults() MilterLimits {
	or := func(n, d time.Duration) time.Duration {
		if n > 0 {
			return n
		}
		return d
	}
	if l.Connections <= 0 {
		l.Connections = 500
	}
	if l.Memory <= 0 {
		l.Memory = 32 << 20
	}
	if l.Submissions <= 0 {
		l.Submissions = 32
	}
	l.Submit, l.Idle = or(l.Submit, 2*time.Second), or(l.Idle, time.Hour)
	return l
}

// Milter watches the mail that a mail server takes, over Sendmail's milter
// protocol, as Postfix and Sendmail speak it. It is passive: it never refuses,
// changes or delays a message, beyond the time that its copy takes to get to disk.
// Whatever goes wrong, the message passes; a mail server that finds us overloaded
// or gone goes on by its own setting (milter_default_action = accept).
//
// The mail server that asks is the reporter's own, and what it says of the
// connection is as good as our own session: level A.
type Milter struct {
	options MilterOptions
	limits  MilterLimits
	log     *slog.Logger
	metrics *Metrics
	memory  *budget
	slots   chan struct{} // one for each submission under way
	bound   *watched
	writing sync.WaitGroup
}

// NewMilter returns a milter that does not listen yet.
func NewMilter(o MilterOptions) *Milter {
	m := &Milter{options: o, limits: o.Limits.orDefaults(), log: orSilent(o.Logger), metrics: o.Metrics.orNone()}
	m.memory = &budget{size: m.limits.Memory, show: m.metrics.milterHeld}
	m.slots = make(chan struct{}, m.limits.Submissions)
	return m
}

// Listen binds the milter's address.
func (m *Milter) Listen() error {
	l, err := bind(m.options.Addr)
	if err != nil {
		return fmt.Errorf("listen for a milter's mail server on %s: %w", m.options.Addr, err)
	}
	m.bound = &watched{Listener: l, limits: m.limits, metrics: m.metrics, open: map[*watchedConn]struct{}{}}
	return nil
}

// Addr returns the address that the milter is bound to, nil before Listen.
func (m *Milter) Addr() net.Addr {
	if m.bound == nil {
		return nil
	}
	return m.bound.Addr()
}

// Close releases the address of a milter that listens and was never served.
func (m *Milter) Close() error {
	if m.bound == nil {
		return nil
	}
	return m.bound.Close()
}

// Serve answers mail servers until the context ends, and returns when all that
// was handed in is done.
func (m *Milter) Serve(ctx context.Context) error {
	if m.bound == nil {
		return fmt.Errorf("serve a milter on %s: not listening, call Listen first", m.options.Addr)
	}
	server := milter.Server{NewMilter: m.session}
	stop := context.AfterFunc(ctx, func() { _ = m.bound.Close() })
	defer stop()
	err := server.Serve(m.bound)
	m.bound.closeAll()
	m.writing.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve a milter on %s: %w", m.Addr(), err)
}

// session returns what watches the connection that was accepted last: go-milter
// asks for it right after, and never again, as no answer of ours ends a session.
func (m *Milter) session() milter.Milter {
	w := &watch{milter: m}
	m.bound.latest.ended = w.reset
	return w
}

// watch is one session of the mail server, as go-milter drives it.
type watch struct {
	milter *Milter

	client    netip.Addr
	helo, ptr string

	from       string
	recipients []string
	raw        []byte
	taken      int // of the memory
	truncated  bool
	lost       bool // there was no memory for it
}

var _ milter.Milter = (*watch)(nil)

// passed lets the message pass, and has the session go on: with go-milter's own
// answer it would forget who is connected.
type passed struct{}

func (passed) Response() *milter.Message { return &milter.Message{Code: byte(milter.ActAccept)} }
func (passed) Continue() bool            { return true }

// Connect takes note of who is connected. Mail that was handed in on the host
// itself, be it over loopback, has nobody to accuse: the mail server's own trace
// line is not shown to milters, so that the topmost is the client's.
func (w *watch) Connect(host, family string, _ uint16, addr net.IP, _ *milter.Modifier) (milter.Response, error) {
	w.client, w.ptr = netip.Addr{}, ""
	if ip, ok := netip.AddrFromSlice(addr); ok && strings.HasPrefix(family, "tcp") {
		if w.client = ip.Unmap(); w.client.IsLoopback() {
			w.client = netip.Addr{}
		}
	}
	if !strings.HasPrefix(host, "[") && host != "unknown" {
		w.ptr = clip(host, maxHELO)
	}
	return milter.RespContinue, nil
}

// Helo takes note of what the client calls itself.
func (w *watch) Helo(name string, _ *milter.Modifier) (milter.Response, error) {
	w.helo = clip(name, maxHELO)
	return milter.RespContinue, nil
}

// MailFrom begins a message.
func (w *watch) MailFrom(from string, _ *milter.Modifier) (milter.Response, error) {
	w.reset()
	w.from = clip(from, maxPath)
	return milter.RespContinue, nil
}

// RcptTo keeps the recipients that make the message evidence.
func (w *watch) RcptTo(rcpt string, _ *milter.Modifier) (milter.Response, error) {
	if len(rcpt) <= maxPath && len(w.recipients) < DefaultLimits().Recipients && w.milter.options.Takes(w.from, rcpt) {
		w.recipients = append(w.recipients, rcpt)
	}
	return milter.RespContinue, nil
}

// wanted reports whether the message is one to look at.
func (w *watch) wanted() bool { return w.client.IsValid() && len(w.recipients) > 0 && !w.lost }

// Header takes one field of the message. Folded lines come with bare LFs.
func (w *watch) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	return w.take(name + ": " + strings.ReplaceAll(value, "\n", "\r\n") + "\r\n")
}

// Headers takes the end of the header.
func (w *watch) Headers(textproto.MIMEHeader, *milter.Modifier) (milter.Response, error) {
	return w.take("\r\n")
}

// BodyChunk takes a piece of the body.
func (w *watch) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	return w.take(string(chunk))
}

// take adds to the message as far as it is kept.
func (w *watch) take(text string) (milter.Response, error) {
	if !w.wanted() {
		return passed{}, nil
	}
	n := min(len(text), MaxRaw-len(w.raw))
	w.truncated = w.truncated || n < len(text)
	if !w.milter.memory.take(n) {
		w.milter.memory.give(w.taken) // nothing will come of it
		w.lost, w.raw, w.taken = true, nil, 0
		w.milter.metrics.milterMessages.WithLabelValues("overloaded").Inc()
		return passed{}, nil
	}
	w.taken += n
	w.raw = append(w.raw, text[:n]...)
	return milter.RespContinue, nil
}

// Body is the end of the message: it is handed in, and passes.
func (w *watch) Body(*milter.Modifier) (milter.Response, error) {
	if w.wanted() && len(w.raw) > 0 {
		w.milter.metrics.milterMessages.WithLabelValues(w.milter.submit(w.report())).Inc()
	}
	w.reset()
	return passed{}, nil
}

// Abort ends the message without its end.
func (w *watch) Abort(*milter.Modifier) error {
	w.reset()
	return nil
}

func (w *watch) reset() {
	w.milter.memory.give(w.taken)
	w.from, w.recipients, w.raw, w.taken, w.truncated, w.lost = "", nil, nil, 0, false, false
}

func (w *watch) report() evidence.Report {
	return evidence.Report{
		Raw: w.raw, Truncated: w.truncated, Held: true, Received: now().UTC(),
		Reporter: w.milter.options.Reporter, Sensor: evidence.SensorMilter,
		Envelope: evidence.Envelope{
			Client: w.client, HELO: w.helo, PTR: w.ptr, MailFrom: w.from, MailFromKnown: true, Recipients: w.recipients,
		},
	}
}

// submit hands in a report and returns what became of it. A sink that takes its
// time has it: after a while the message passes all the same, and when too many
// wait it passes at once.
func (m *Milter) submit(r evidence.Report) (result string) {
	select {
	case m.slots <- struct{}{}:
	default:
		return "overloaded"
	}
	done := make(chan error, 1)
	m.writing.Go(func() { // ends with the submission; Serve waits for it
		defer func() { <-m.slots }()
		_, err := m.options.Sink.Submit(context.Background(), r)
		done <- err
	})
	timer := time.NewTimer(m.limits.Submit)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			m.log.Warn("a message passed the milter and was not kept", "err", err)
			return "failed"
		}
		return "taken"
	case <-timer.C:
		return "slow"
	}
}

// watched is the milter's listener. A mail server that it has no room for is
// turned away at once, so that it does not wait.
type watched struct {
	net.Listener
	limits  MilterLimits
	metrics *Metrics
	latest  *watchedConn // the one accepted last; of the goroutine that accepts

	mu     sync.Mutex // guards all below
	open   map[*watchedConn]struct{}
	closed bool
}

// Accept returns the next connection that the limits allow.
func (l *watched) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &watchedConn{Conn: raw, owner: l}
		l.mu.Lock()
		room := !l.closed && len(l.open) < l.limits.Connections
		if room {
			l.open[c] = struct{}{}
		}
		l.metrics.milterOpen.Set(float64(len(l.open)))
		l.mu.Unlock()
		if room {
			l.latest = c
			return c, nil
		}
		l.metrics.milterMessages.WithLabelValues("overloaded").Inc()
		_ = raw.Close()
	}
}

// closeAll ends every session, and admits no more.
func (l *watched) closeAll() {
	l.mu.Lock()
	l.closed = true
	open := make([]*watchedConn, 0, len(l.open))
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Conn.Close() // go-milter finds it so, and ends the session
	}
}

// watchedConn is one session's connection.
type watchedConn struct {
	net.Conn
	owner *watched
	ended func() // gives back what the session holds; of its goroutine
}

// Read reads, in the time that the mail server has for it. Whatever ends the
// connection is its end: go-milter logs all else, and it is everyday life.
func (c *watchedConn) Read(p []byte) (int, error) {
	_ = c.SetDeadline(deadline(c.owner.limits.Idle)) // a closed connection says so right after
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

// Close closes the connection and gives its place to another.
func (c *watchedConn) Close() error {
	c.ended()
	c.owner.mu.Lock()
	delete(c.owner.open, c)
	c.owner.metrics.milterOpen.Set(float64(len(c.owner.open)))
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
