package integration_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A secondary of another project: a program that takes zones from a primary and
// answers from them. Each is started with a key that the primary has too.

const transferKey = "transfer.example"

var transferSecret = base64.StdEncoding.EncodeToString([]byte("a secret of the tests, 32 octets"))

// secondaryProgram is how one is started.
type secondaryProgram struct {
	name, debian string
	config       func(dir string, port int, primary string, zones []string) string
	args         func(config string) []string
}

var secondaryPrograms = []secondaryProgram{
	{"nsd", "nsd", nsdConf, func(config string) []string { return []string{"-d", "-c", config} }},
	{"knotd", "knot", knotConf, func(config string) []string { return []string{"-c", config} }},
	{"named", "bind9", namedConf, func(config string) []string { return []string{"-g", "-n", "1", "-c", config} }},
}

func nsdConf(dir string, port int, primary string, zones []string) string {
	host, primaryPort, _ := strings.Cut(primary, ":")
	var b strings.Builder
	fmt.Fprintf(&b, `server:
  ip-address: 127.0.0.1@%[2]d
  username: ""
  chroot: ""
  zonesdir: "%[1]s"
  database: ""
  xfrdfile: "%[1]s/xfrd.state"
  zonelistfile: "%[1]s/zone.list"
  xfrdir: "%[1]s"
  pidfile: ""
  server-count: 1
  rrl-ratelimit: 0
  verbosity: 1
remote-control:
  control-enable: no
key:
  name: %[3]s
  algorithm: hmac-sha256
  secret: "%[4]s"
`, dir, port, transferKey, transferSecret)
	for _, zone := range zones {
		fmt.Fprintf(&b, "zone:\n  name: %s\n  zonefile: \"%s.zone\"\n  allow-notify: %s %s\n  request-xfr: %s@%s %s\n",
			zone, zone, host, transferKey, host, primaryPort, transferKey)
	}
	return b.String()
}

// knotHead is what a Knot says whether it is a primary or a secondary.
func knotHead(dir string, port int) string {
	return fmt.Sprintf(`server:
    listen: 127.0.0.1@%[2]d
    rundir: "%[1]s"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "%[1]s"
log:
  - target: stderr
    any: notice
key:
  - id: %[3]s
    algorithm: hmac-sha256
    secret: %[4]s
`, dir, port, transferKey, transferSecret)
}

func knotConf(dir string, port int, primary string, zones []string) string {
	var b strings.Builder
	b.WriteString(knotHead(dir, port))
	fmt.Fprintf(&b, `remote:
  - id: primary
    address: %[3]s
    key: %[2]s
acl:
  - id: notify
    key: %[2]s
    action: notify
template:
  - id: default
    storage: "%[1]s"
    zonefile-sync: -1
    journal-content: none
zone:
`, dir, transferKey, strings.Replace(primary, ":", "@", 1))
	for _, zone := range zones {
		fmt.Fprintf(&b, "  - domain: %s\n    master: primary\n    acl: notify\n", zone)
	}
	return b.String()
}

func namedConf(dir string, port int, primary string, zones []string) string {
	host, primaryPort, _ := strings.Cut(primary, ":")
	var b strings.Builder
	fmt.Fprintf(&b, `options {
  directory "%[1]s";
  listen-on port %[2]d { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion no;
  notify no;
  allow-transfer { none; };
  dnssec-validation no;
  empty-zones-enable no;
  serial-query-rate 1000;
  zero-no-soa-ttl no;
};
controls { };
key "%[3]s" { algorithm hmac-sha256; secret "%[4]s"; };
`, dir, port, transferKey, transferSecret)
	for _, zone := range zones {
		fmt.Fprintf(&b, "zone %q { type secondary; primaries { %s port %s key %s; }; file %q; };\n", zone, host, primaryPort, transferKey, zone+".db")
	}
	return b.String()
}

// secondary is a running one.
type secondary struct {
	*process
	name string
	addr string
	log  *logBuffer
}

// startSecondary starts a secondary of the zones, on a port that is free, and
// waits until it answers for all of them.
func startSecondary(t *testing.T, p secondaryProgram, primary string, zones ...string) *secondary {
	t.Helper()
	dir := shortDir(t)
	// AppArmor may keep the installed program, but not a copy, from our folder.
	path := filepath.Join(dir, p.name)
	if r := run(t, exec.Command("cp", peer(t, p.name, p.debian), path)); r.code != 0 {
		t.Fatalf("cp: %s", r.stderr)
	}
	for try := 1; ; try++ {
		if s := tryPort(t, p, path, filepath.Join(dir, fmt.Sprint(try)), primary, zones); s != nil {
			return s
		} else if try == 5 {
			t.Fatalf("%s does not start", p.name)
		}
	}
}

// tryPort starts a secondary on a port that was free. It returns nil when the
// program has ended, since somebody may have taken the port meanwhile.
func tryPort(t *testing.T, p secondaryProgram, path, dir, primary string, zones []string) *secondary {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	port := freePortOfBoth(t)
	config := filepath.Join(dir, "conf")
	if err := os.WriteFile(config, []byte(p.config(dir, port, primary, zones)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, p.args(config)...)
	s := &secondary{name: p.name, addr: fmt.Sprintf("127.0.0.1:%d", port), log: &logBuffer{}}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	s.process = launchGroup(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s says:\n%s", p.name, tail(s.log.String(), 4<<10))
		}
	})
	a := newAsker(t, "udp", s.addr)
	ended := false
	for _, zone := range zones {
		a.client.Timeout = 200 * time.Millisecond // it may not listen yet
		eventually(t, p.name+" answers for "+zone, func(context.Context) error {
			select {
			case <-s.ended:
				ended = true
				return nil
			default:
			}
			reply, err := a.try(zone, 6)
			if err == nil && len(reply.Answer) != 1 {
				err = fmt.Errorf("it says %s", outcome(reply))
			}
			return err
		})
	}
	if ended {
		t.Logf("%s ended by itself:\n%s", p.name, s.log.String())
		return nil
	}
	return s
}

// launchGroup is launch for a program that has processes of its own: all of them
// end with the test.
func launchGroup(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := launch(t, cmd)
	t.Cleanup(func() { _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }) // fails when all have ended
	return p
}

// freePortOfBoth finds a port that is free for UDP and TCP, and stays so unless
// somebody is given it by chance.
func freePortOfBoth(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			conn.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return 0
}

// TestSecondariesDocumented holds that what the documentation says is what the
// tests run, line by line, but for the secret.
func TestSecondariesDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../ops/docs/secondaries.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{
		"nsd":  nsdConf("/", 53, "192.0.2.1:53", []string{"bl.example"}),
		"knot": knotConf("/", 53, "192.0.2.1:53", []string{"bl.example"}),
		"bind": namedConf("/", 53, "192.0.2.1:53", []string{"bl.example"}),
	} {
		_, block, ok := strings.Cut(string(text), "```"+name+"\n")
		block, _, closed := strings.Cut(block, "```")
		if !ok || !closed {
			t.Errorf("no block for %s", name)
		}
		for line := range strings.Lines(strings.ReplaceAll(block, "the secret", transferSecret)) {
			if !strings.Contains(config, line) {
				t.Errorf("%s: the tests do not run %q", name, line)
			}
		}
	}
}
