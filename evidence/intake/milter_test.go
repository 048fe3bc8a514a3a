package intake_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"
	"github.com/prometheus/client_golang/prometheus"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

// startMilter runs a milter for trap.example, and for the null sender's mail to
// real.example.
func startMilter(tb testing.TB, change func(*intake.MilterOptions)) *trap {
	tb.Helper()
	tr := &trap{sink: &sink{}, registry: prometheus.NewPedanticRegistry(), stopped: make(chan error, 1)}
	o := intake.MilterOptions{
		Addr: "127.0.0.1:0", Reporter: "local", Sink: tr.sink, Metrics: intake.NewMetrics(tr.registry),
		Takes: func(from, rcpt string) bool {
			return strings.HasSuffix(rcpt, "@trap.example") || from == "" && strings.HasSuffix(rcpt, "@real.example")
		},
	}
	if change != nil {
		change(&o)
	}
	m := intake.NewMilter(o)
	if err := m.Listen(); err != nil {
		tb.Fatal(err)
	}
	tr.addr = m.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	tr.stop = stop
	go func() { tr.stopped <- m.Serve(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := tr.wait(); err != nil {
			tb.Errorf("stop the milter: %v", err)
		}
	})
	return tr
}

// mta is a mail server's side of a milter session.
type mta struct {
	t       testing.TB
	session *milter.ClientSession
}

func (tr *trap) mta(tb testing.TB, client string) *mta {
	tb.Helper()
	c := milter.NewClientWithOptions("tcp", tr.addr, milter.ClientOptions{Dialer: &net.Dialer{Timeout: patience}, ReadTimeout: patience, WriteTimeout: patience})
	tb.Cleanup(func() { _ = c.Close() })
	s, err := c.Session()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	m := &mta{tb, s}
	m.want(s.Conn("mail.sender.example", milter.FamilyInet, 4711, client))
	m.want(s.Helo("he.sender.example"))
	return m
}

// want wants an answer that lets the message pass, and reports whether it was
// the last for this message.
func (m *mta) want(act *milter.Action, err error) (last bool) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	if act.Code != milter.ActContinue && act.Code != milter.ActAccept {
		m.t.Fatalf("the milter said %c", act.Code)
	}
	return act.Code == milter.ActAccept
}

// pass has a message pass, up to where the milter has seen enough of it.
func (m *mta) pass(from string, rcpts []string, fields [][2]string, body string) {
	m.t.Helper()
	m.want(m.session.Mail(from, nil))
	for _, rcpt := range rcpts {
		m.want(m.session.Rcpt(rcpt, nil))
	}
	for _, f := range fields {
		if m.want(m.session.HeaderField(f[0], f[1])) {
			return
		}
	}
	if m.want(m.session.HeaderEnd()) || m.want(m.session.BodyChunk([]byte(body))) {
		return
	}
	_, act, err := m.session.End()
	m.want(act, err)
}

func TestMilter(t *testing.T) {
	t.Parallel()
	tr := startMilter(t, nil)
	m := tr.mta(t, "192.0.2.66")
	fields := [][2]string{{"Subject", "failure notice"}, {"X-Folded", "a\n\tb"}, {"X-Empty", ""}}
	m.pass("", []string{"other@org.example", "x@real.example", "y@trap.example"}, fields, "Hi.\r\n")
	m.pass("joe@sender.example", []string{"x@real.example"}, fields, "Hi.\r\n") // one of its own
	m.pass("", []string{"other@org.example"}, fields, "Hi.\r\n")                // nobody's concern
	m.pass("joe@sender.example", []string{"z@trap.example"}, fields, "Hello.\r\n")
	m.want(m.session.Mail("", nil))
	m.want(m.session.Rcpt("x@trap.example", nil))
	m.want(m.session.HeaderField("Subject", "half"))
	if err := m.session.Abort(); err != nil {
		t.Fatal(err)
	}
	m.pass("", []string{"last@trap.example"}, fields, strings.Repeat("0123456789abcde\n", 3000))
	for _, own := range []string{"127.0.0.1", "127.0.0.9", "::ffff:127.0.0.1"} {
		tr.mta(t, own).pass("", []string{"x@trap.example"}, fields, "through a web form\r\n")
	}
	local := tr.mta(t, "")
	local.pass("", []string{"x@trap.example"}, fields, "written here\r\n") // nobody to accuse

	var got []evidence.Report
	for _, r := range tr.all() {
		if time.Since(r.Received) > patience {
			t.Errorf("received %s", r.Received)
		}
		r.Received = time.Time{}
		got = append(got, r)
	}
	report := func(from, text string, rcpts ...string) evidence.Report {
		return evidence.Report{
			Raw:  []byte("Subject: failure notice\r\nX-Folded: a\r\n\tb\r\nX-Empty: \r\n\r\n" + text),
			Held: true, Reporter: "local", Sensor: "milter",
			Envelope: evidence.Envelope{
				Client: netip.MustParseAddr("192.0.2.66"), HELO: "he.sender.example", PTR: "mail.sender.example",
				MailFrom: from, MailFromKnown: true, Recipients: rcpts,
			},
		}
	}
	same(t, "reports", []evidence.Report{
		report("", "Hi.\r\n", "x@real.example", "y@trap.example"),
		report("joe@sender.example", "Hello.\r\n", "z@trap.example"),
		report("", strings.Repeat("0123456789abcde\n", 3000), "last@trap.example"),
	}, got)
	same(t, "taken", "3", tr.metric(t, `backscatter_milter_messages_total{result="taken"}`))
}

// Whatever goes wrong behind the milter, mail passes.
func TestMilterNeverHolds(t *testing.T) {
	t.Parallel()
	fields := [][2]string{{"Subject", "x"}}
	rcpt := []string{"x@trap.example"}
	broken := startMilter(t, nil)
	broken.submit = func(context.Context, evidence.Report) error { return errors.New("disk full") }
	broken.mta(t, "192.0.2.66").pass("", rcpt, fields, "x")
	same(t, "failed", "1", broken.metric(t, `backscatter_milter_messages_total{result="failed"}`))

	leave := make(chan struct{})
	slow := startMilter(t, func(o *intake.MilterOptions) {
		o.Limits = intake.MilterLimits{Submit: 20 * time.Millisecond, Submissions: 1}
	})
	slow.submit = func(context.Context, evidence.Report) error { <-leave; return nil }
	m := slow.mta(t, "192.0.2.66")
	m.pass("", rcpt, fields, "one")
	m.pass("", rcpt, fields, "two")
	close(leave)
	same(t, "slow", "1", slow.metric(t, `backscatter_milter_messages_total{result="slow"}`))
	same(t, "overloaded", "1", slow.metric(t, `backscatter_milter_messages_total{result="overloaded"}`))
	slow.stop()
	if err := slow.wait(); err != nil { // and what was begun is finished
		t.Error(err)
	}
	same(t, "messages", 1, len(slow.all()))

	small := startMilter(t, func(o *intake.MilterOptions) { o.Limits = intake.MilterLimits{Memory: 1000} })
	m = small.mta(t, "192.0.2.66")
	m.pass("", rcpt, fields, strings.Repeat("x", 2000))
	m.pass("", rcpt, fields, "small")
	same(t, "messages", 1, len(small.all()))
	m.want(m.session.Mail("", nil))
	m.want(m.session.Rcpt("x@trap.example", nil))
	m.want(m.session.HeaderField("Subject", "never ends"))
	m.want(m.session.HeaderField("X-Large", strings.Repeat("x", 2000)))
	small.until(t, "backscatter_milter_message_memory_bytes", "0") // it is lost, and takes no room
	m.want(m.session.Mail("", nil))
	m.want(m.session.Rcpt("x@trap.example", nil))
	m.want(m.session.HeaderField("Subject", "never ends"))
	_ = m.session.Close() // in the middle
	small.until(t, "backscatter_milter_connections", "0")
	small.until(t, "backscatter_milter_message_memory_bytes", "0")

	full := startMilter(t, func(o *intake.MilterOptions) { o.Limits = intake.MilterLimits{Connections: 1} })
	full.mta(t, "192.0.2.66")
	over(t, "tcp", full.addr).want("closed") // at once
}
