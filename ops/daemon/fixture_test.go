package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

// patience bounds every wait for something that should happen at once.
const patience = time.Minute

// settings is the configuration of a daemon on free ports.
const settings = `
state: STATE
dns: {listen: ["127.0.0.1:0"]}
http: {listen: "127.0.0.1:0"}
intake: {smtp: {listen: "127.0.0.1:0"}}
zones:
  - {name: bl.example, ns: [ns1.bl.example], ttl: 300s}
traps: [{domain: trap.example}]
policy: {profile: solo, listable: [192.0.2.0/24]}
`

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fixture is a daemon and the text of its configuration, which a test edits.
type fixture struct {
	*daemon.Daemon
	state string
	text  atomic.Pointer[string]
}

func (f *fixture) load() (*config.Config, error) {
	return config.Parse("test.yaml", []byte(*f.text.Load()), nil)
}

// edit replaces parts of the configuration.
func (f *fixture) edit(oldNew ...string) {
	text := strings.NewReplacer(oldNew...).Replace(*f.text.Load())
	f.text.Store(&text)
}

// open makes a daemon in a state folder.
func open(t *testing.T, state, more string) (*fixture, error) {
	t.Helper()
	f := &fixture{state: state}
	text := strings.Replace(settings, "STATE", state, 1) + more
	f.text.Store(&text)
	c, err := f.load()
	if err != nil {
		t.Fatal(err)
	}
	f.Daemon, err = daemon.New(daemon.Options{
		Config: c, Load: f.load, Version: "test", Logger: slog.New(slog.DiscardHandler),
	})
	return f, err
}

// serve runs a daemon; stop ends it, and tells what Run said.
func serve(t *testing.T, more string) (f *fixture, stop func() error) {
	t.Helper()
	f, err := open(t, tempDir(t), more)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the daemon did not stop")
		}
	}
	t.Cleanup(func() {
		if stopped {
			return
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("the daemon is not ready")
	}
	return f, stop
}

func (f *fixture) client(t *testing.T) *control.Client {
	t.Helper()
	c := control.Dial(filepath.Join(f.state, control.SocketName))
	t.Cleanup(c.Close)
	return c
}

// ask asks the daemon over DNS.
func (f *fixture) ask(t *testing.T, name string, qtype uint16) *dns.Msg {
	t.Helper()
	return ask(t, f.Addr("dns"), name, qtype)
}

func ask(t *testing.T, server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	c := dns.Client{Timeout: 5 * time.Second}
	r, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, qtype), server)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) reload(ctx context.Context) (control.ReloadResult, error) {
	return f.Reload(ctx, listing.Actor{UID: -1, Name: "test"})
}

func bounce(rcpt, id string) string {
	return fmt.Sprintf("Received: from out.example (out.example [192.0.2.66])\r\n\tby mx.example with ESMTP id 1\r\n\tfor <%[1]s>; %[3]s\r\n"+
		"From: MAILER-DAEMON@out.example\r\nTo: %[1]s\r\nSubject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nNot delivered.\r\n"+
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; out.example\r\n\r\nFinal-Recipient: rfc822; x@out.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"+
		"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <%[2]s@spam.example>\r\nFrom: %[1]s\r\n\r\n--b--\r\n",
		rcpt, id, time.Now().UTC().Format(time.RFC1123Z))
}
