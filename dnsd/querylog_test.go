package dnsd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"backscatter/dnsd"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// file is a log in memory. While its gate is held, writing to it waits, as on a
// disk that is stuck.
type file struct {
	gate   sync.Mutex
	mu     sync.Mutex // guards what follows
	text   bytes.Buffer
	closed bool
}

func (f *file) Write(p []byte) (int, error) {
	f.gate.Lock()
	defer f.gate.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *file) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

// lines returns the lines of a log, without what differs each time.
func (f *file) lines(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(f.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m["time"] == "" || m["level"] != "INFO" || m["msg"] != "dns question" {
			t.Errorf("line %v", m)
		}
		for _, key := range []string{"time", "level", "msg", "octets"} {
			delete(m, key)
		}
		out = append(out, m)
	}
	return out
}

// samples returns how many samples of a stream came to an end.
func samples(t *testing.T, g prometheus.Gatherer, stream, outcome string) int {
	t.Helper()
	return int(counted(t, g, "backscatter_dns_samples_total", map[string]string{"stream": stream, "outcome": outcome}))
}

// TestQueryLog wants a line for each question, by whatever way it was answered,
// and the clients' addresses only where that is wanted.
func TestQueryLog(t *testing.T) {
	t.Parallel()
	o, registry := options(t), prometheus.NewRegistry()
	o.Listen, o.Metrics = append(o.Listen, "[::1]:0"), registry
	s, stop := start(t, o)
	v4, v6 := s.Addrs()[0], s.Addrs()[1]
	first, second := &file{}, &file{}
	chaos := question("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	edns := question("192.bL.example.", dns.TypeNS)
	edns.SetEdns0(1232, true)

	exchange(t, dnsd.UDP, v4, packed(t, question("67.2.0.192.bl.example.", dns.TypeA))) // nobody logs yet
	s.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1000, To: first})
	exchange(t, dnsd.UDP, v4, packed(t, question("66.2.0.192.bl.example.", dns.TypeA))) // fast path
	exchange(t, dnsd.UDP, v6, packed(t, edns))
	exchange(t, dnsd.UDP, v4, packed(t, chaos)) // general path
	exchange(t, dnsd.UDP, v4, raw(0, [4]uint16{}))
	eventually(t, "four lines are written", func() bool { return samples(t, registry, "query_log", "written") == 4 })
	exchange(t, dnsd.TCP, v4, packed(t, question("65.2.0.192.bl.example.", dns.TypeTXT)))
	eventually(t, "the fifth is written", func() bool { return samples(t, registry, "query_log", "written") == 5 })
	s.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1000, Whole: true, To: second})
	eventually(t, "the first file is closed", func() bool { first.mu.Lock(); defer first.mu.Unlock(); return first.closed })
	exchange(t, dnsd.UDP, v4, packed(t, question("www.example.net.", dns.TypeMX)))
	stop()

	type m = map[string]any
	if diff := cmp.Diff([]m{
		{"client": "127.0.0.0/24", "transport": "tcp", "name": "65.2.0.192.bl.example.", "class": "IN", "type": "TXT", "edns": false, "do": false, "kind": "unlisted", "rcode": "NXDOMAIN", "truncated": false, "cookie": "none"},
		{"client": "127.0.0.0/24", "transport": "udp", "name": "66.2.0.192.bl.example.", "class": "IN", "type": "A", "edns": false, "do": false, "kind": "listed", "rcode": "NOERROR", "truncated": false, "cookie": "none"},
		{"client": "127.0.0.0/24", "transport": "udp", "kind": "malformed", "rcode": "FORMERR", "truncated": false, "cookie": "none"},
		{"client": "127.0.0.0/24", "transport": "udp", "name": "version.bind.", "class": "CH", "type": "TXT", "edns": false, "do": false, "kind": "chaos", "rcode": "NOERROR", "truncated": false, "cookie": "none"},
		{"client": "::/56", "transport": "udp", "name": "192.bL.example.", "class": "IN", "type": "NS", "edns": true, "do": true, "kind": "partial", "rcode": "NOERROR", "truncated": false, "cookie": "none"},
	}, sortedBy(first.lines(t), "client", "transport", "name")); diff != "" {
		t.Errorf("first file (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]m{
		{"client": "127.0.0.1", "transport": "udp", "name": "www.example.net.", "class": "IN", "type": "MX", "edns": false, "do": false, "kind": "refused", "rcode": "REFUSED", "truncated": false, "cookie": "none"},
	}, second.lines(t)); diff != "" || !second.closed {
		t.Errorf("second file, closed %v (-want +got):\n%s", second.closed, diff)
	}
}

// TestQueryLogInTheLog wants the lines among the others of the server.
func TestQueryLogInTheLog(t *testing.T) {
	t.Parallel()
	o, log := options(t), &file{}
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	s := serve(t, o)
	s.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1000})
	exchange(t, dnsd.UDP, s.Addrs()[0], packed(t, question("66.2.0.192.bl.example.", dns.TypeA)))
	eventually(t, "the line is there", func() bool {
		return strings.Contains(log.String(), `msg="dns question" client=127.0.0.0/24 transport=udp name=66.2.0.192.bl.example.`)
	})
}

// TestQueryLogSamples wants one question of so many, and no more in a second
// than are wanted; what is left out is counted.
func TestQueryLogSamples(t *testing.T) {
	t.Parallel()
	o, registry := options(t), prometheus.NewRegistry()
	o.Metrics, o.Limits = registry, dnsd.Limits{UDPWorkers: 1}
	s := serve(t, o)
	ask := func() { askMany(t, s.Addrs()[0], 320) }
	log := &file{}
	s.LogQueries(&dnsd.QueryLog{Sample: 10, Rate: 1000, To: log})
	ask()
	eventually(t, "32 lines are written", func() bool { return samples(t, registry, "query_log", "written") == 32 })
	s.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1, To: &file{}})
	ask()
	eventually(t, "each of 320 came to an end", func() bool {
		return samples(t, registry, "query_log", "written")+samples(t, registry, "query_log", "lost_rate") == 352
	})
	if n := samples(t, registry, "query_log", "lost_rate"); n < 100 {
		t.Errorf("%d of 320 at once are beyond one a second", n)
	}
	if n := len(log.lines(t)); n != 32 {
		t.Errorf("%d lines for 32 samples", n)
	}
}

// TestQueryLogNeverWaits asks much while the log cannot be written: all is
// answered, and each line that could not be kept is counted.
func TestQueryLogNeverWaits(t *testing.T) {
	t.Parallel()
	o, registry := options(t), prometheus.NewRegistry()
	o.Metrics, o.Limits = registry, dnsd.Limits{UDPWorkers: 1}
	s := serve(t, o)
	log := &file{}
	log.gate.Lock()
	write := sync.OnceFunc(log.gate.Unlock)
	t.Cleanup(write)
	s.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1e9, To: log})
	const all = 3200
	askMany(t, s.Addrs()[0], all)
	write()
	eventually(t, "each came to an end", func() bool {
		return samples(t, registry, "query_log", "written")+samples(t, registry, "query_log", "lost_full") == all
	})
	if n := samples(t, registry, "query_log", "lost_full"); n == 0 {
		t.Error("nothing was lost, so the log was written")
	}
	if n := len(log.lines(t)); n != samples(t, registry, "query_log", "written") {
		t.Errorf("%d lines, %d counted", n, samples(t, registry, "query_log", "written"))
	}
}

// askMany asks a question so many times, and wants as many answers.
func askMany(t *testing.T, addr net.Addr, all int) {
	t.Helper()
	const together = 32
	request := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	for range all / together {
		conn := dial(t, "udp", addr)
		for range together {
			send(t, conn, request)
		}
		for range together {
			receiveUDP(t, conn)
		}
		conn.Close()
	}
}

// broken is a file on a disk that is full.
type broken struct{ file }

func (*broken) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left") }

// TestQueryLogFails wants what could not be written to be counted, and told.
func TestQueryLogFails(t *testing.T) {
	t.Parallel()
	o, registry, log := options(t), prometheus.NewRegistry(), &file{}
	o.Metrics, o.Logger = registry, slog.New(slog.NewTextHandler(log, nil))
	s := serve(t, o)
	s.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1000, To: &broken{}})
	for n := 1; n < 4; n++ {
		exchange(t, dnsd.UDP, s.Addrs()[0], packed(t, question("66.2.0.192.bl.example.", dns.TypeA)))
		eventually(t, "the line is lost", func() bool { return samples(t, registry, "query_log", "lost_peer") == n })
	}
	if !strings.Contains(log.String(), "no space left") {
		t.Errorf("log %s", log)
	}
}

// sortedBy sorts lines by the text of some keys.
func sortedBy(lines []map[string]any, keys ...string) []map[string]any {
	text := func(m map[string]any) string {
		out := ""
		for _, key := range keys {
			out += fmt.Sprint(m[key], "|")
		}
		return out
	}
	slices.SortStableFunc(lines, func(a, b map[string]any) int { return strings.Compare(text(a), text(b)) })
	return lines
}
