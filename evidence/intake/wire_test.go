package intake_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

// certificate makes a certificate that signs itself.
func certificate(tb testing.TB, name string) *tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secure goes on within TLS, and returns the name in the trap's certificate.
func (c *client) secure() string {
	c.t.Helper()
	c.run([]step{{"STARTTLS\r\n", []string{"220 2.0.0"}}})
	secured := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test looks at the name itself
	if err := secured.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.out, c.in = secured, bufio.NewReader(secured)
	return secured.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestSTARTTLS(t *testing.T) {
	t.Parallel()
	var current atomic.Pointer[tls.Certificate]
	tr := start(t, func(o *intake.SMTPOptions) { o.Certificate = current.Load })
	if c := tr.dial(t, ""); c.reply() != "" {
		c.run([]step{{"EHLO a.example\r\n", []string{"250"}}, {"STARTTLS\r\n", []string{"502"}}}) // none yet
	}
	for _, name := range []string{"old.example", "new.example"} { // no restart between them
		current.Store(certificate(t, name))
		c := tr.dial(t, "")
		c.want("220")
		c.send("EHLO in.clear.example\r\n")
		if got := c.reply(); !strings.Contains(got, "250-STARTTLS\r\n") {
			t.Fatalf("no STARTTLS in %q", got)
		}
		c.run([]step{{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n", []string{"250", "250"}}})
		same(t, "certificate", name, c.secure())
		// All that was said in clear is forgotten (RFC 3207 §4.2).
		c.run([]step{
			{"DATA\r\n", []string{"502"}},
			{"MAIL FROM:<>\r\n", []string{"503 5.5.1"}},
			{"EHLO secured.example\r\n", []string{"250-Hello secured.example\r\n250-PIPELINING\r\n250-8BITMIME"}},
			{"STARTTLS\r\n", []string{"502"}},
			{
				"MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n" + strings.Repeat("x", 40_000) + "\r\n" + name + "\r\r\n.\r\nQUIT\r\n",
				[]string{"250", "250", "354", "250", "221", "closed"},
			},
		})
		got := tr.all()[len(tr.all())-1]
		if got.Envelope.HELO != "secured.example" || !strings.HasSuffix(string(got.Raw), "\r\n"+name+"\r\n") {
			t.Errorf("HELO %q, message %.80q", got.Envelope.HELO, got.Raw)
		}
	}
	same(t, "handshakes", "2", tr.metric(t, `backscatter_smtp_starttls_total{result="secured"}`))
}

// What is sent in clear behind STARTTLS must not pass for what was sent within
// TLS (CVE-2011-0411), and a handshake that goes wrong ends the session.
func TestSTARTTLSMisused(t *testing.T) {
	t.Parallel()
	own := certificate(t, "mx.trap.example")
	tr := start(t, func(o *intake.SMTPOptions) { o.Certificate = func() *tls.Certificate { return own } })
	c := tr.greeted(t)
	c.run([]step{{"STARTTLS\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n", []string{"503", "closed"}}})
	c = tr.greeted(t)
	c.run([]step{{"STARTTLS\r\n", []string{"220"}}, {"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\nforged\r\n.\r\n", nil}})
	for c.reply() != "closed" {
	}
	tr.until(t, "backscatter_smtp_connections", "0")
	same(t, "messages", nil, tr.texts())
	same(t, "handshakes", "1", tr.metric(t, `backscatter_smtp_starttls_total{result="failed"}`))

	short := start(t, func(o *intake.SMTPOptions) {
		o.Certificate = func() *tls.Certificate { return own }
		o.Limits.Idle = 100 * time.Millisecond
	})
	c = short.dial(t, "")
	c.want("220")
	c.send("STARTTLS\r\n") // and nothing more
	short.until(t, "backscatter_smtp_connections", "0")
}

func relays(prefixes ...string) func() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return func() []netip.Prefix { return out }
}

func TestXCLIENT(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) {
		o.XCLIENT, o.Relays = true, relays("127.0.0.9/32")
		o.Limits.PerClient = 2
	})
	message := []step{
		{"EHLO again.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n", []string{"250", "250", "250", "354"}},
		{bounce + ".\r\n", []string{"250"}},
	}
	relay := tr.dial(t, "127.0.0.9")
	relay.want("220")
	relay.send("EHLO relay.example\r\n")
	if got := relay.reply(); !strings.Contains(got, "250-XCLIENT NAME ADDR PORT PROTO HELO\r\n") {
		t.Fatalf("no XCLIENT in %q", got)
	}
	for _, bad := range []string{"", "ADDR", "ADDR=x", "ADDR=192.0.2.1 X=y", "NAME=a+0Ab ADDR=192.0.2.1", "HELO=+4", "ADDR=IPV6:", "NAME=+zz"} {
		relay.run([]step{{"XCLIENT " + bad + "\r\n", []string{"501 5.5.4"}}})
	}
	relay.run([]step{
		{"MAIL FROM:<>\r\nXCLIENT NAME=mail.sender.example ADDR=192.0.2.66 PORT=4711 PROTO=ESMTP HELO=he+2Bllo\r\n", []string{"250", "220 mx.trap.example"}},
		{"MAIL FROM:<>\r\n", []string{"503 5.5.1"}},
	})
	relay.run(message)
	relay.run([]step{{"xclient addr=IPv6:2001:db8::66 name=[UNAVAILABLE] helo=[unavailable]\r\n", []string{"220"}}})
	relay.run(message)
	for _, unknown := range []string{"ADDR=[UNAVAILABLE]", "ADDR=[TEMPUNAVAIL] NAME=mail.sender.example", "HELO=again.example", "ADDR=127.0.0.1"} {
		relay.run([]step{{"XCLIENT " + unknown + "\r\n", []string{"220"}}})
		relay.run(message)
	}
	unnamed := tr.dial(t, "127.0.0.9")
	unnamed.run([]step{{"", []string{"220"}}, {"XCLIENT NAME=mail.sender.example\r\n", []string{"220"}}})
	unnamed.run(message)
	_ = unnamed.conn.Close()
	tr.until(t, "backscatter_smtp_connections", "1")
	var got []evidence.Envelope
	for i, r := range tr.all() {
		if i >= 2 {
			accusesNobody(t, r)
			continue
		}
		if r.Held {
			t.Error("the trap says that it held the session of a client that a relay told it of")
		}
		r.Envelope.Recipients = nil
		got = append(got, r.Envelope)
	}
	same(t, "envelopes", []evidence.Envelope{
		{Client: netip.MustParseAddr("192.0.2.66"), HELO: "he+llo", PTR: "mail.sender.example", MailFromKnown: true},
		{Client: netip.MustParseAddr("2001:db8::66"), HELO: "again.example", MailFromKnown: true},
	}, got)

	// The limit of a client holds for whom the relay speaks for.
	for range 2 {
		c := tr.dial(t, "127.0.0.9")
		c.run([]step{{"", []string{"220"}}, {"XCLIENT ADDR=192.0.2.7\r\n", []string{"220"}}})
	}
	_ = relay.conn.Close()
	tr.until(t, "backscatter_smtp_connections", "2")
	c := tr.dial(t, "127.0.0.9")
	c.run([]step{{"", []string{"220"}}, {"XCLIENT ADDR=192.0.2.7\r\n", []string{"421 4.7.0", "closed"}}})

	stranger := tr.dial(t, "127.0.0.8")
	stranger.want("220")
	stranger.send("EHLO stranger.example\r\n")
	if got := stranger.reply(); strings.Contains(got, "XCLIENT") {
		t.Errorf("XCLIENT is offered to a stranger: %q", got)
	}
	stranger.run([]step{{"XCLIENT ADDR=192.0.2.66\r\n", []string{"50"}}})
	stranger.run(message)
	all := tr.all()
	last := all[len(all)-1]
	if last.Envelope.Client != netip.MustParseAddr("127.0.0.8") || !last.Held {
		t.Errorf("a stranger passes for %+v", last.Envelope)
	}
}

// accusesNobody judges a report of a client that a relay did not name, with a
// trace line of that client's own on top.
func accusesNobody(t *testing.T, r evidence.Report) {
	t.Helper()
	j, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local", Relays: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
		Listable:  []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Reporter = "local"
	r.Raw = append([]byte("Received: from innocent.example (innocent.example [198.51.100.77]) by mx.example with ESMTP id 1\r\n"), r.Raw...)
	if f := j.Judge(r, time.Now()); f.Source.IsValid() {
		t.Errorf("%+v accuses %s", r.Envelope, f.Source)
	}
}

func TestPROXY(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) {
		o.Proxy, o.Relays = true, relays("127.0.0.9/32")
		o.Limits.PerClient, o.Limits.Idle = 2, 20*time.Second
	})
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x43\xc0\x00\x02\x19\x10\x00\x00\x19"
	for _, test := range []struct{ header, client string }{
		{"PROXY TCP4 192.0.2.66 192.0.2.25 4711 25\r\n", "192.0.2.66"},
		{"PROXY TCP6 2001:db8::66 2001:db8::25 4711 25\r\n", "2001:db8::66"},
		{"PROXY TCP6 ::ffff:192.0.2.68 ::ffff:192.0.2.25 4711 25\r\n", "192.0.2.68"},
		{v2, "192.0.2.67"},
	} {
		c := tr.dial(t, "127.0.0.9")
		// With all of the rest right behind it.
		c.run([]step{{
			test.header + "EHLO mx.sender.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n" + bounce + ".\r\nQUIT\r\n",
			[]string{"220", "250", "250", "250", "354", "250", "221", "closed"},
		}})
		got := tr.all()[len(tr.all())-1]
		if got.Envelope.Client.String() != test.client || !got.Held {
			t.Errorf("%q: %s, held %v; want %s", test.header, got.Envelope.Client, got.Held, test.client)
		}
	}
	for _, nobody := range []string{"PROXY UNKNOWN\r\n", "PROXY UNKNOWN 192.0.2.66 192.0.2.25 4711 25\r\n", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		c := tr.dial(t, "127.0.0.9")
		c.run([]step{{nobody + "EHLO mx.sender.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\nQUIT\r\n", []string{"220", "250", "451 4.3.5", "5", "5", "221", "closed"}}})
	}
	c := tr.dial(t, "127.0.0.9")
	c.run([]step{{
		"PROXY TCP4 127.0.0.1 127.0.0.1 4711 25\r\nEHLO mx.sender.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n" + bounce + ".\r\nQUIT\r\n",
		[]string{"220", "250", "250", "250", "354", "250", "221", "closed"},
	}})
	accusesNobody(t, tr.all()[4])
	for _, bad := range []string{
		"EHLO mx.sender.example\r\n", "PROXY\r\n", "PROXY TCP4 192.0.2.66\r\n", "PROXY TCP4 x y 1 2\r\n",
		"PROXY TCP4 192.0.2.66 192.0.2.25 4711 25\n", "PROXY " + strings.Repeat("x", 200), "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", v2[:20],
	} {
		c := tr.dial(t, "127.0.0.9")
		c.send(bad)
		_ = c.conn.CloseWrite()
		c.want("closed")
	}
	tr.until(t, "backscatter_smtp_connections", "0")
	for range 2 {
		tr.dial(t, "127.0.0.9").run([]step{{"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", []string{"220"}}})
	}
	tr.dial(t, "127.0.0.9").run([]step{{"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", []string{"421 4.7.0", "closed"}}})
	tr.dial(t, "127.0.0.9").run([]step{{"PROXY TCP4 192.0.2.8 192.0.2.25 4711 25\r\n", []string{"220"}}})

	stranger := tr.dial(t, "127.0.0.8")
	stranger.run([]step{
		{"PROXY TCP4 192.0.2.66 192.0.2.25 4711 25\r\n", []string{"220", "50"}},
		{"EHLO x.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n" + bounce + ".\r\n", []string{"250", "250", "250", "354", "250"}},
	})
	if got := tr.all()[5].Envelope.Client.String(); got != "127.0.0.8" {
		t.Errorf("a stranger passes for %s", got)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) {
		o.Limits = intake.Limits{Rate: 1, PerClient: 100}
		o.Relays = relays("127.0.0.9/32")
	})
	tr.dial(t, "127.0.0.7").run([]step{{"", []string{"220"}}, {"QUIT\r\n", []string{"221", "closed"}}})
	tr.dial(t, "127.0.0.7").run([]step{{"", []string{"421 4.7.0", "closed"}}})
	tr.dial(t, "127.0.0.8").want("220")
	for range 10 { // a relay stands for many
		tr.dial(t, "127.0.0.9").want("220")
	}
	same(t, "refused", "1", tr.metric(t, `backscatter_smtp_connections_total{result="too_fast"}`))
}

func TestTarpit(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Tarpit = 100 * time.Millisecond })
	c := tr.greeted(t)
	c.run([]step{{"MAIL FROM:<>\r\n", []string{"250"}}})
	before := time.Now()
	c.run([]step{{"RCPT TO:<x@other.example>\r\nRCPT TO:<y@other.example>\r\n", []string{"554", "554"}}})
	if took := time.Since(before); took < 200*time.Millisecond {
		t.Errorf("two refusals took %s, want 200ms at least", took)
	}
	slow := start(t, func(o *intake.SMTPOptions) { o.Limits.Tarpit = time.Hour })
	c = slow.greeted(t)
	c.send("RCPT TO:<x@other.example>\r\n")
	slow.stop() // does not wait for it
	if err := slow.wait(); err != nil {
		t.Error(err)
	}
}

// A thousand clients that say nothing, or talk before they are greeted, or send
// a line without an end, keep nobody from being served.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Connections, o.Limits.PerClient = 1100, 400 })
	for i := range 1000 {
		c := tr.dial(t, netip.AddrFrom4([4]byte{127, 0, 1, byte(i % 5)}).String())
		switch i % 3 {
		case 1:
			c.send("EHLO early.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\n")
		case 2:
			c.send("EHLO early.example\r\nNOOP " + strings.Repeat("x", 3000))
		}
	}
	tr.until(t, "backscatter_smtp_connections", "1000")
	for range 3 {
		c := tr.greeted(t)
		c.toData()
		c.send(bounce + ".\r\n")
		c.want("250")
	}
	same(t, "messages", 3, len(tr.all()))
}

// A line of ten megabytes costs no more than it may, wherever it is.
func TestEndlessLines(t *testing.T) {
	t.Parallel()
	tr := start(t, nil)
	endless := func() io.Reader { return io.LimitReader(repeated{}, 10<<20+1) }
	c := tr.greeted(t)
	_, _ = io.Copy(c.conn, endless()) // as a command: refused on the way
	c.want("500 5.4.0")
	for _, begin := range []string{"", "Subject: "} {
		c = tr.greeted(t)
		c.toData()
		c.send(begin)
		if _, err := io.Copy(c.conn, endless()); err != nil {
			t.Fatal(err)
		}
		c.send("\r\n.\r\n")
		c.want("552 5.3.4")
		c.toData() // the session goes on
		c.send(bounce + ".\r\n")
		c.want("250")
	}
	same(t, "messages", []string{bounce, bounce}, tr.texts())
}

// repeated is a reader of one letter.
type repeated struct{}

func (repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// Who asks for a trap in the name of nobody, and goes, is told to the sink.
func TestCallouts(t *testing.T) {
	t.Parallel()
	tr := start(t, nil)
	for _, end := range []string{"RSET\r\n", "QUIT\r\n", "EHLO other.example\r\n", ""} {
		c := tr.greeted(t)
		c.run([]step{{"MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nRCPT TO:<x@other.example>\r\n" + end, []string{"250", "250", "554"}}})
		_ = c.conn.CloseWrite()
		for c.reply() != "closed" {
		}
	}
	for _, other := range []string{ // a sender, no trap, no recipient
		"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@trap.example>\r\n", "MAIL FROM:<>\r\nRCPT TO:<x@other.example>\r\n", "MAIL FROM:<>\r\n",
	} {
		c := tr.greeted(t)
		c.send(other + "RSET\r\nQUIT\r\n")
		for c.reply() != "closed" {
		}
	}
	tr.until(t, "backscatter_smtp_connections", "0")
	for _, r := range tr.all() {
		if !r.Callout || !r.Held || len(r.Raw) > 0 || r.Envelope.Client.String() != "127.0.0.1" || len(r.Envelope.Recipients) != 1 {
			t.Errorf("reported %+v", r)
		}
	}
	same(t, "callouts", 4, len(tr.all()))
}
