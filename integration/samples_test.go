package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	dnstap "github.com/dnstap/golang-dnstap"
	"github.com/miekg/dns"
)

// TestSamples has a daemon log its questions, and send them to who reads dnstap. The
// log is turned over as logrotate does it, and dnstap-read of BIND's utilities understands
// what was sent.
func TestSamples(t *testing.T) {
	t.Parallel()
	read := peer(t, "dnstap-read", "bind9-dnsutils")
	dir := shortDir(t)
	log, socket, captured := filepath.Join(dir, "questions.log"), filepath.Join(dir, "tap.sock"), filepath.Join(dir, "captured")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	capture, err := dnstap.NewFrameStreamOutputFromFilename(captured)
	if err != nil {
		t.Fatal(err)
	}
	go capture.RunOutputLoop() // ends with capture.Close
	done := make(chan struct{})
	go func() { // ends with the daemon, which closes its connection
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in, err := dnstap.NewFrameStreamInputTimeout(conn, true, patience)
		if err != nil {
			t.Error(err)
			return
		}
		in.ReadInto(capture.GetOutputChannel())
	}()

	s := newSite(t, strings.Replace(quiet, `"127.0.0.1:0"]`, `"127.0.0.1:0"], query_log: {to: `+log+`, sample: 1, rate: 1000}, dnstap: {socket: `+socket+`}`, 1))
	d := s.start()
	udp, tcp := newAsker(t, "udp", d.dns), newAsker(t, "tcp", d.dns)
	udp.ask(t, "2.0.0.127.bl.example", dns.TypeA)
	tcp.ask(t, "1.0.0.127.bl.example", dns.TypeTXT)
	wantLines(t, log, "2.0.0.127.bl.example.", "1.0.0.127.bl.example.")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	s.must("reload")
	udp.ask(t, "3.0.0.127.bl.example", dns.TypeA)
	wantLines(t, log, "3.0.0.127.bl.example.")
	wantLines(t, log+".1", "2.0.0.127.bl.example.", "1.0.0.127.bl.example.")
	d.stop()
	<-done
	capture.Close()

	r := run(t, exec.Command(read, captured))
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 0 || len(lines) != 6 {
		t.Fatalf("dnstap-read: exit code %d, %d lines\n%s%s", r.code, len(lines), r.stdout, r.stderr)
	}
	for _, asked := range []struct {
		a        *asker
		over, of string
	}{{udp, "UDP", "2.0.0.127.bl.example/IN/A"}, {tcp, "TCP", "1.0.0.127.bl.example/IN/TXT"}, {udp, "UDP", "3.0.0.127.bl.example/IN/A"}} {
		for kind, arrow := range map[string]string{"AQ": "->", "AR": "<-"} {
			want := fmt.Sprintf("%s %s %s %s %s [0-9]+b %s", kind, asked.a.conn.LocalAddr(), arrow, d.dns, asked.over, asked.of)
			if !regexp.MustCompile(want).MatchString(r.stdout) {
				t.Errorf("dnstap-read tells nothing of %s:\n%s", want, r.stdout)
			}
		}
	}
}

// wantLines waits until a log has lines for the names, and no others.
func wantLines(t *testing.T, path string, names ...string) {
	t.Helper()
	eventually(t, "the questions are in "+path, func(context.Context) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			var fields struct{ Name, Client string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				return err
			}
			if fields.Client != "127.0.0.0/24" {
				t.Errorf("client %q", fields.Client)
			}
			got[fields.Name] = true
		}
		for _, name := range names {
			if !got[name] {
				return fmt.Errorf("nothing of %s in %q", name, text)
			}
		}
		if len(got) != len(names) {
			return fmt.Errorf("more than %q in %q", names, text)
		}
		return nil
	})
}
