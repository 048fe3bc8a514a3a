package intake

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"
)

// errProxy says that a relay did not begin with the header that it was to
// begin with.
var errProxy = errors.New("no PROXY header with the address of a client")

// Read reads what go-smtp shall see next, until it failed once.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.pending) == 0 && len(p) > 0 {
		if c.readErr != nil {
			return 0, c.readErr
		}
		if err := c.next(); err != nil {
			c.readErr = err
			c.broken.Store(true)
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// next reads into pending: in commands one line, so that go-smtp has answered
// all before it when the next is asked for.
func (c *conn) next() error {
	switch c.stream.mode {
	case text, octets:
		if _, err := c.in.Peek(1); err != nil {
			return err
		}
		chunk, _ := c.in.Peek(c.in.Buffered())
		taken := len(chunk)
		if c.stream.mode == text {
			c.mended, taken = c.stream.message(c.mended[:0], chunk)
			c.pending = c.mended
		} else {
			taken = int(min(uint64(taken), c.stream.left))
			c.mended = append(c.mended[:0], chunk[:taken]...)
			c.pending = c.mended
			if c.stream.left -= uint64(taken); c.stream.left == 0 {
				c.stream.mode = commands
			}
		}
		_, err := c.in.Discard(taken)
		return err
	default:
		return c.nextCommand()
	}
}

func (c *conn) nextCommand() error {
	line, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull): // a piece
	case err != nil && len(line) == 0:
		return err
	case err == nil && !c.stream.begun:
		if done, err := c.intercept(line); done || err != nil {
			return err
		}
		line = qualified(line)
	}
	c.pending = c.stream.command(line)
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil
	}
	return err
}

// Write writes a line of a reply, and closes the connection when it was the
// last one.
func (c *conn) Write(p []byte) (int, error) {
	if !c.opened {
		c.opened = true
		if err := c.open(); err != nil {
			_ = c.Close()
			return 0, err
		}
	}
	switch {
	case bytes.HasPrefix(p, []byte("354 ")):
		c.stream.text()
	case bytes.HasPrefix(p, []byte("250-PIPELINING")):
		p = append(bytes.Clone(p), c.offers()...)
	case p[0] == '4' || p[0] == '5':
		c.delay()
	}
	if c.swallow && len(p) > 3 && p[3] == ' ' {
		c.swallow = false
		return len(p), nil
	}
	return len(p), c.reply(string(p))
}

// reply writes some lines.
func (c *conn) reply(lines string) error {
	var w io.Writer = c.Conn
	if secured := c.secured.Load(); secured != nil {
		w = secured
	}
	_, err := io.WriteString(w, lines)
	c.writes++
	if err != nil || c.last.Load() || c.writes >= c.owner.limits.Replies {
		_ = c.Close()
	}
	return err
}

// delay makes a client wait for a refusal, for as long as is configured.
func (c *conn) delay() {
	if c.owner.limits.Tarpit <= 0 {
		return
	}
	timer := time.NewTimer(c.owner.limits.Tarpit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.owner.stopping:
	}
	_ = c.SetWriteDeadline(deadline(c.owner.limits.Write)) // go-smtp set it before the wait
}

// open is what comes before the greeting: the header by which a relay says for
// whom it connects.
func (c *conn) open() error {
	s := &c.owner.services
	if !s.proxy || !s.relay(c.addr) {
		return nil
	}
	if err := c.SetReadDeadline(deadline(min(c.owner.limits.Idle, maxHandshake))); err != nil {
		return err
	}
	header, err := proxyproto.Read(c.in)
	if err != nil {
		c.owner.metrics.connections.WithLabelValues("no_proxy_header").Inc()
		return errors.Join(errProxy, err)
	}
	if header.Command.IsLocal() { // the relay's own, to see whether we live; or it does not know for whom
		c.local = true
		return nil
	}
	source, _, ok := header.TCPAddrs()
	if !ok {
		c.owner.metrics.connections.WithLabelValues("no_proxy_header").Inc()
		return errProxy
	}
	refusal := c.owner.rename(c, clientOf(source))
	c.nobody = c.addr.IsLoopback() // of the relay: whoever is there wrote all lines
	if refusal != "" {
		c.owner.metrics.connections.WithLabelValues(refusal).Inc()
		return errors.Join(errors.New("too many connections"), c.reply(tooMany))
	}
	return nil
}

// maxHandshake bounds what a client may take for a PROXY header or for TLS.
const maxHandshake = 30 * time.Second

// offers returns the extensions that go-smtp does not know of, as lines of the
// reply to EHLO.
func (c *conn) offers() string {
	var out string
	s := &c.owner.services
	if c.secured.Load() == nil && s.tls() != nil {
		out += "250-STARTTLS\r\n"
	}
	if c.mayXCLIENT() {
		out += "250-XCLIENT NAME ADDR PORT PROTO HELO\r\n"
	}
	return out
}

// intercept answers the commands that are not go-smtp's, and reports whether
// this was one. All before it have been answered. Afterwards go-smtp gets RSET in
// its place, the reply to which is swallowed.
func (c *conn) intercept(line []byte) (bool, error) {
	verb, args, _ := strings.Cut(strings.TrimRight(string(line), " \r\n"), " ")
	verb = strings.ToUpper(verb)
	switch {
	case verb == "EHLO" || verb == "HELO" || verb == "LHLO":
		c.mustGreet = false
		return false, nil
	case verb == "MAIL" && c.mustGreet:
		return true, c.reply("503 5.5.1 Say EHLO again\r\n")
	case verb == "MAIL" && c.local: // whoever sends it would pass for the relay
		return true, c.reply("451 4.3.5 The proxy does not tell who you are\r\n")
	case verb == "STARTTLS" && args == "" && c.secured.Load() == nil && c.owner.services.tls() != nil:
		return true, c.startTLS()
	case verb == "XCLIENT" && c.mayXCLIENT():
		return true, c.xclient(args)
	}
	return false, nil
}

// forget has go-smtp forget what the client said so far.
func (c *conn) forget() {
	c.mustGreet, c.swallow = true, true
	c.pending = []byte("RSET\r\n")
}

// startTLS goes on within TLS (RFC 3207). What a client sent behind the command
// came in clear, and might be anybody's (§5): there is no good reason to.
func (c *conn) startTLS() error {
	if c.in.Buffered() > 0 {
		c.last.Store(true)
		return c.reply("503 5.5.1 Nothing may follow STARTTLS\r\n")
	}
	if err := c.reply("220 2.0.0 Go ahead\r\n"); err != nil {
		return err
	}
	until := deadline(min(c.owner.limits.Idle, maxHandshake))
	if err := errors.Join(c.SetReadDeadline(until), c.SetWriteDeadline(until)); err != nil {
		return err
	}
	secured := tls.Server(c.Conn, c.owner.services.tls())
	if err := secured.Handshake(); err != nil { //nolint:noctx // the deadlines above bound it
		c.owner.metrics.tls.WithLabelValues("failed").Inc()
		return err
	}
	c.owner.metrics.tls.WithLabelValues("secured").Inc()
	c.secured.Store(secured)
	c.in.Reset(secured)
	c.forget()
	return c.SetReadDeadline(deadline(c.owner.limits.Idle))
}

// bareSender matches MAIL with a sender that is a local part alone.
var bareSender = regexp.MustCompile(`(?i)^(MAIL FROM:[ \t]*<[^<>@ \t\r\n"]{1,64})>`)

// noDomain is what qualifies it; a name that can be nobody's (RFC 2606 §2).
const noDomain = "@unqualified.invalid"

// qualified gives a sender without a domain one that it will be recognised by:
// "MAIL FROM:<MAILER-DAEMON>" is how some old servers send their bounces, and
// go-smtp wants a domain.
func qualified(line []byte) []byte {
	if at := bareSender.FindSubmatchIndex(line); at != nil {
		return bytes.Join([][]byte{line[:at[3]], []byte(noDomain), line[at[3]:]}, nil)
	}
	return line
}
