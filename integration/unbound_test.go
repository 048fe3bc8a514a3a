package integration_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// unboundConf is a resolver that knows where the list is. Like a careful
// operator's it takes no loopback address from strangers (DNS rebinding), but
// from the list.
const unboundConf = `
server:
  interface: %s
  # Nobody looks for a free TCP port.
  incoming-num-tcp: 0
  access-control: 0.0.0.0/0 allow
  directory: "%s"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "unbound.log"
  log-queries: yes
  do-not-query-localhost: no
  private-address: 127.0.0.0/8
  private-domain: %[3]s
%[5]s
remote-control:
  control-enable: no
stub-zone:
  name: %[3]s
  stub-addr: %[4]s
`

// strict are the options of a resolver that tells a server no more of a name
// than it must (RFC 9156), even if that breaks, and takes the denial of a name
// as that of all below it (RFC 8020).
const strict = `
  qname-minimisation: yes
  qname-minimisation-strict: yes
  harden-below-nxdomain: yes
`

// resolver is a running Unbound.
type resolver struct {
	*process
	addr   netip.AddrPort
	log    string
	client dns.Client
}

// startUnbound starts an Unbound that finds the zone at the server, and waits
// until it answers.
func startUnbound(t *testing.T, addr netip.AddrPort, zone, server, options string) *resolver {
	t.Helper()
	list, err := netip.ParseAddrPort(server)
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	path, conf := filepath.Join(dir, "unbound"), filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(unboundConf, unboundAddr(addr), dir, zone, unboundAddr(list), options)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// AppArmor may keep the installed program, but not a copy, from reading our
	// folder. What this process writes itself it may not be able to run: a child
	// that is just being started can have the file open still.
	if r := run(t, exec.Command("cp", peer(t, "unbound", "unbound"), path)); r.code != 0 {
		t.Fatalf("cp: %s", r.stderr)
	}
	cmd := exec.Command(path, "-d", "-c", conf)
	var stderr logBuffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	r := &resolver{launch(t, cmd), addr, filepath.Join(dir, "unbound.log"), dns.Client{Timeout: 5 * time.Second}}
	t.Cleanup(func() { // before its folder goes: cleanups run last to first
		if t.Failed() {
			said, _ := os.ReadFile(r.log) // may not have come that far
			t.Logf("Unbound says:\n%s%s", stderr.String(), tail(string(said), 4<<10))
		}
	})
	eventually(t, "Unbound answers", func(ctx context.Context) error {
		select {
		case <-r.ended:
			t.Fatalf("Unbound ended by itself, exit code %d", r.ProcessState.ExitCode())
		default:
		}
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // it may not listen yet
		defer cancel()
		_, err := r.try(ctx, zone, dns.TypeSOA)
		return err
	})
	return r
}

// unboundAddr returns how Unbound writes an address with a port.
func unboundAddr(a netip.AddrPort) string { return fmt.Sprintf("%s@%d", a.Addr(), a.Port()) }

func (r *resolver) try(ctx context.Context, name string, rrtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), rrtype)
	reply, _, err := r.client.ExchangeContext(ctx, q, r.addr.String())
	return reply, err
}

// outcome asks a recursive question, and returns the data of the answer, or
// else the rcode.
func (r *resolver) outcome(t *testing.T, name string, rrtype uint16) string {
	t.Helper()
	reply, err := r.try(within(t), name, rrtype)
	if err != nil {
		t.Fatalf("ask Unbound for %s %s: %v", name, dns.TypeToString[rrtype], err)
	}
	return outcome(reply)
}

// outcome is what a reply says.
func outcome(reply *dns.Msg) string {
	if len(reply.Answer) == 0 {
		return dns.RcodeToString[reply.Rcode]
	}
	var all []string
	for _, rr := range reply.Answer {
		all = append(all, field(rr))
	}
	return strings.Join(all, " and ")
}

// asked counts how often anybody asked the resolver for a name that ends with
// the suffix. It logs a question before it answers.
func (r *resolver) asked(t *testing.T, suffix string) (n int) {
	t.Helper()
	log, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		// [TIME] unbound[PID:0] info: CLIENT NAME TYPE CLASS
		if f := strings.Fields(line); len(f) == 7 && f[2] == "info:" && strings.HasSuffix(f[4], suffix+".") {
			n++
		}
	}
	return n
}

// partial returns how many questions the daemon has had for names that are the
// end of addresses only, of which there are none but from resolvers that
// minimise.
func (d *daemon) partial(t *testing.T) int {
	t.Helper()
	n, _ := d.metric(t, "backscatter_dns_answers_total", `kind="partial"`) // there is none before the first
	return n
}

// dnsAddrs returns all addresses that the daemon answers on.
func (d *daemon) dnsAddrs(t *testing.T) (all []string) {
	t.Helper()
	status, err := d.client.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range status.Listen {
		if l.Service == "dns" {
			all = append(all, l.Address)
		}
	}
	return all
}

// TestUnbound asks the list through a resolver of every strictness. About most
// addresses it is asked after others that are not listed, so that it could have
// learnt that there is nothing below a name that both have in common, and about
// some before.
func TestUnbound(t *testing.T) {
	t.Parallel()
	peer(t, "unbound", "unbound")
	d := startDaemon(t, strings.Replace(quick, `dns: {listen: ["127.0.0.1:0"]}`, `dns: {listen: ["127.0.0.1:0", "[::1]:0"]}`, 1))
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"), bounceFrom("2001:db8:66::25"), bounceFrom("2001:db8:66::25"))
	d.site.must("list", "198.51.100.0/24", "203.0.113.9", "2001:db8:77::/64", "--reason", "a block", "--for", "7d")
	ours := newAsker(t, "udp", d.dns)

	questions, servers := resolverQuestions(), d.dnsAddrs(t)
	if len(servers) != 2 {
		t.Fatalf("it serves %v", servers)
	}
	for _, minimise := range []string{"no", "yes"} {
		for _, stubborn := range []string{"no", "yes"} {
			for _, harden := range []string{"no", "yes"} {
				options := "  qname-minimisation: " + minimise + "\n  qname-minimisation-strict: " + stubborn + "\n  harden-below-nxdomain: " + harden + "\n"
				if stubborn == harden { // and, for half of them, letter case at random (0x20)
					options += "  use-caps-for-id: yes\n"
				}
				server := servers[0]
				if minimise == harden { // half of them ask over IPv6
					server = servers[1]
				}
				t.Run("minimise="+minimise+",strict="+stubborn+",harden="+harden, func(t *testing.T) {
					before := d.partial(t)
					addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(freePort(t)))
					r := startUnbound(t, addr, "bl.example", server, options)
					for _, q := range questions {
						direct := ours.ask(t, q.name, q.rrtype)
						if got := outcome(direct); !q.ok(got) {
							t.Errorf("%s %s: we answer %q, want %q", q.name, dns.TypeToString[q.rrtype], got, q.want)
						}
						if got, want := r.outcome(t, q.name, q.rrtype), outcome(direct); got != want {
							t.Errorf("%s %s: Unbound answers %q, want %q", q.name, dns.TypeToString[q.rrtype], got, want)
						}
					}
					if minimised := d.partial(t) > before; minimised != (minimise == "yes") {
						t.Errorf("Unbound has minimised: %t", minimised)
					}
				})
			}
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		if n, _ := d.metric(t, "backscatter_dns_answers_total", `kind="partial"`, `family="`+family+`"`); n == 0 {
			t.Errorf("no resolver that minimises has asked over %s", family)
		}
	}
}

type resolverQuestion struct {
	name   string
	rrtype uint16
	want   string // how the outcome begins
}

func (q resolverQuestion) ok(got string) bool { return strings.HasPrefix(got, q.want) }

// resolverQuestions returns what a resolver is asked about addresses that are
// listed and not, and the order in which it is.
func resolverQuestions() (all []resolverQuestion) {
	// 2.0.0.1 is not listed, and the names of all of 2001::/16 lie below its own.
	all = append(all, resolverQuestion{"1.0.0.2.bl.example", dns.TypeA, "NOERROR"})
	for _, a := range []struct {
		addr string
		code string // "" when not listed
	}{
		{"203.0.113.9", "127.0.0.9"}, // before all its neighbours
		{"2001:db8:77::25", "127.0.0.9"},
		{"192.0.2.67", ""},
		{"192.0.3.66", ""},
		{"192.1.2.66", ""},
		{"198.51.101.1", ""},
		{"2001:db8:66:1::25", ""},
		{"2001:db8:67::25", ""},
		{"2001:db9:66::25", ""},
		{"192.0.2.66", "127.0.0.2"},
		{"198.51.100.200", "127.0.0.9"},
		{"2001:db8:66::25", "127.0.0.2"},
		{"2001:db8:66:0:1234:5678:9abc:def0", "127.0.0.2"}, // the whole /64 is
		{"::ffff:192.0.2.66", "127.0.0.2"},
		{"127.0.0.1", ""},
		{"127.0.0.2", "127.0.0.2"},
		{"::ffff:127.0.0.2", "127.0.0.2"},
	} {
		name := reversed(netip.MustParseAddr(a.addr)) + ".bl.example"
		if a.code == "" {
			all = append(all, resolverQuestion{name, dns.TypeA, "NXDOMAIN"}, resolverQuestion{name, dns.TypeTXT, "NXDOMAIN"}, resolverQuestion{name, dns.TypeAAAA, "NXDOMAIN"})
		} else {
			all = append(all, resolverQuestion{name, dns.TypeA, a.code}, resolverQuestion{name, dns.TypeTXT, "https://bl.example/"}, resolverQuestion{name, dns.TypeAAAA, "NOERROR"})
		}
	}
	return all
}
