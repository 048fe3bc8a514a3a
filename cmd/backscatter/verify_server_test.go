package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/listing"
	"backscatter/zonefile"
)

// faulty is a DNS server of one zone that answers as a good one does, but for what a
// test makes of its answers.
type faulty struct {
	records map[string][]string // by name and type, without the zone
	twist   func(m, reply *dns.Msg, tcp bool) *dns.Msg

	mu    sync.Mutex // guards times
	times map[string]int
}

func (f *faulty) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	q := m.Question[0]
	name, inside := strings.CutSuffix(q.Name, "bl.example.")
	reply := new(dns.Msg).SetReply(m)
	texts := f.records[name+" "+dns.TypeToString[q.Qtype]]
	switch {
	case !inside:
		reply.Rcode = dns.RcodeRefused
	case len(texts) == 0:
		reply.Rcode = dns.RcodeNameError
	}
	for _, text := range texts {
		rr, err := dns.NewRR(q.Name + " 60 IN " + dns.TypeToString[q.Qtype] + " " + text)
		if err != nil {
			panic(err)
		}
		reply.Answer = append(reply.Answer, rr)
	}
	if f.twist != nil {
		reply = f.twist(m, reply, w.RemoteAddr().Network() == "tcp")
	}
	if reply != nil {
		_ = w.WriteMsg(reply)
	}
}

// again counts how often the same was asked.
func (f *faulty) again(q dns.Question) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times[q.String()]++
	return f.times[q.String()]
}

// listenBoth listens on one port over TCP and UDP. One that is free over TCP may be
// another's over UDP: then it takes the next.
func listenBoth(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, p
		}
		if _ = l.Close(); try == 20 {
			t.Fatalf("no port is free over TCP and UDP: %v", err)
		}
	}
}

// serve answers over UDP and TCP until the test ends.
func (f *faulty) serve(t *testing.T) string {
	t.Helper()
	l, p := listenBoth(t)
	for _, s := range []*dns.Server{{Listener: l, Handler: f}, {PacketConn: p, Handler: f}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
	return l.Addr().String()
}

const mappedPoint = "%d.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."

// published is a list in a folder, and a server that has the same.
func published(t *testing.T) (dir string, f *faulty) {
	t.Helper()
	const serial = 1_795_325_400
	z := &zonefile.Zone{
		Name: "bl.example.", NS: []string{"ns1.bl.example."}, Hostmaster: "h.bl.example.", URL: "https://bl.example/",
		Classes: listing.ClassSetOf(listing.ClassBounce, listing.ClassManual),
	}
	s := listing.NewSnapshot(listing.Build{
		Sequence: serial, Time: time.Now().Add(-time.Hour),
		Entries: func(yield func(listing.Entry) bool) {
			yield(listing.Entry{Prefix: netip.MustParsePrefix("192.0.2.99/32"), Class: listing.ClassManual, Classes: listing.ClassSetOf(listing.ClassManual)})
		},
	})
	dir = filepath.Join(t.TempDir(), "exported")
	p, err := zonefile.NewPublisher(zonefile.PublisherOptions{
		Dir: dir, Zone: func() *zonefile.Zone { return z }, Formats: []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie},
		Every: time.Second, Snapshots: func() *listing.Snapshot { return s },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(time.Now().Add(-10 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	f = &faulty{times: map[string]int{}, records: map[string][]string{
		" SOA":             {fmt.Sprintf("ns1.bl.example. h.bl.example. %d 1 1 1 1", serial)},
		"99.2.0.192. A":    {"127.0.0.9"},
		"_status. TXT":     {`"serial=1" "time=2026-11-22T05:30:00Z" "entries=1"`},
		"2.0.0.127. A":     {"127.0.0.2"},
		"9.0.0.127. A":     {"127.0.0.9"},
		"2.0.0.127. TXT":   {point(2)},
		"9.0.0.127. TXT":   {point(9)},
		mapped(2) + " A":   {"127.0.0.2"},
		mapped(2) + " TXT": {point(2)},
	}}
	return dir, f
}

func mapped(last int) string { return fmt.Sprintf(mappedPoint, last) }

func point(last int) string {
	return fmt.Sprintf(`"https://bl.example/127.0.0.%d backscatter: test point, always listed (RFC 5782)"`, last)
}

// verifies runs the command, and wants one line of it.
func verifies(t *testing.T, args ...string) (code int, line string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"verify"}, args...), streams{in: strings.NewReader(""), out: &out, err: &errs})
	line = out.String() + errs.String()
	if strings.Count(line, "\n") != 1 && code != exitUsage {
		t.Errorf("%q: said %q, want one line", args, line)
	}
	return code, line
}

func TestVerifyServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		against bool
		args    []string
		change  map[string][]string
		twist   func(f *faulty) func(m, reply *dns.Msg, tcp bool) *dns.Msg
		code    int
		want    string
	}{
		"good, without an export": {want: "is good: bl.example, serial 1795325400, age not told, 1 entries, 0 addresses compared"},
		"good, as the export":     {against: true, want: "old, 1 entries, 2 addresses compared"},
		"an age that is not told": {args: []string{"--max-age", "1h"}, code: 1, want: "does not tell how old it is"},
		"the age of the export":   {against: true, args: []string{"--max-age", "1m"}, code: 1, want: "old, and may be 1m0s"},
		"an old mirror": {
			change: map[string][]string{"_status. TXT": {`"serial=1" "entries=1" "mirror=2026-01-01T00:00:00Z" "age=1"`}}, code: 1, want: "old, and may be 48h0m0s",
		},
		"the publisher itself":                 {change: map[string][]string{"_status. TXT": {`"entries=1" "evidence=2020-01-01T00:00:00Z" "age=1"`}}, args: []string{"--max-age", "1h"}, want: " 0 s old"},
		"no status, as of rbldnsd":             {against: true, change: map[string][]string{"_status. TXT": nil}, want: "old, 2 addresses compared"},
		"other entries":                        {against: true, change: map[string][]string{"_status. TXT": {`"entries=0"`}}, code: 1, want: "it tells of 0 entries, and the export has 1"},
		"entries that the zone does not carry": {against: true, change: map[string][]string{"_status. TXT": {`"entries=7"`}}, want: "is good"},
		"a code that is none of the zone":      {against: true, change: map[string][]string{"3.0.0.127. A": {"127.0.0.3"}, "3.0.0.127. TXT": {point(3)}}, code: 1, want: `test point 3.0.0.127 answers "127.0.0.3", want ""`},
		"a code that is missing":               {against: true, change: map[string][]string{"9.0.0.127. A": nil}, code: 1, want: `test point 9.0.0.127 answers "", want "127.0.0.9"`},
		"another code's":                       {change: map[string][]string{"9.0.0.127. A": {"127.0.0.2"}}, code: 1, want: `test point 9.0.0.127 answers "127.0.0.2"`},
		"127.0.0.1 listed":                     {change: map[string][]string{"1.0.0.127. A": {"127.0.0.2"}}, code: 1, want: `test point 1.0.0.127 answers "127.0.0.2", want ""`},
		"no mapped test point":                 {change: map[string][]string{mapped(2) + " A": nil}, code: 1, want: "test point " + strings.TrimSuffix(mapped(2), ".") + ` answers ""`},
		"no text":                              {change: map[string][]string{"2.0.0.127. TXT": nil}, code: 1, want: `text of the test point 2.0.0.127 is ""`},
		"another text":                         {against: true, change: map[string][]string{"9.0.0.127. TXT": {`"listed"`}}, code: 1, want: `text of the test point 9.0.0.127 is "listed"`},
		"an entry that is missing":             {against: true, change: map[string][]string{"99.2.0.192. A": nil}, code: 1, want: `192.0.2.99 answers "", want "127.0.0.9"`},
		"datagrams that are lost": {against: true, want: "is good", twist: func(f *faulty) func(m, reply *dns.Msg, tcp bool) *dns.Msg {
			return func(m, reply *dns.Msg, tcp bool) *dns.Msg {
				if lost := strings.HasPrefix(m.Question[0].Name, "99."); lost && f.again(m.Question[0]) == 1 && !tcp {
					return nil
				}
				return reply
			}
		}},
		"answers that are cut off": {against: true, want: "is good", twist: func(*faulty) func(m, reply *dns.Msg, tcp bool) *dns.Msg {
			return func(m, reply *dns.Msg, tcp bool) *dns.Msg {
				if !tcp {
					reply = new(dns.Msg).SetReply(m)
					reply.Truncated = true
				}
				return reply
			}
		}},
		"servers that fail": {code: 1, want: "SERVFAIL", twist: func(*faulty) func(m, reply *dns.Msg, tcp bool) *dns.Msg {
			return func(m, _ *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(m, dns.RcodeServerFailure) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, f := published(t)
			maps.Copy(f.records, c.change)
			if c.twist != nil {
				f.twist = c.twist(f)
			}
			args := append([]string{f.serve(t), "--zone", "bl.example"}, c.args...)
			if c.against {
				args = append(args, "--against", dir)
			}
			if code, line := verifies(t, args...); code != c.code || !strings.Contains(line, c.want) {
				t.Errorf("code %d, %s want %d and %q", code, line, c.code, c.want)
			}
		})
	}
}

// What was asked wrongly is no finding about an export or a server.
func TestVerifyAskedWrongly(t *testing.T) {
	t.Parallel()
	dir, f := published(t)
	configured := func(text string) string {
		name := filepath.Join(t.TempDir(), "backscatter.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	bad := configured("colour: blue\n")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{dir, "--config", bad}, exitUsage, "colour: unknown key"},
		{[]string{dir, "--key", "nonsense"}, exitUsage, "--key: no public key"},
		{[]string{f.serve(t), "--against", dir, "--key", "nonsense"}, exitUsage, "--key: no public key"},
		{[]string{f.serve(t), "--config", configured("mirror: {zone: bl.example}\nzones: [{name: other.example, ns: [ns.example]}]\n")}, exitDone, "is good: bl.example"},
		{[]string{f.serve(t), "--config", configured("mirror: {unsigned: true}\n")}, exitUsage, "say with --zone which zone"},
		{[]string{f.serve(t), "--config", configured("zones: [{name: other.example, ns: [ns.example]}, {name: bl.example, ns: [ns.example]}]\n")}, exitFailed, "it has no zone other.example.: REFUSED"},
	} {
		if code, line := verifies(t, c.args...); code != c.code || !strings.Contains(line, c.want) {
			t.Errorf("%q: code %d, %s want %d and %q", c.args, code, line, c.code, c.want)
		}
	}
}

// Of an export it is said whether its signature was looked at, and all that is wrong
// with it on one line.
func TestVerifyExport(t *testing.T) {
	t.Parallel()
	dir, _ := published(t)
	if code, line := verifies(t, dir); code != exitDone || !strings.Contains(line, "1 entries, not signed") {
		t.Errorf("code %d, %s", code, line)
	}
	if err := os.WriteFile(filepath.Join(dir, zonefile.SignatureName), []byte("untrusted\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, line := verifies(t, dir); code != exitDone || !strings.Contains(line, "1 entries, signature not checked") {
		t.Errorf("code %d, %s", code, line)
	}
	files, err := filepath.Glob(filepath.Join(dir, "bl.example.*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte("127.0.0.2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, line := verifies(t, dir); code != exitFailed || !strings.Contains(line, "has not the") {
		t.Errorf("code %d, %s", code, line)
	}
}
