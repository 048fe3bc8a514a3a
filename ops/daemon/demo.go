package daemon

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"strings"
	"syscall"
	"time"

	"backscatter/listing"
	"backscatter/ops/config"
)

// What the demonstration shows: everything lives in documentation space.
const (
	demoSource = "192.0.2.66" // sends the sample bounces
	demoDomain = "trap.example"
)

// demoMail holds the sample bounces. Each is a message as a relay of ours would
// pass it on, with the address of its recipient in X-Demo-Recipient.
//
//go:embed demo/*.eml
var demoMail embed.FS

// Demo runs a server with a state of its own, hands it sample bounces over
// SMTP, and prints to out what to try. It ends with ctx and leaves nothing.
func Demo(ctx context.Context, version string, logger *slog.Logger, out io.Writer) (err error) {
	state, err := os.MkdirTemp("", "backscatter-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demonstration: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	d, err := newDemo(state, version, logger)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = d.Run(ctx, func() {
		if err := d.demonstrate(ctx, out); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

// newDemo makes the server, on the usual ports when they are free.
func newDemo(state, version string, logger *slog.Logger) (*Daemon, error) {
	c := demoConfig(state)
	o := Options{Config: c, Version: version, Logger: logger, Load: func() (*config.Config, error) { return c, nil }}
	d, err := New(o)
	if errors.Is(err, syscall.EADDRINUSE) {
		c.Zones[0].URL = "" // where the page will be is not known yet
		c.DNS.Listen, c.HTTP.Listen, c.Intake.SMTP.Listen = []string{"127.0.0.1:0"}, "127.0.0.1:0", "127.0.0.1:0"
		return New(o)
	}
	return d, err
}

// demoConfig is a server that lists after few bounces, at once, and may list
// documentation space.
func demoConfig(state string) *config.Config {
	c := config.Defaults(nil)
	c.State = state
	c.Zones[0].URL = "http://" + c.HTTP.Listen + "/"
	c.Traps = []config.Trap{{Domain: demoDomain}, {Domain: "old." + demoDomain}}
	c.Policy = config.PolicyFrom(listing.Solo())
	c.Policy.Originals, c.Policy.Span = 3, 0
	for _, p := range []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"} {
		c.Policy.Listable = append(c.Policy.Listable, netip.MustParsePrefix(p))
	}
	return c
}

// demonstrate hands the sample bounces in and says what to try.
func (d *Daemon) demonstrate(ctx context.Context, out io.Writer) error {
	names, err := fs.Glob(demoMail, "demo/*.eml")
	if err != nil {
		return fmt.Errorf("find the sample bounces: %w", err)
	}
	for _, name := range names {
		raw, err := demoMail.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read sample bounce %s: %w", name, err)
		}
		if err := d.deliver(ctx, string(raw)); err != nil {
			return fmt.Errorf("hand in sample bounce %s: %w", name, err)
		}
	}
	fmt.Fprintf(out, demoText, len(names), demoSource, demoArgs(d.Addr("dns")), d.controlL.Addr(), d.Addr("http"))
	return nil
}

const demoText = `
%[1]d sample messages went to traps that never send mail. All but one came from
%[2]s, which is listed for them; one alone lists nobody, so 192.0.2.67 is not.
Ask for it, see why, take it off, and ask again:

  dig %[3]s +short 66.2.0.192.bl.example A
  dig %[3]s +short 66.2.0.192.bl.example TXT
  go run ./cmd/backscatter show %[2]s --socket %[4]s
  go run ./cmd/backscatter delist %[2]s --reason "trying it out" --socket %[4]s

What it would tell the listed party: http://%[5]s/%[2]s
Stop it with Ctrl-C; it leaves nothing behind.
`

// demoArgs are dig's arguments for a server.
func demoArgs(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "@" + addr
	}
	return fmt.Sprintf("@%s -p %s", host, port)
}

// deliver sends one sample to the trap as a relay would.
func (d *Daemon) deliver(ctx context.Context, raw string) error {
	var dialer net.Dialer
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", d.Addr("smtp"))
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	defer c.Close()
	rcpt, err := demoRecipient(raw)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Hello("mx.trap.example"), c.Mail(""), c.Rcpt(rcpt)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, strings.ReplaceAll(raw, "\n", "\r\n")); err != nil {
		return err
	}
	return errors.Join(w.Close(), c.Quit())
}

func demoRecipient(raw string) (string, error) {
	const field = "X-Demo-Recipient: "
	_, rest, found := strings.Cut(raw, field)
	rcpt, _, _ := strings.Cut(rest, "\n")
	if !found || rcpt == "" {
		return "", fmt.Errorf("no %q in it", field)
	}
	return rcpt, nil
}
