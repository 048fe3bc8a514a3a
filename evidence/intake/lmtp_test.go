package intake_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

// over is a client on a connection of any kind.
func over(tb testing.TB, network, addr string) *client {
	tb.Helper()
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(context.Background(), network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &client{t: tb, out: conn, in: bufio.NewReader(conn)}
}

func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "bs-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestLMTP(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "lmtp.sock")
	for _, listen := range []string{"127.0.0.1:0", "unix:" + path} {
		tr := start(t, func(o *intake.SMTPOptions) {
			o.Addr, o.LMTP, o.Reporter = listen, true, "alias"
			o.Wanted = func(rcpt string) bool { return strings.HasSuffix(rcpt, "@real.example") }
		})
		network := "tcp"
		if strings.HasPrefix(listen, "unix:") {
			network = "unix"
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != intake.SocketMode {
				t.Errorf("socket %v, %v", info, err)
			}
		}
		c := over(t, network, tr.addr)
		c.run([]step{
			{"", []string{"220 mx.trap.example LMTP"}},
			{"EHLO x.example\r\n", []string{"500"}},
			{"LHLO mx.example\r\n", []string{"250"}},
			{
				"MAIL FROM:<>\r\nRCPT TO:<a@trap.example>\r\nRCPT TO:<b@real.example>\r\nRCPT TO:<c@other.example>\r\nDATA\r\n",
				[]string{"250", "250", "250", "554", "354"},
			},
			{bounce + ".\r\n", []string{"250 2.0.0 <a@trap.example>", "250 2.0.0 <b@real.example>"}}, // one for each recipient
			{"MAIL FROM:<>\r\nRCPT TO:<a@trap.example>\r\nQUIT\r\n", []string{"250", "250", "221"}},  // no callout
		})
		reports := tr.all()
		if len(reports) != 1 {
			t.Fatalf("%d reports, want 1", len(reports))
		}
		r := reports[0]
		if r.Held || r.Envelope.Client.IsValid() || r.Envelope.HELO != "" || r.Sensor != "lmtp" || r.Reporter != "alias" || len(r.Envelope.Recipients) != 2 {
			t.Errorf("reported %+v", r)
		}
	}
}

func TestLMTPDefers(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.LMTP = true })
	tr.submit = func(context.Context, evidence.Report) error { return errors.New("disk full") }
	c := tr.dial(t, "")
	c.run([]step{
		{"LHLO mx.example\r\n", []string{"220", "250"}},
		{"MAIL FROM:<>\r\nRCPT TO:<a@trap.example>\r\nRCPT TO:<b@trap.example>\r\nDATA\r\n", []string{"250", "250", "250", "354"}},
		{bounce + ".\r\n", []string{"451 4.3.0 <a@trap.example>", "451 4.3.0 <b@trap.example>"}},
		{"NOOP\r\n", []string{"250"}},
	})
}

func TestSocketOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	path := filepath.Join(dir, "lmtp.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	listen := func(addr string) error {
		s := intake.NewSMTP(intake.SMTPOptions{Addr: addr, LMTP: true})
		t.Cleanup(func() { _ = s.Close() })
		return s.Listen()
	}
	if err := listen("unix:" + path); err != nil {
		t.Errorf("over a dead socket: %v", err)
	}
	if err := listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("over a live socket: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := listen("unix:" + file); err == nil {
		t.Error("over a file")
	}
}
