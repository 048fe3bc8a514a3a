package integration_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// consumer is a program that answers from fetched files. It is configured by the
// block of its name in ops/docs/mirrors.md, behind what makes it run in a test.
type consumer struct {
	name, program, debian string
	around                func(t *testing.T, dir string, port int) string
	args                  func(config string) []string
}

// consumers are those that take the zone file.
var consumers = []consumer{
	{"bind", "named", "bind9", func(_ *testing.T, dir string, port int) string {
		return namedConf(dir, port, ":", nil)
	}, func(config string) []string { return []string{"-g", "-n", "1", "-c", config} }},
	{"nsd", "nsd", "nsd", func(_ *testing.T, dir string, port int) string {
		return nsdConf(dir, port, ":", nil)
	}, func(config string) []string { return []string{"-d", "-c", config} }},
	{"knot", "knotd", "knot", func(_ *testing.T, dir string, port int) string {
		return strings.TrimSuffix(knotConf(dir, port, "127.0.0.1:53", nil), "zone:\n")
	}, func(config string) []string { return []string{"-c", config} }},
	{"pdns", "pdns_server", "pdns-server", aroundPDNS, func(config string) []string {
		return []string{"--config-dir=" + filepath.Dir(config)}
	}},
	{"unbound", "unbound", "unbound", aroundUnbound, func(config string) []string { return []string{"-d", "-p", "-c", config} }},
}

// rbldnsdConsumer takes rbldnsd's formats. Its block is a command.
var rbldnsdConsumer = consumer{"rbldnsd", "rbldnsd", "rbldnsd", func(*testing.T, string, int) string { return "" }, func(config string) []string {
	command, err := os.ReadFile(config)
	if err != nil {
		return []string{"-?"} // it ends, and the test tells of it
	}
	return strings.Fields(strings.ReplaceAll(string(command), "\\\n", " "))[1:]
}}

// aroundPDNS writes what pdns.conf names, and a pdns.conf that takes the rest from
// the file that the caller writes.
func aroundPDNS(t *testing.T, dir string, port int) string {
	t.Helper()
	main := fmt.Sprintf("include-dir=%[1]s/parts\nlocal-address=127.0.0.1\nlocal-port=%[2]d\nsocket-dir=%[1]s\nguardian=no\ndaemon=no\nlog-timestamp=no\n", dir, port)
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "parts"), 0o700),
		os.Symlink("../conf", filepath.Join(dir, "parts", "backscatter.conf")),
		os.WriteFile(filepath.Join(dir, "pdns.conf"), []byte(main), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return ""
}

func aroundUnbound(_ *testing.T, dir string, port int) string {
	return fmt.Sprintf(`server:
  interface: 127.0.0.1@%[2]d
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "%[1]s"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow_snoop
  num-threads: 1
  private-address: 127.0.0.0/8
remote-control:
  control-enable: no
`, dir, port)
}

// startConsumer starts one on the fetched files, and waits until it answers.
func (c *chain) startConsumer(t *testing.T, p consumer, fetched string) *asker {
	t.Helper()
	program := secondaryProgram{p.program, p.debian, func(dir string, port int, _ string, _ []string) string {
		replace := mirroredAt(fetched)
		switch p.name {
		case "pdns":
			zone := filepath.Join(dir, "zone.conf")
			if err := os.WriteFile(zone, []byte(documented(t, "pdnszone", replace)), 0o600); err != nil {
				t.Fatal(err)
			}
			replace = map[string]string{"/etc/powerdns/backscatter.conf": zone}
		case "rbldnsd":
			replace["192.0.2.53/53"] = fmt.Sprintf("127.0.0.1/%d", port)
		}
		return p.around(t, dir, port) + documented(t, p.name, replace)
	}, p.args}
	return newAsker(t, "udp", startSecondary(t, program, "", "bl.example").addr)
}

// TestExceptions takes a host off the list for the clients of one resolver, as the
// page says.
func TestExceptions(t *testing.T) {
	t.Parallel()
	peer(t, "unbound", "unbound")
	c := newChain(t)
	c.list("192.0.2.66", "192.0.2.67")
	fetched := c.mustFetch("mirrored")
	c.write("exceptions.zone", documented(t, "exceptionszone", nil), 0o644)
	program := secondaryProgram{"unbound", "unbound", func(dir string, port int, _ string, _ []string) string {
		replace := mirroredAt(fetched)
		replace["/etc/unbound/exceptions.zone"] = c.file("exceptions.zone")
		return aroundUnbound(t, dir, port) + documented(t, "exceptions", replace)
	}, consumers[len(consumers)-1].args}
	resolver := newAsker(t, "udp", startSecondary(t, program, "", "bl.example").addr)
	resolver.recurse = true
	for name, want := range map[string]string{
		"66.2.0.192.bl.example": "NXDOMAIN", "67.2.0.192.bl.example": listedByHand, "68.2.0.192.bl.example": "NXDOMAIN", "2.0.0.127.bl.example": "127.0.0.2",
	} {
		if got := resolver.data(t, name, dns.TypeA); got != want {
			t.Errorf("%s is answered with %s, want %s", name, got, want)
		}
	}
}

func mirroredAt(fetched string) map[string]string {
	return map[string]string{"/var/lib/backscatter/mirrored": fetched}
}

var docBlock = regexp.MustCompile("(?s)```[a-z]+ ([a-z]+)\n(.*?)```")

// documented returns a block of the page about mirrors, with what is only so on
// the machine of the page replaced.
func documented(t *testing.T, name string, replace map[string]string) string {
	t.Helper()
	page, err := os.ReadFile("../ops/docs/mirrors.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range docBlock.FindAllStringSubmatch(string(page), -1) {
		if m[1] != name {
			continue
		}
		text := m[2]
		for old, now := range replace {
			if !strings.Contains(text, old) {
				t.Errorf("the block %s has no %q", name, old)
			}
			text = strings.ReplaceAll(text, old, now)
		}
		return text
	}
	t.Fatalf("the page has no block %q", name)
	return ""
}

// expected is what a server has to answer that has a zone file.
type expected struct {
	list    *contents
	answers map[dns.Question]string // of the publisher
	partial map[string]bool         // labels above addresses; true: above listed ones
}

func newExpected(t *testing.T, ours *asker, list *contents) *expected {
	t.Helper()
	e := &expected{list: list, answers: map[dns.Question]string{}, partial: map[string]bool{}}
	learn := func(labels string, rrtype uint16) {
		q := dns.Question{Name: labels, Qtype: rrtype}
		e.answers[q] = told(ours.ask(t, labels+".bl.example", rrtype))
	}
	for _, addr := range list.clean {
		learn(reversed(addr), dns.TypeA)
		e.above(addr, false)
	}
	for addr := range list.codes {
		learn(reversed(addr), dns.TypeA)
		learn(reversed(addr), dns.TypeTXT)
		e.above(addr, true)
	}
	for last := range 16 { // the test points
		point := netip.AddrFrom4([4]byte{127, 0, 0, byte(last)})
		learn(reversed(point), dns.TypeA)
		learn(reversed(point), dns.TypeTXT)
		e.above(point, last == 2)
	}
	learn(reversed(netip.MustParseAddr("::ffff:127.0.0.2")), dns.TypeA)
	for labels := range e.partial {
		learn(labels, dns.TypeA)
	}
	return e
}

func (e *expected) above(addr netip.Addr, listed bool) {
	labels := strings.Split(reversed(addr), ".")
	for cut := 1; cut < len(labels); cut++ {
		above := strings.Join(labels[cut:], ".")
		e.partial[above] = e.partial[above] || listed
	}
}

// told is what an answer says.
func told(m *dns.Msg) string {
	if len(m.Answer) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	var data []string
	for _, rr := range m.Answer {
		data = append(data, field(rr))
	}
	return strings.Join(data, ", ")
}

// compare asks a server that has the zone file. What it may do otherwise is what
// the page says of all of them: it denies names of which nothing is listed below,
// and below a listed prefix a wildcard answers for partial names too.
func (e *expected) compare(t *testing.T, theirs *asker) {
	t.Helper()
	for q, want := range e.answers {
		reply := theirs.ask(t, q.Name+".bl.example", q.Qtype)
		if !reply.Authoritative {
			t.Errorf("%s: no authoritative answer", q.Name)
		}
		got := told(reply)
		if above, isPartial := e.partial[q.Name]; got == want ||
			isPartial && !above && got == "NXDOMAIN" || isPartial && above && e.covered(q.Name, got) ||
			// As many single digits as an IPv4 address has: these begin IPv6 names.
			digits.MatchString(q.Name) && want == "NOERROR" && got == "NXDOMAIN" {
			continue
		}
		t.Errorf("%s %s: %q, want %q", q.Name, dns.TypeToString[q.Qtype], got, want)
	}
}

// covered reports whether labels lie below a listed /48 or /64, whose code is the
// one that was got.
func (e *expected) covered(labels, got string) bool {
	if strings.Count(labels, ".") < 11 { // nibbles of a /48
		return false
	}
	for addr, code := range e.list.codes {
		if code == got && strings.HasSuffix(reversed(addr), "."+labels) {
			return true
		}
	}
	return false
}
