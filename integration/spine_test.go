package integration_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// quick is a configuration that lists at once what two bounces prove.
const quick = loopback + `
intake: {smtp: {listen: "127.0.0.1:0"}}
traps: [{domain: trap.example}]
policy: {profile: solo, score: 2, originals: 2, recipients: 0, span: 0s, listable: [192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, "2001:db8::/32"]}
`

// digger asks with dig.
type digger struct {
	t          *testing.T
	path       string
	host, port string
}

func newDigger(t *testing.T, server string) *digger {
	t.Helper()
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	return &digger{t, peer(t, "dig", "bind9-dnsutils"), host, port}
}

// dig returns what dig prints with the given arguments. It asks from an address
// that is not the server's: it shares ports as the server does, and may be given
// the server's own.
func (d *digger) dig(args ...string) string {
	d.t.Helper()
	r := run(d.t, exec.Command(d.path, append([]string{"@" + d.host, "-p", d.port, "-b", "127.0.0.2", "+tries=1", "+time=5"}, args...)...))
	if r.code != 0 {
		d.t.Fatalf("dig %v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

var digSerial = regexp.MustCompile(`^\S+ \S+ (\d+) `)

func (d *digger) serial() (serial uint32) {
	d.t.Helper()
	out := d.dig("+short", "bl.example", "SOA")
	m := digSerial.FindStringSubmatch(out)
	if m == nil {
		d.t.Fatalf("SOA: %q", out)
	}
	fmt.Sscan(m[1], &serial)
	return serial
}

// moved wants the serial to be newer than before, in the order of RFC 1982,
// and returns it.
func (d *digger) moved(before uint32) uint32 {
	d.t.Helper()
	now := d.serial()
	if int32(now-before) <= 0 {
		d.t.Errorf("serial %d after %d", now, before)
	}
	return now
}

// TestFromBounceToAnswerAndBack is the life of a listing, as mail clients and
// DNS clients see it.
func TestFromBounceToAnswerAndBack(t *testing.T) {
	t.Parallel()
	swaks := peer(t, "swaks", "swaks")
	d := startDaemon(t, quick)
	dig := newDigger(t, d.dns)
	const name = "66.2.0.192.bl.example"
	serial := dig.serial()
	if out := dig.dig(name, "A"); !strings.Contains(out, "status: NXDOMAIN") {
		t.Errorf("before: %s", out)
	}

	// One bounce proves too little.
	for n, listed := range []bool{false, true} {
		m := bounceFrom("192.0.2.66")
		path := filepath.Join(d.site.dir, m.id+".eml")
		if err := os.WriteFile(path, []byte(m.text()), 0o600); err != nil {
			t.Fatal(err)
		}
		r := run(t, exec.Command(swaks, "--server", d.smtp, "--helo", "mx.trap.example", "--from", "<>", "--to", m.rcpt, "--data", "@"+path))
		if r.code != 0 || !strings.Contains(r.stdout, "<-  250") {
			t.Fatalf("swaks: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		if got := dig.dig("+short", name, "A") == "127.0.0.2\n"; got != listed {
			t.Fatalf("after %d bounces listed is %t", n+1, got)
		}
	}
	serial = dig.moved(serial)
	for _, transport := range []string{"+notcp", "+tcp"} {
		if out := dig.dig(transport, "+short", name, "A"); out != "127.0.0.2\n" {
			t.Errorf("A %s: %q", transport, out)
		}
		out := dig.dig(transport, "+short", name, "TXT")
		if !strings.HasPrefix(out, `"https://bl.example/192.0.2.66 `) || !strings.Contains(out, " 2 bounces ") || strings.Count(out, "\n") != 1 {
			t.Errorf("TXT %s: %q", transport, out)
		}
	}

	d.site.must("delist", "192.0.2.66", "--reason", "mended")
	for _, transport := range []string{"+notcp", "+tcp"} {
		if out := dig.dig(transport, name, "A"); !strings.Contains(out, "status: NXDOMAIN") {
			t.Errorf("after the delist %s: %s", transport, out)
		}
	}
	dig.moved(serial)
	d.stop()
}

// TestTrapIsNoRelay hands the trap a message for somebody else.
func TestTrapIsNoRelay(t *testing.T) {
	t.Parallel()
	swaks := peer(t, "swaks", "swaks")
	d := startDaemon(t, quick)
	r := run(t, exec.Command(swaks, "--server", d.smtp, "--from", "<>", "--to", "somebody@elsewhere.example"))
	if r.code == 0 || !strings.Contains(r.stdout, "<** 554") {
		t.Errorf("swaks: exit code %d\n%s", r.code, r.stdout)
	}
}

// TestDemo does what the demonstration says can be done, word by word.
func TestDemo(t *testing.T) {
	t.Parallel()
	peer(t, "dig", "bind9-dnsutils")
	program, err := programs.tested()
	if err != nil {
		t.Fatal(err)
	}
	tmp := shortDir(t)
	var out, log logBuffer
	cmd := exec.Command(program, "serve", "--demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = &out, &log
	demo := launch(t, cmd)
	eventually(t, "the demonstration says what to try", func(context.Context) error {
		if !strings.Contains(out.String(), "Ctrl-C") {
			return fmt.Errorf("%s%s", out.String(), log.String())
		}
		return nil
	})

	// shell runs the line that begins with the words, with the program for what
	// would build it first.
	shell := func(words string) result {
		t.Helper()
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, words) {
				return run(t, exec.Command("sh", "-c", strings.Replace(line, "go run ./cmd/backscatter", program, 1)))
			}
		}
		t.Fatalf("the demonstration tells no %q:\n%s", words, out.String())
		return result{}
	}
	if r := shell("dig "); r.stdout != "127.0.0.2\n" {
		t.Errorf("dig prints %q", r.stdout)
	}
	if r := shell("go run ./cmd/backscatter show"); r.code != 0 || !strings.Contains(r.stdout, "192.0.2.66") {
		t.Errorf("show: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := shell("go run ./cmd/backscatter delist"); r.code != 0 {
		t.Errorf("delist: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := shell("dig "); r.stdout != "" {
		t.Errorf("after the delist dig prints %q", r.stdout)
	}

	if err := demo.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := demo.wait(t); code != 0 {
		t.Errorf("the demonstration ended with exit code %d\n%s", code, log.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("the demonstration left %v (%v)", left, err)
	}
}
