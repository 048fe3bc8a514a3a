package intake_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestReportCarriesTheEnvelope(t *testing.T) {
	t.Parallel()
	tr := start(t, nil)
	before := time.Now()
	c := tr.greeted(t)
	c.run([]step{
		{"MAIL FROM:<> BODY=8BITMIME SIZE=100\r\n", []string{"250 2.0.0"}},
		{"RCPT TO:<Info@Trap.Example>\r\n", []string{"250"}},
		{"rcpt to:<left@org.example>\r\n", []string{"250"}},
		{"DATA\r\n", []string{"354"}},
		{bounce + ".\r\n", []string{"250 2.0.0"}},
		{"QUIT\r\n", []string{"221", "closed"}},
	})
	reports := tr.all()
	if len(reports) != 1 {
		t.Fatalf("%d reports, want 1", len(reports))
	}
	got := reports[0]
	if got.Received.Before(before.Add(-time.Second)) || got.Received.After(time.Now()) {
		t.Errorf("received %s, want now", got.Received)
	}
	got.Received = time.Time{}
	same(t, "report", evidence.Report{
		Raw: []byte(bounce),
		Envelope: evidence.Envelope{
			Client: netip.MustParseAddr("127.0.0.1"), HELO: "mx.sender.example",
			MailFromKnown: true, Recipients: []string{"Info@Trap.Example", "left@org.example"},
		},
		Held: true, Reporter: "local", Sensor: "smtp",
	}, got)
}

func TestStandardClient(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "[::]:0", "[::1]:0"} {
		tr := start(t, func(o *intake.SMTPOptions) { o.Addr = listen })
		_, port, _ := net.SplitHostPort(tr.addr)
		host := "127.0.0.1" // arrives mapped at a socket of both families
		if listen == "[::1]:0" {
			host = "::1"
		}
		err := smtp.SendMail(net.JoinHostPort(host, port), nil, "joe@sender.example", []string{"x@trap.example"}, []byte(bounce))
		if err != nil {
			t.Fatal(err)
		}
		reports := tr.all()
		if len(reports) != 1 || reports[0].Envelope.Client != netip.MustParseAddr(host) || reports[0].Envelope.MailFrom != "joe@sender.example" {
			t.Errorf("on %s: %+v", listen, reports)
		}
	}
}

func TestNeverARelay(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Refusals = 1000 })
	c := tr.greeted(t)
	c.run([]step{{"MAIL FROM:<spammer@trap.example>\r\n", []string{"250"}}})
	for _, rcpt := range []string{
		"<victim@other.example>", "victim@other.example", "<VICTIM@OTHER.EXAMPLE.>",
		"<victim@sub.trap.example>", "<victim@trap.example.other.example>", "<victim@nottrap.example>", "<victim@example>",
		"<trap.example@other.example>", "<x@trap.example@other.example>", `<"x@trap.example"@other.example>`,
		"<@trap.example:victim@other.example>", "<@trap.example,@other.example:victim@third.example>",
		"<victim@[192.0.2.1]>", "<victim@[127.0.0.1]>", "<other@org.example>", "<left@ORG.example.other.example>",
		"<victim@other.example\x00@trap.example.other.example>", "<" + strings.Repeat("x", 400) + "@trap.example>",
	} {
		c.run([]step{{"RCPT TO:" + rcpt + "\r\n", []string{"554 5.7.1 "}}})
	}
	for _, rcpt := range []string{"<victim>", "<>", "<postmaster>", "", "<@trap.example>", "<victim@>", "<x@trap.example> FOO=BAR"} {
		c.run([]step{{"RCPT TO:" + rcpt + "\r\n", []string{"50"}}})
	}
	c.run([]step{
		{"DATA\r\n", []string{"502 5.5.1"}},
		{"BDAT 5 LAST\r\nhello", []string{"502 5.5.1"}},
		{"VRFY x@trap.example\r\n", []string{"252"}},
		{"EXPN x@trap.example\r\n", []string{"502"}},
		{"AUTH PLAIN AHgAeQ==\r\n", []string{"523"}},
		{"STARTTLS\r\n", []string{"502"}},
	})
	same(t, "reports", nil, tr.texts())
}

// sessions are what clients send after EHLO, and the messages that come of it.
var sessions = []struct {
	name  string
	steps []step
	want  []string
}{
	{"dots are unstuffed", []step{
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n", []string{"250", "250", "354"}},
		{"..a\r\n...\r\n.b\r\nc.\r\n.\r\n", []string{"250"}},
	}, []string{".a\r\n..\r\nb\r\nc.\r\n"}},
	{"last line ends in CR CR LF", []step{ // the message had a bare CR there, and the client adds CR LF
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n", []string{"250", "250", "354"}},
		{"one\r\r\r\ntwo\r\r\n.\r\n", []string{"250"}},
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nbdat 7 last\r\n3\r\r\r\r\r\n", []string{"250", "250", "250"}},
	}, []string{"one\r\ntwo\r\n", "3\r\r\r\r\r\n"}},
	{"pipelined", []step{
		{
			"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@trap.example>\r\nRCPT TO:<x@other.example>\r\nDATA\r\none\r\n.\r\n" +
				"MAIL FROM:<>\r\nRCPT TO:<y@trap.example>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\nMAIL FROM:<>\r\n",
			[]string{"250", "250", "554", "354", "250", "250", "250", "354", "250", "221", "closed"},
		},
	}, []string{"one\r\n", "two\r\n"}},
	{"order", []step{
		{"RCPT TO:<x@trap.example>\r\n", []string{"502"}},
		{"DATA\r\n", []string{"502"}},
		{"MAIL FROM:<>\r\nMAIL FROM:<a@b.example>\r\n", []string{"250", "503 5.5.1"}},
		{"RSET\r\nRCPT TO:<x@trap.example>\r\n", []string{"250", "502"}},
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nEHLO again.example\r\nDATA\r\n", []string{"250", "250", "250", "502"}},
	}, nil},
	{"senders", []step{
		{"MAIL FROM:<" + strings.Repeat("x", 400) + "@b.example>\r\n", []string{"553 5.1.7"}},
		{"MAIL FROM:<a@b.example> SIZE=99999999\r\n", []string{"552 5.3.4"}},
		{"MAIL FROM:<\xc3\xbc@b.example> SMTPUTF8\r\n", []string{"250"}},
	}, nil},
	{"BDAT", []step{
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n", []string{"250", "250"}},
		{"BDAT 5\r\na\r\nb\r", []string{"250"}},
		{"DATA\r\n", []string{"502"}},
		{"BDAT 4 LAST\r\n\n.\r\n", []string{"250"}},
	}, []string{"a\r\nb\r\n.\r\n"}},
	{"BDAT and RSET", []step{
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n", []string{"250", "250"}},
		{"BDAT 3\r\na\r\n", []string{"250"}},
		{"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nBDAT 3 LAST\r\nc\r\n", []string{"250", "closed"}},
	}, nil},
	{"BDAT twice", []step{
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nBDAT 3 LAST\r\na\r\n", []string{"250", "250", "250"}},
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nBDAT 3 LAST\r\nb\r\n", []string{"250", "250", "250"}},
	}, []string{"a\r\n", "b\r\n"}},
	{"nothing in it", []step{
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n.\r\n", []string{"250", "250", "354", "250"}},
	}, []string{""}},
	{"bad commands", []step{
		{"\r\n", []string{"500"}},
		{"\x16\x03\x01\x02\r\n", []string{"50"}},
		{"GET / HTTP/1.1\r\n", []string{"50"}},
		{"Host: trap.example\r\n", []string{"50", "500", "closed"}},
	}, nil},
	{"line too long", []step{
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n", []string{"250", "250", "354"}},
		{"Subject: " + strings.Repeat("x", 40_000) + ".\r\n.\r\n", []string{"250"}},
	}, []string{"Subject: " + strings.Repeat("x", 32<<10-9) + "\r\n " + strings.Repeat("x", 40_000-(32<<10-9)) + ".\r\n"}},
	{"line too long at a dot", []step{ // the line end put in must not make it the end of the message
		{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n", []string{"250", "250", "354"}},
		{strings.Repeat("x", 32<<10) + ".\r\nMAIL FROM:<smuggled@b.example>\r\n.\r\n", []string{"250"}},
	}, []string{strings.Repeat("x", 32<<10) + "\r\n .\r\nMAIL FROM:<smuggled@b.example>\r\n"}},
	{"sender without a domain", []step{
		{"MAIL FROM:<MAILER-DAEMON>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\na\r\n.\r\n", []string{"250", "250", "354", "250"}},
	}, []string{"a\r\n"}},
	{"command too long", []step{{"NOOP " + strings.Repeat("x", 70_000), []string{"500 5.4.0"}}}, nil},
}

func TestSessions(t *testing.T) {
	t.Parallel()
	for _, test := range sessions {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := start(t, nil)
			tr.greeted(t).run(test.steps)
			same(t, "messages", test.want, tr.texts())
		})
	}
}

// Some servers take these for the end of a message, and what follows for
// commands of whoever sent it (SMTP smuggling). For us they are text.
func TestNoSmuggling(t *testing.T) {
	t.Parallel()
	tr := start(t, nil)
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n\x00.\r\n", "\r\n. \r\n", "\n\n.\r\r\n", "\r\n..\r\r\n",
	} {
		smuggled := "MAIL FROM:<smuggled@b.example>\r\nRCPT TO:<y@trap.example>\r\nDATA\r\nforged\r\n"
		c := tr.greeted(t)
		c.toData()
		c.send("one" + end + smuggled + ".\r\n")
		c.want("250 2.0.0")
		c.run([]step{{"QUIT\r\n", []string{"221"}}})
		reports := tr.all()
		last := reports[len(reports)-1]
		if last.Envelope.MailFrom != "" || !strings.Contains(string(last.Raw), "RCPT TO:<y@trap.example>") {
			t.Errorf("%q ended the message: %q", end, last.Raw)
		}
	}
	if n := len(tr.all()); n != 10 {
		t.Errorf("%d messages, want 10", n)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits = intake.Limits{Size: 100_000, Keep: 40_000} })
	text := func(n int) string { return strings.Repeat("0123456789abcdefghijklmnopqr\r\n", n/30) }
	c := tr.greeted(t)
	for _, test := range []struct {
		size      int
		truncated bool
		reply     string
	}{{39_990, false, "250"}, {40_020, true, "250"}, {99_990, true, "250"}, {100_020, false, "552 5.3.4"}, {3_000_000, false, "552 5.3.4"}, {30, false, "250"}} {
		before := len(tr.all())
		c.toData()
		c.send(text(test.size) + ".\r\n")
		c.want(test.reply)
		got := tr.all()[before:]
		if test.reply != "250" {
			same(t, "messages", 0, len(got))
			continue
		}
		if len(got) != 1 || got[0].Truncated != test.truncated || string(got[0].Raw) != text(test.size)[:min(test.size, 40_000)] {
			t.Errorf("size %d: %d messages", test.size, len(got))
		}
	}
	c.run([]step{{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nBDAT 100001 LAST\r\n" + strings.Repeat("x", 100_001), []string{"250", "250", "552"}}})
}

func TestCounts(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) {
		o.Limits = intake.Limits{Recipients: 2, Refusals: 3, Messages: 2, Replies: 50}
	})
	rcpt := "RCPT TO:<x@trap.example>\r\n"
	c := tr.greeted(t)
	c.run([]step{
		{"MAIL FROM:<>\r\n" + rcpt + rcpt + rcpt, []string{"250", "250", "250", "452 4.5.3"}},
		{"DATA\r\none\r\n.\r\n", []string{"354", "250"}},
		{"MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n", []string{"250", "250", "421 4.7.0", "closed"}},
	})
	same(t, "recipients", 2, len(tr.all()[0].Envelope.Recipients))
	c = tr.greeted(t)
	c.run([]step{
		{"MAIL FROM:<>\r\n", []string{"250"}},
		{strings.Repeat("RCPT TO:<x@other.example>\r\n", 3), []string{"554", "554", "421 4.7.0", "closed"}},
	})
	c = tr.greeted(t)
	c.send(strings.Repeat("NOOP\r\n", 100))
	replies := 0
	for c.reply() != "closed" {
		replies++
	}
	if replies == 0 || replies > 50 {
		t.Errorf("%d replies to 100 commands, want 50 at most", replies)
	}
}

func TestRetryWhenNotStored(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Submit = 50 * time.Millisecond })
	failures := []func(context.Context) error{
		func(context.Context) error { return full },
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		func(context.Context) error { panic("a mistake") },
	}
	tr.submit = func(ctx context.Context, _ evidence.Report) error {
		if len(failures) == 0 {
			return nil
		}
		f := failures[0]
		failures = failures[1:]
		return f(ctx)
	}
	c := tr.greeted(t)
	for _, reply := range []string{"451 4.3.0", "451 4.3.0", "421 4.0.0"} {
		c.toData()
		c.send(bounce + ".\r\n")
		c.want(reply)
	}
	same(t, "messages", nil, tr.texts())
	c = tr.greeted(t)
	c.toData()
	c.send(bounce + ".\r\n")
	c.want("250")
	same(t, "messages", []string{bounce}, tr.texts())
}

func TestBrokenOffIsNotSubmitted(t *testing.T) {
	t.Parallel()
	const incomplete = `backscatter_smtp_messages_total{result="incomplete"}`
	envelope := "MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n"
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Data = 200 * time.Millisecond })
	for i, text := range []string{
		"DATA\r\n", "DATA\r\nSubject: x\r\n", "DATA\r\nSubject: x\r\n.", "DATA\r\nSubject: x\r\n.\r", "DATA\r\nSubject: x\n.\n",
		"BDAT 10\r\nSubje", "BDAT 10\r\n0123456789", "BDAT 10 LAST\r\nSubje", "BDAT 10 LAST\r\n", "BDAT 2\r\nxyBDAT 5 LAST\r\nz",
	} {
		c := tr.greeted(t)
		c.send(envelope + text)
		if i%2 == 0 {
			_ = c.conn.CloseWrite()
		} else {
			c.want("250")
			c.want("250")
			_ = c.conn.SetLinger(0) // a reset instead of an end
			_ = c.conn.Close()
		}
	}
	tr.until(t, "backscatter_smtp_connections", "0")
	same(t, "messages", nil, tr.texts())
	if n := tr.metric(t, incomplete); n == "0" {
		t.Error("no message was counted as incomplete")
	}
}

// A message that stalls must not be taken up as commands where it goes on.
func TestStalledMessageEndsTheSession(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Data = 50 * time.Millisecond })
	rest := "\r\nMAIL FROM:<>\r\nRCPT TO:<y@trap.example>\r\nDATA\r\nforged\r\n.\r\n"
	for _, begin := range []string{"DATA\r\nSubject: x", "BDAT 1000 LAST\r\nSubject: x", "BDAT 1\r\nS"} {
		c := tr.greeted(t)
		c.send("MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n" + begin)
		for reply := ""; !strings.HasPrefix(reply, "421 "); {
			if reply = c.reply(); reply == "closed" {
				break
			}
		}
		_, _ = io.WriteString(c.conn, rest) // nobody may listen any more
		for c.reply() != "closed" {
		}
	}
	same(t, "messages", nil, tr.texts())
}

func TestSlowClients(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Idle = 50 * time.Millisecond })
		c := tr.dial(t, "")
		c.want("220")
		c.send("EHL") // never ends
		c.want("501")
		c.want("421 4.4.2")
		c.want("closed")
	})
	t.Run("session", func(t *testing.T) {
		t.Parallel()
		tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Session = 100 * time.Millisecond })
		c := tr.dial(t, "")
		c.want("220")
		for reply := ""; reply != "closed"; reply = c.reply() {
			_, _ = io.WriteString(c.conn, "NOOP\r\n") // busy all the time
		}
	})
	t.Run("does not read", func(t *testing.T) {
		t.Parallel()
		tr := start(t, func(o *intake.SMTPOptions) {
			o.Limits = intake.Limits{Write: 50 * time.Millisecond, Replies: 1 << 30}
		})
		c := tr.greeted(t)
		long := "HELO " + strings.Repeat("x", 60_000) + "\r\n" // the reply repeats it
		for err := error(nil); err == nil; {
			_, err = io.WriteString(c.conn, long)
		}
		tr.until(t, "backscatter_smtp_connections", "0")
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	tr := start(t, nil)
	c := tr.greeted(t)
	rcpt := "RCPT TO:<x@trap.example>\r\n"
	c.run([]step{
		{"MAIL FROM:<>\r\n" + rcpt + "RSET\r\n", []string{"250", "250", "250"}},                           // callout
		{"MAIL FROM:<>\r\n" + rcpt + "HELO x\r\n", []string{"250", "250", "250"}},                         // callout
		{"MAIL FROM:<a@b.example>\r\n" + rcpt + "RSET\r\n", []string{"250", "250", "250"}},                // has a sender
		{"MAIL FROM:<>\r\nRCPT TO:<x@other.example>\r\nRSET\r\n", []string{"250", "554", "250"}},          // no trap
		{"MAIL FROM:<>\r\n" + rcpt + "DATA\r\n" + bounce + ".\r\n", []string{"250", "250", "354", "250"}}, // a message
		{"MAIL FROM:<>\r\n" + rcpt + "BDAT 3 LAST\r\nabc", []string{"250", "250", "250"}},                 // a message
		{"MAIL FROM:<>\r\n" + rcpt + "QUIT\r\n", []string{"250", "250", "221", "closed"}},                 // callout
	})
	tr.until(t, "backscatter_smtp_connections", "0")
	for name, want := range map[string]string{
		"backscatter_smtp_callouts_total":                       "3",
		`backscatter_smtp_connections_total{result="accepted"}`: "1",
		`backscatter_smtp_recipients_total{result="accepted"}`:  "6",
		`backscatter_smtp_recipients_total{result="refused"}`:   "1",
		`backscatter_smtp_messages_total{result="accepted"}`:    "2",
	} {
		if got := tr.metric(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	problems, err := testutil.GatherAndLint(tr.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	s := intake.NewSMTP(intake.SMTPOptions{Addr: "127.0.0.1:0"})
	if err := s.Serve(t.Context()); err == nil {
		t.Error("serves without listening")
	}
	if s.Addr() != nil {
		t.Error("has an address without listening")
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil {
		t.Error("listens twice")
	}
	again := intake.NewSMTP(intake.SMTPOptions{Addr: s.Addr().String()})
	if err := again.Listen(); err == nil || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("port in use: %v, want an error with the address", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
