package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Resolvers that find the list as all of them do: by a delegation from the root,
// here one of the test's own. All have an address of their own, and port 53.
const (
	rootAddr  = "198.18.0.1"
	listAddr  = "198.18.0.53"
	firstAddr = "198.18.0.100" // of the resolvers
)

// recursor is a resolver, and how it minimises what it asks (RFC 9156).
type recursor struct {
	name, program, debian string
	minimises             bool
	config                func(dir, addr string) string
	args                  func(dir, config string) []string
}

var recursors = []recursor{
	{"BIND, strict", "named", "bind9", true, recursorNamed("strict"), namedArgs},
	{"BIND, relaxed", "named", "bind9", true, recursorNamed("relaxed"), namedArgs},
	{"BIND, off", "named", "bind9", false, recursorNamed("off"), namedArgs},
	{"Knot Resolver", "kresd", "knot-resolver", true, recursorKresd, func(dir, config string) []string { return []string{"-n", "-c", config, dir} }},
}

func namedArgs(_, config string) []string { return []string{"-g", "-n", "1", "-c", config} }

func recursorNamed(minimise string) func(dir, addr string) string {
	return func(dir, addr string) string {
		return fmt.Sprintf(`options {
  directory "%s";
  listen-on { %s; };
  listen-on-v6 { none; };
  query-source address %[2]s;
  pid-file none;
  session-keyfile none;
  recursion yes;
  allow-recursion { any; };
  dnssec-validation no;
  empty-zones-enable no;
  qname-minimization %s;
};
controls { };
zone "." { type hint; file "root.hints"; };
`, dir, addr, minimise)
	}
}

func recursorKresd(_, addr string) string {
	return fmt.Sprintf(`net.listen('%s', 53, { kind = 'dns' })
net.ipv6 = false
trust_anchors.remove('.')
modules.unload('ta_update')
modules.load('hints')
hints.root({ ['a.root.'] = { '%s' } })
cache.size = 10 * MB
`, addr, rootAddr)
}

// start starts the resolver and waits until it resolves.
func (r recursor) start(t *testing.T, addr string) *asker {
	t.Helper()
	dir := shortDir(t)
	config, path := filepath.Join(dir, "conf"), filepath.Join(dir, r.program)
	for name, text := range map[string]string{config: r.config(dir, addr), filepath.Join(dir, "root.hints"): ". 60 NS a.root.\na.root. 60 A " + rootAddr + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// AppArmor may keep the installed program, but not a copy, from our folder.
	if c := run(t, exec.Command("cp", peer(t, r.program, r.debian), path)); c.code != 0 {
		t.Fatalf("cp: %s", c.stderr)
	}
	var log logBuffer
	cmd := exec.Command(path, r.args(dir, config)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	p := launchGroup(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s says:\n%s", r.name, tail(log.String(), 4<<10))
		}
	})
	a := newAsker(t, "udp", net.JoinHostPort(addr, "53"))
	a.recurse = true
	a.client.Timeout = 300 * time.Millisecond // it may not listen yet
	eventually(t, r.name+" resolves", func(context.Context) error {
		select {
		case <-p.ended:
			t.Fatalf("%s ended by itself, exit code %d", r.name, p.ProcessState.ExitCode())
		default:
		}
		reply, err := a.try("bl.example", dns.TypeSOA)
		if err == nil && len(reply.Answer) != 1 {
			err = fmt.Errorf("it says %s", outcome(reply))
		}
		return err
	})
	a.client.Timeout = 5 * time.Second
	return a
}

// TestRecursors asks the list through BIND with every strictness, and through
// Knot Resolver: what is listed resolves, whatever was asked before.
func TestRecursors(t *testing.T) {
	t.Parallel()
	for _, r := range recursors {
		peer(t, r.program, r.debian)
	}
	peer(t, "ip", "iproute2")
	if !isolated(t) {
		return
	}
	all := []string{rootAddr + "/32", listAddr + "/32"}
	addr := netip.MustParseAddr(firstAddr)
	for range recursors {
		all = append(all, addr.String()+"/32")
		addr = addr.Next()
	}
	addresses(t, all...)
	serveRoot(t)
	d := startDaemon(t, strings.Replace(quick, `dns: {listen: ["127.0.0.1:0"]}`, `dns: {listen: ["`+listAddr+`:53"]}`, 1))
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"), bounceFrom("2001:db8:66::25"), bounceFrom("2001:db8:66::25"))
	d.site.must("list", "198.51.100.0/24", "203.0.113.9", "2001:db8:77::/64", "--reason", "a block", "--for", "7d")
	ours := newAsker(t, "udp", d.dns)
	addr = netip.MustParseAddr(firstAddr)
	for _, r := range recursors {
		t.Run(r.name, func(t *testing.T) {
			before := d.partial(t)
			a := r.start(t, addr.String())
			for _, q := range resolverQuestions() {
				direct := outcome(ours.ask(t, q.name, q.rrtype))
				if !q.ok(direct) {
					t.Errorf("%s %s: we answer %q, want %q", q.name, dns.TypeToString[q.rrtype], direct, q.want)
				}
				if got := outcome(a.ask(t, q.name, q.rrtype)); got != direct {
					t.Errorf("%s %s: it answers %q, want %q", q.name, dns.TypeToString[q.rrtype], got, direct)
				}
			}
			if minimised := d.partial(t) > before; minimised != r.minimises {
				t.Errorf("has minimised: %t", minimised)
			}
		})
		addr = addr.Next()
	}
}

// serveRoot serves a root zone that delegates the list.
func serveRoot(t *testing.T) {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(rootAddr, "53"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(rootAddr, "53"))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: conn}, {Listener: l}} {
		server.Handler = dns.HandlerFunc(answerRoot)
		started, ended := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown() // it serves
			<-ended
		})
	}
}

func answerRoot(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	name, qtype := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	record := func(text string) dns.RR {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err) // the texts stand below
		}
		return rr
	}
	soa := record(". 60 SOA a.root. hostmaster.root. 1 60 60 60 60")
	switch {
	case dns.IsSubDomain("bl.example.", name):
		r.Ns = []dns.RR{record("bl.example. 60 NS ns1.bl.example.")}
		r.Extra = []dns.RR{record("ns1.bl.example. 60 A " + listAddr)}
	case name == "." && qtype == dns.TypeNS:
		r.Authoritative = true
		r.Answer = []dns.RR{record(". 60 NS a.root.")}
		r.Extra = []dns.RR{record("a.root. 60 A " + rootAddr)}
	case name == "a.root." && qtype == dns.TypeA:
		r.Authoritative = true
		r.Answer = []dns.RR{record("a.root. 60 A " + rootAddr)}
	default:
		r.Authoritative = true
		r.Ns = []dns.RR{soa}
		if name != "." && name != "example." && name != "root." && name != "a.root." {
			r.Rcode = dns.RcodeNameError
		}
	}
	_ = w.WriteMsg(r) // who has gone asks again
}
