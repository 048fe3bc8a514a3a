package integration_test

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Messages as a relay of the trap's passes them on, with @FIELDS@ to fill in.
//
//go:embed testdata/*.eml
var templates embed.FS

// message is one message that a host sent to a trap.
type message struct {
	id     string // unique; its Message-ID is id@mail.sender.example
	kind   string // which template: the class that it must be judged to be
	source netip.Addr
	rcpt   string
}

var messages atomic.Uint64 // ever made by this process

// newMessage returns a message of the class that the host at source sent to a
// trap.
func newMessage(class string, source netip.Addr) message {
	n := messages.Add(1)
	return message{
		id: fmt.Sprintf("m%d.%d", time.Now().UnixNano(), n), kind: class, source: source,
		rcpt: fmt.Sprintf("left%d@trap.example", n),
	}
}

func bounceFrom(source string) message { return newMessage("bounce", netip.MustParseAddr(source)) }

// text returns the message with line ends of this system.
func (m message) text() string {
	template, err := templates.ReadFile(filepath.Join("testdata", m.kind+".eml"))
	if err != nil {
		panic(err) // no such class
	}
	literal := "[" + m.source.String() + "]"
	if m.source.Is6() {
		literal = "[IPv6:" + m.source.String() + "]"
	}
	return strings.NewReplacer(
		"@ID@", m.id, "@RCPT@", m.rcpt, "@LITERAL@", literal,
		"@NOW@", time.Now().UTC().Format(time.RFC1123Z),
	).Replace(string(template))
}

// messageID is how the daemon tells of the message.
func (m message) messageID() string { return m.id + "@mail.sender.example" }

// mailer is an SMTP session with the trap.
type mailer struct{ *smtp.Client }

func dialSMTP(ctx context.Context, addr string) (*mailer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // of an open connection
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := c.Hello("mx.trap.example"); err != nil {
		c.Close()
		return nil, err
	}
	return &mailer{c}, nil
}

// send sends one message. No error means that it was answered with 250.
func (m *mailer) send(rcpt, text string) error {
	if err := errors.Join(m.Mail(""), m.Rcpt(rcpt)); err != nil {
		return err
	}
	w, err := m.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))); err != nil {
		return err
	}
	return w.Close()
}

// deliver sends one message in a session of its own.
func (d *daemon) deliver(ctx context.Context, m message) error {
	c, err := dialSMTP(ctx, d.smtp)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.send(m.rcpt, m.text()); err != nil {
		return err
	}
	return c.Quit()
}

// mustDeliver sends messages and wants all of them accepted.
func (d *daemon) mustDeliver(t *testing.T, all ...message) {
	t.Helper()
	for _, m := range all {
		if err := d.deliver(within(t), m); err != nil {
			t.Fatalf("deliver %s %s from %s: %v", m.kind, m.id, m.source, err)
		}
	}
}

// replyCode returns the code of the SMTP reply that err is, or 0.
func replyCode(err error) int {
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return reply.Code
	}
	return 0
}
