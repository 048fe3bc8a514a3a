package intake_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

// patience bounds everything that a test waits for.
const patience = 30 * time.Second

// sink keeps the reports that it takes.
type sink struct {
	mu      sync.Mutex
	reports []evidence.Report
	submit  func(ctx context.Context, r evidence.Report) error // before taking; nil: take all
}

func (s *sink) Submit(ctx context.Context, r evidence.Report) (evidence.Finding, error) {
	if s.submit != nil {
		if err := s.submit(ctx, r); err != nil {
			return evidence.Finding{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Raw = []byte(string(r.Raw)) // the trap may use the memory again
	s.reports = append(s.reports, r)
	return evidence.Finding{Verdict: evidence.Unproven}, nil
}

func (s *sink) all() []evidence.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]evidence.Report(nil), s.reports...)
}

// texts returns the messages that the sink took.
func (s *sink) texts() []string {
	var out []string
	for _, r := range s.all() {
		if !r.Callout {
			out = append(out, string(r.Raw))
		}
	}
	return out
}

// trap is a running SMTP trap for trap.example and one address of org.example.
type trap struct {
	*sink
	addr     string
	registry *prometheus.Registry
	stop     context.CancelFunc
	stopped  chan error
}

func start(tb testing.TB, change func(*intake.SMTPOptions)) *trap {
	tb.Helper()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example"}, {Address: "left@org.example"}})
	if err != nil {
		tb.Fatal(err)
	}
	tr := &trap{sink: &sink{}, registry: prometheus.NewPedanticRegistry(), stopped: make(chan error, 1)}
	o := intake.SMTPOptions{
		Addr: "127.0.0.1:0", Hostname: "mx.trap.example", Reporter: "local",
		Traps: func() *evidence.Traps { return traps }, Sink: tr.sink,
		Metrics: intake.NewMetrics(tr.registry),
	}
	if change != nil {
		change(&o)
	}
	s := intake.NewSMTP(o)
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	tr.addr = s.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	tr.stop = stop
	go func() { tr.stopped <- s.Serve(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := tr.wait(); err != nil {
			tb.Errorf("stop the trap: %v", err)
		}
	})
	return tr
}

// wait waits for Serve to return.
func (tr *trap) wait() error {
	select {
	case err := <-tr.stopped:
		tr.stopped <- err
		return err
	case <-time.After(patience):
		return errors.New("still serving")
	}
}

// metric returns the value of a metric in Prometheus' text form, 0 without one.
func (tr *trap) metric(tb testing.TB, name string) string {
	tb.Helper()
	family, _, _ := strings.Cut(name, "{")
	text, err := testutil.GatherAndFormat(tr.registry, expfmt.TypeTextPlain, family)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "0"
}

// until waits for a metric to have a value.
func (tr *trap) until(tb testing.TB, name, value string) {
	tb.Helper()
	for end := time.Now().Add(patience); tr.metric(tb, name) != value; {
		if time.Now().After(end) {
			tb.Fatalf("%s is %s, want %s", name, tr.metric(tb, name), value)
		}
		select { // poll
		case <-tr.stopped:
			tb.Fatal("the trap stopped")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// client speaks SMTP to the trap as a test wants it, right or wrong.
type client struct {
	t    testing.TB
	conn *net.TCPConn
	out  io.Writer // conn, or TLS upon it
	in   *bufio.Reader
}

func (tr *trap) dial(tb testing.TB, local string) *client {
	tb.Helper()
	d := net.Dialer{Timeout: patience}
	if local != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0))
	}
	conn, err := d.DialContext(context.Background(), "tcp", tr.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return &client{t: tb, conn: conn.(*net.TCPConn), out: conn, in: bufio.NewReader(conn)}
}

// send sends text as it is.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.out, text); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

// reply returns the next reply, of all its lines, or what ended the session.
func (c *client) reply() string {
	c.t.Helper()
	var reply strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if errors.Is(err, io.EOF) || err != nil && strings.Contains(err.Error(), "reset by peer") {
			return reply.String() + "closed"
		}
		if err != nil {
			c.t.Fatalf("wait for a reply after %q: %v", reply.String(), err)
		}
		reply.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return reply.String()
		}
	}
}

// want reads a reply and compares its beginning.
func (c *client) want(prefix string) {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("reply %q, want %q", got, prefix)
	}
}

// step is what a client sends, and the beginnings of the replies to it.
type step struct {
	send string
	want []string
}

func (c *client) run(steps []step) {
	c.t.Helper()
	for _, s := range steps {
		c.send(s.send)
		for _, w := range s.want {
			if got := c.reply(); !strings.HasPrefix(got, w) {
				c.t.Fatalf("after %.60q: reply %q, want %q", s.send, got, w)
			}
		}
	}
}

// greeted is a client that has said EHLO.
func (tr *trap) greeted(tb testing.TB) *client {
	tb.Helper()
	c := tr.dial(tb, "")
	c.run([]step{{"", []string{"220 mx.trap.example ESMTP"}}, {"EHLO mx.sender.example\r\n", []string{"250"}}})
	return c
}

// toData brings a client to where the message begins.
func (c *client) toData() {
	c.t.Helper()
	c.run([]step{
		{"MAIL FROM:<>\r\n", []string{"250"}},
		{"RCPT TO:<x@trap.example>\r\n", []string{"250"}},
		{"DATA\r\n", []string{"354"}},
	})
}

const bounce = "From: MAILER-DAEMON@mx.sender.example\r\nSubject: failure notice\r\n\r\nHi.\r\n"

func same[T any](tb testing.TB, what string, want, got T) {
	tb.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
