package intake

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"backscatter/evidence"

	"github.com/emersion/go-smtp"
	"golang.org/x/time/rate"
)

// SMTPOptions is what an [SMTP] trap is made of. Addr, Reporter, Traps and
// Sink are needed.
type SMTPOptions struct {
	Addr     string                 // host:port to listen on, port 0 picks one; or unix:PATH
	Hostname string                 // in the greeting; empty: localhost
	Reporter string                 // name of the reporter whose sensor this is
	Traps    func() *evidence.Traps // the traps in force; asked for each recipient, so a reload needs no restart
	Sink     Sink                   // must end soon after its context does

	// Certificate is for STARTTLS: the one in force, asked for at each handshake.
	// TLS is not offered while it is nil, or returns nil.
	Certificate func() *tls.Certificate
	Relays      func() []netip.Prefix // the reporter's relays in force
	XCLIENT     bool                  // they, and nobody else, may say for whom they speak
	Proxy       bool                  // their connections begin with a PROXY header, and those of nobody else

	// LMTP makes it the end of a mail server's own delivery (RFC 2033). Only relays
	// and loopback may connect: they held the session with the source, and what
	// their topmost trace line says of it is believed, level B.
	LMTP bool
	// Wanted reports whether mail to an address beside the traps is taken, as that
	// of guarded domains is by LMTP; nil: none is.
	Wanted func(rcpt string) bool

	Limits  Limits
	Logger  *slog.Logger // nil: silent
	Metrics *Metrics     // nil: not counted
}

// SMTP is a trap: an SMTP server (RFC 5321) that accepts mail to traps, hands
// it to its sink, and sends nothing to anybody. Whoever connects is the source
// of what it delivers, level A.
//
// Mail is taken as it comes: any sender, 8BITMIME, SMTPUTF8, CHUNKING, with or
// without TLS. DSN is not offered, since it would promise to send reports.
type SMTP struct {
	options SMTPOptions
	limits  Limits
	log     *slog.Logger
	metrics *Metrics
	memory  *budget
	bound   *listener   // nil before Listen
	failing atomic.Bool // the last submission failed; the log tells the first of a row
}

// NewSMTP returns a trap that does not listen yet.
func NewSMTP(o SMTPOptions) *SMTP {
	limits := o.Limits.orDefaults()
	metrics := o.Metrics.orNone()
	return &SMTP{
		options: o,
		limits:  limits,
		log:     orSilent(o.Logger),
		metrics: metrics,
		memory:  &budget{size: limits.Memory, show: metrics.held},
	}
}

// Listen binds the trap's address. Connections wait until Serve.
func (s *SMTP) Listen() error {
	if s.bound != nil {
		return fmt.Errorf("listen for %s on %s: already listening", s.protocol(), s.options.Addr)
	}
	l, err := bind(s.options.Addr)
	if err != nil {
		return fmt.Errorf("listen for %s on %s: %w", s.protocol(), s.options.Addr, err)
	}
	s.bound = newListener(l, s.limits, s.services(), s.metrics)
	return nil
}

func (s *SMTP) services() services {
	o := &s.options
	return services{
		hostname: cmp.Or(o.Hostname, "localhost"), relays: o.Relays, certificate: o.Certificate,
		xclient: o.XCLIENT, proxy: o.Proxy, relaysOnly: o.LMTP,
	}
}

func (s *SMTP) protocol() string {
	if s.options.LMTP {
		return "LMTP"
	}
	return "SMTP"
}

// takes reports whether mail to rcpt is taken.
func (s *SMTP) takes(rcpt string) bool {
	return s.options.Traps().Accepts(rcpt) || s.options.Wanted != nil && s.options.Wanted(rcpt)
}

// Addr returns the address that the trap is bound to, nil before Listen.
func (s *SMTP) Addr() net.Addr {
	if s.bound == nil {
		return nil
	}
	return s.bound.Addr()
}

// Close releases the address of a trap that listens and was never served.
func (s *SMTP) Close() error {
	if s.bound == nil {
		return nil
	}
	return s.bound.Close()
}

// Serve answers clients until the context ends. Then it takes no more of
// them, tells those between messages to go (421), lets messages that are
// coming in arrive for a bounded time, and returns nil when all sessions have
// ended. It can be called once.
func (s *SMTP) Serve(ctx context.Context) error {
	if s.bound == nil {
		return fmt.Errorf("serve %s on %s: not listening, call Listen first", s.protocol(), s.options.Addr)
	}
	// Messages outlive the context by the time of draining.
	submitting, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	server := s.newServer(submitting)
	var err error
	served := make(chan struct{})
	go func() {
		defer close(served)
		err = server.Serve(s.bound)
	}()
	select {
	case <-served:
		err = fmt.Errorf("serve %s on %s: %w", s.protocol(), s.Addr(), err)
	case <-ctx.Done():
		_ = s.bound.Close()
		<-served
		err = nil // the listener is closed, it said
	}
	s.drain(server, abort)
	return err
}

// drain waits for the sessions to end, and ends them when that takes too long.
// No session begins any more.
func (s *SMTP) drain(server *smtp.Server, abort func()) {
	s.bound.drain()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Shutdown(context.Background()) // waits; the listener is closed already
	}()
	timer := time.NewTimer(s.limits.Drain)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		abort()
		s.bound.closeAll()
		<-ended
	}
}

func (s *SMTP) newServer(submitting context.Context) *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		peer, ok := c.Conn().(*conn)
		if !ok {
			return nil, errors.New("connection did not come through the trap's listener")
		}
		submit := func(r evidence.Report) error { return s.submit(submitting, r) }
		return &session{smtp: s, conn: c, peer: peer, submit: submit}, nil
	}))
	server.LMTP = s.options.LMTP
	server.Domain = cmp.Or(s.options.Hostname, "localhost")
	server.MaxRecipients = s.limits.Recipients
	server.MaxMessageBytes = s.limits.Size
	server.MaxLineLength = s.limits.Line
	server.ReadTimeout = s.limits.Idle
	server.WriteTimeout = s.limits.Write
	server.EnableSMTPUTF8 = true
	server.ErrorLog = &libraryLog{log: s.log, panics: rate.Sometimes{First: 3, Interval: time.Minute}}
	return server
}

// submit hands one report to the sink and tells the log when that begins to
// fail and when it works again.
func (s *SMTP) submit(ctx context.Context, r evidence.Report) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Submit)
	defer cancel()
	_, err := s.options.Sink.Submit(ctx, r)
	if failing := err != nil; s.failing.Swap(failing) != failing {
		if failing {
			s.log.Warn("messages are deferred, they could not be stored", "sensor", s.protocol(), "err", err)
		} else {
			s.log.Info("messages are taken again", "sensor", s.protocol())
		}
	}
	return err
}

// libraryLog takes what go-smtp logs. Clients that go away in the middle are
// its errors; to an operator they are everyday life. A panic is not, but a client
// that has found one must not fill the log with it.
type libraryLog struct {
	log    *slog.Logger
	panics rate.Sometimes
}

// Printf logs what go-smtp has to say.
func (l *libraryLog) Printf(format string, v ...any) {
	if strings.HasPrefix(format, "panic") {
		l.panics.Do(func() { l.log.Error("smtp session panicked", "detail", fmt.Sprintf(format, v...)) })
		return
	}
	l.log.Debug("smtp session ended", "detail", fmt.Sprintf(format, v...))
}

// Println logs what go-smtp has to say.
func (l *libraryLog) Println(v ...any) { l.log.Debug("smtp session ended", "detail", fmt.Sprint(v...)) }
