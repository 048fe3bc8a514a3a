package integration_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// steady asks one question after the other over UDP, each once, and remembers
// which were answered.
type steady struct {
	conn     net.Conn
	asked    atomic.Int64
	answered atomic.Int64
	end      chan struct{}
	done     chan struct{}
}

// quiet is the configuration of a daemon that takes no mail in.
const quiet = loopback + `
intake: {smtp: {listen: ""}}
`

// interval leaves room: what is asked within ten seconds fits into the smallest
// buffer that a system gives a socket.
const interval = 20 * time.Millisecond

func askSteadily(t *testing.T, server string) *steady {
	t.Helper()
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	packet, err := new(dns.Msg).SetQuestion("2.0.0.127.bl.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	s := &steady{conn: conn, end: make(chan struct{}), done: make(chan struct{}, 2)}
	go func() { // ends with s.end
		defer func() { s.done <- struct{}{} }()
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-s.end:
				return
			case <-ticker.C:
			}
			binary.BigEndian.PutUint16(packet, uint16(s.asked.Add(1)))
			if _, err := conn.Write(packet); err != nil {
				t.Errorf("ask: %v", err) // such as that nobody has the port
				return
			}
		}
	}()
	go func() { // ends with conn
		defer func() { s.done <- struct{}{} }()
		buf := make([]byte, 1500)
		seen := map[uint16]bool{}
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || n < 12 || buf[3]&0xf != 0 || binary.BigEndian.Uint16(buf[6:]) != 1 {
				t.Errorf("answer %x, %v", buf[:n], err)
				return
			}
			if id := binary.BigEndian.Uint16(buf); !seen[id] {
				seen[id] = true
				s.answered.Add(1)
			}
		}
	}()
	return s
}

// stop wants an answer to each question.
func (s *steady) stop(t *testing.T) {
	t.Helper()
	close(s.end)
	<-s.done
	for end := time.Now().Add(patience); s.answered.Load() < s.asked.Load() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	s.conn.Close()
	<-s.done
	if asked, answered := s.asked.Load(), s.answered.Load(); answered != asked || asked == 0 {
		t.Errorf("%d of %d questions were answered", answered, asked)
	}
}

// TestRestartInPlace executes the daemon anew while it is asked: the process
// stays, no question over UDP is lost, and no connection refused.
func TestRestartInPlace(t *testing.T) {
	t.Parallel()
	s := newSite(t, quiet)
	d := s.start()
	// The port stays, and something changes that needs a restart.
	s.configure(strings.Replace(quiet, `"127.0.0.1:0"]`, `"`+d.dns+`"], hostname: second`, 1))
	before, err := d.client.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	load := askSteadily(t, d.dns)
	connected := make(chan struct{})
	over := make(chan struct{})
	go func() { // ends with over
		defer close(connected)
		for {
			select {
			case <-over:
				return
			default:
			}
			conn, err := net.DialTimeout("tcp", d.dns, patience)
			if err != nil {
				t.Errorf("connect: %v", err)
				return
			}
			a := asker{client: dns.Client{Net: "tcp", Timeout: patience}, conn: &dns.Conn{Conn: conn}}
			_, _ = a.try("2.0.0.127.bl.example", dns.TypeA) // one that is open at the end is made anew
			conn.Close()
			time.Sleep(interval)
		}
	}()
	for range 2 {
		if out := s.must("restart"); !strings.Contains(out, "restarted; version") {
			t.Errorf("said %q", out)
		}
	}
	after, err := d.client.Status(within(t))
	if err != nil || !after.Started.After(before.Started) {
		t.Errorf("started %s, and before %s: %v", after.Started, before.Started, err)
	}
	q := new(dns.Msg).SetQuestion("hostname.bind.", dns.TypeTXT)
	q.Question[0].Qclass = dns.ClassCHAOS
	reply, err := dns.Exchange(q, d.dns)
	if err != nil || len(reply.Answer) != 1 || reply.Answer[0].(*dns.TXT).Txt[0] != "second" {
		t.Errorf("the new configuration is not in force: %v, %v", reply, err)
	}

	// A configuration that would not start changes nothing.
	if err := os.WriteFile(s.config, []byte("state: "+s.state+"\nnonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, exec.Command(s.program, "restart", "--socket", s.state+"/control.sock"))
	if r.code != 1 || !strings.Contains(r.stderr, "nonsense: unknown key") || !strings.Contains(r.stderr, "nothing has changed") {
		t.Errorf("a wrong configuration: exit code %d, %s", r.code, r.stderr)
	}
	still, err := d.client.Status(within(t))
	if err != nil || !still.Started.Equal(after.Started) {
		t.Errorf("started %s, and before %s: %v", still.Started, after.Started, err)
	}
	close(over)
	<-connected
	load.stop(t)
	d.stop()
}
