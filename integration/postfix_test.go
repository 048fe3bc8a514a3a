package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// Who is where in the network of the test.
const (
	listHost     = "192.0.2.10"   // this list
	mailHost     = "192.0.2.25"   // Postfix
	mailHost6    = "2001:db8::25" //
	resolverHost = "192.0.2.53"   // Unbound
	bouncer      = "192.0.2.66"   // sends backscatter
	bouncer6     = "2001:db8:66::25"
	neighbour6   = "2001:db8:66:0:1234:5678:9abc:def0" // in the same /64
	manual       = "192.0.2.99"                        // listed by hand
	clean        = "192.0.2.67"                        // sends bounces to those who wrote
	clean6       = "2001:db8:66:1::25"
)

// mailList is quick, on the ports of the real services.
var mailList = strings.Replace(quick, loopback, `
dns: {listen: ["`+listHost+`:53"]}
http: {listen: ""}
zones: [{name: bl.example.org, ns: [ns1.bl.example.org]}]
`, 1)

// TestPostfix runs a mail server that asks the list as the README says, with a
// strict resolver between them, from an empty list to a listing and back.
func TestPostfix(t *testing.T) {
	t.Parallel()
	recipe := postfixRecipe(t)
	peer(t, "postfix", "postfix")
	peer(t, "unbound", "unbound")
	peer(t, "ip", "iproute2")
	if !isolated(t) {
		return
	}
	addresses(t, listHost+"/32", mailHost+"/32", mailHost6+"/128 nodad", resolverHost+"/32", bouncer+"/32", neighbour6+"/128 nodad", manual+"/32", clean+"/32", clean6+"/128 nodad")
	nameserver(t, resolverHost)
	d := startDaemon(t, mailList)
	// The list allows no shorter TTL than half a minute, and the test is shorter.
	forgetful := strict + "  cache-max-ttl: 1\n  cache-max-negative-ttl: 1\n"
	r := startUnbound(t, netip.AddrPortFrom(netip.MustParseAddr(resolverHost), 53), "bl.example.org", listHost+":53", forgetful)
	p := startPostfix(t, recipe)
	m := &mailLab{t: t, list: d, resolver: r, postfix: p, direct: newAsker(t, "udp", d.dns)}

	for _, client := range []string{bouncer, neighbour6, manual} {
		m.accepts(client, "", asks)
	}
	d.mustDeliver(t, bounceFrom(bouncer), bounceFrom(bouncer), bounceFrom(bouncer6), bounceFrom(bouncer6))
	d.site.must("list", manual, "--reason", "no answer", "--for", "7d")
	for _, client := range []string{bouncer, neighbour6, manual} {
		m.await(client, "NOERROR")
		m.rejects(client, "")
		m.rejects(client, "postmaster@bouncer.example")
		m.accepts(client, "ana@bouncer.example", asksNothing)
	}
	m.accepts(clean, "", asks)
	m.accepts(clean6, "", asks)

	p.configure(strings.Replace(recipe, "= reject_rbl_client", "= warn_if_reject reject_rbl_client", 1))
	m.accepts(bouncer, "", asks)
	p.awaitLog("reject_warning: RCPT from unknown["+bouncer+"]: 554 5.7.1 ", "blocked using bl.example.org")
	p.configure(recipe)
	m.rejects(bouncer, "")

	d.site.must("delist", bouncer, "--reason", "mended")
	m.await(bouncer, "NXDOMAIN")
	m.accepts(bouncer, "", asks)
	m.rejects(neighbour6, "")

	d.stop()
	m.await(neighbour6, "SERVFAIL")
	m.accepts(neighbour6, "", asks)
	p.stop()
}

// postfixRecipe returns what the README has operators add to main.cf.
func postfixRecipe(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Use it from Postfix\n")
	_, block, _ := strings.Cut(section, "\n```\n")
	recipe, _, found := strings.Cut(block, "\n```\n")
	if !found || !strings.Contains(recipe, " reject_rbl_client bl.example.org=") {
		t.Fatalf("the README has no recipe for Postfix: %q", recipe)
	}
	return recipe
}

// mailLab is all that there is in the test's network.
type mailLab struct {
	t        *testing.T
	list     *daemon
	resolver *resolver
	postfix  *postfix
	direct   *asker // of the list
}

// Whether Postfix asks the list about a client.
const (
	asks        = true
	asksNothing = false
)

func (m *mailLab) name(client string) string {
	return reversed(netip.MustParseAddr(client)) + ".bl.example.org"
}

// rejects wants a message refused with the words of the list.
func (m *mailLab) rejects(client, sender string) {
	m.t.Helper()
	words := m.direct.data(m.t, m.name(client), dns.TypeTXT)
	if !strings.HasPrefix(words, "https://bl.example.org/") {
		m.t.Errorf("the list says of %s: %q", client, words)
	}
	err := m.postfix.send(client, sender)
	want := &textproto.Error{Code: 554, Msg: "5.7.1 Service unavailable; Client host [" + client + "] blocked using bl.example.org; " + words}
	if diff := cmp.Diff(error(want), err); diff != "" {
		m.t.Errorf("mail from %s of <%s> (-want +got):\n%s", client, sender, diff)
	}
}

// accepts wants a message taken, after a look at the list or without.
func (m *mailLab) accepts(client, sender string, looks bool) {
	m.t.Helper()
	before := m.resolver.asked(m.t, ".bl.example.org")
	if err := m.postfix.send(client, sender); err != nil {
		m.t.Errorf("mail from %s of <%s>: %v", client, sender, err)
	}
	if asked := m.resolver.asked(m.t, ".bl.example.org") - before; (asked > 0) != looks {
		m.t.Errorf("mail from %s of <%s>: the resolver was asked %d times about the list", client, sender, asked)
	}
}

// await waits until the resolver has forgotten what it knew of a client, and
// gives a reply with the rcode.
func (m *mailLab) await(client, rcode string) {
	m.t.Helper()
	eventually(m.t, "the resolver says "+rcode+" of "+client, func(ctx context.Context) error {
		reply, err := m.resolver.try(ctx, m.name(client), dns.TypeA)
		if err == nil && dns.RcodeToString[reply.Rcode] != rcode {
			err = fmt.Errorf("%s", outcome(reply))
		}
		return err
	})
}

// postfix is a running Postfix, with folders of its own.
type postfix struct {
	t    *testing.T
	main *process
	path string
	conf string // folder
	log  string
}

// mainCF is a server that takes mail for anybody in a domain, and throws it
// away. A process of it takes one message, because it keeps answers of DNSBLs
// while it lives.
const mainCF = `
compatibility_level = 3.6
config_directory = %[1]s/conf
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/postfix.log
maillog_file_prefixes = %[1]s
mail_owner = postfix
myhostname = mx.receiver.example
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = %[2]s, %[3]s
inet_protocols = all
virtual_mailbox_domains = receiver.example
virtual_transport = discard
smtpd_peername_lookup = no
max_use = 1
# What the README says:
%[4]s
`

// masterCF has the services that such a server needs, none in a chroot.
const masterCF = `
smtp       inet  n - n -    - smtpd
cleanup    unix  n - n -    0 cleanup
qmgr       unix  n - n 300  1 qmgr
rewrite    unix  - - n -    - trivial-rewrite
discard    unix  - - n -    - discard
bounce     unix  - - n -    0 bounce
defer      unix  - - n -    0 bounce
trace      unix  - - n -    0 bounce
error      unix  - - n -    - error
retry      unix  - - n -    - error
anvil      unix  - - n -    1 anvil
postlog    unix-dgram n - n - 1 postlogd
`

// startPostfix starts a Postfix with the recipe in its main.cf, and waits until
// it greets.
func startPostfix(t *testing.T, recipe string) *postfix {
	t.Helper()
	dir := shortDir(t)
	p := &postfix{t: t, path: peer(t, "postfix", "postfix"), conf: filepath.Join(dir, "conf"), log: filepath.Join(dir, "postfix.log")}
	if err := os.Chmod(dir, 0o755); err != nil { // its processes give up root
		t.Fatal(err)
	}
	for _, name := range []string{"conf", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if r := run(t, exec.Command("chown", "postfix", filepath.Join(dir, "data"))); r.code != 0 {
		t.Fatalf("chown: %s", r.stderr)
	}
	if err := os.WriteFile(filepath.Join(p.conf, "master.cf"), []byte(masterCF), 0o644); err != nil {
		t.Fatal(err)
	}
	p.configure(recipe)
	var said logBuffer
	cmd := exec.Command(p.path, "-c", p.conf, "start-fg")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second // should it be killed, its children hold on to these
	p.main = launch(t, cmd)
	t.Cleanup(func() { // before its folder goes: cleanups run last to first
		if t.Failed() {
			log, _ := os.ReadFile(p.log) // may not have come that far
			t.Logf("Postfix says:\n%s%s", said.String(), tail(string(log), 8<<10))
		}
	})
	eventually(t, "Postfix greets", func(ctx context.Context) error {
		select {
		case <-p.main.ended:
			t.Fatalf("Postfix ended by itself, exit code %d", p.main.ProcessState.ExitCode())
		default:
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		c, err := dialSMTP(ctx, mailHost+":25")
		if err != nil {
			return err
		}
		return c.Quit()
	})
	return p
}

// configure writes main.cf, which processes read when they start, and so all
// that take the mail to come.
func (p *postfix) configure(recipe string) {
	p.t.Helper()
	text := fmt.Sprintf(mainCF, filepath.Dir(p.conf), mailHost, mailHost6, recipe)
	path := filepath.Join(p.conf, "main.cf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	// Postfix waits until a file has not changed for two seconds.
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Minute)); err != nil {
		p.t.Fatal(err)
	}
}

// send hands Postfix a message, from the address of a client. The error is the
// refusal.
func (p *postfix) send(client, sender string) error {
	ctx := within(p.t)
	server := mailHost
	addr := netip.MustParseAddr(client)
	if addr.Is6() {
		server = mailHost6
	}
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(server, "25"))
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, mailHost)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Hello("client.example"), c.Mail(sender)); err != nil {
		return err
	}
	if err := c.Rcpt("left@receiver.example"); err != nil {
		_ = c.Quit() // the refusal tells more
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("Subject: hello\r\n\r\nHello.\r\n")); err != nil {
		return err
	}
	return errors.Join(w.Close(), c.Quit())
}

// awaitLog waits until Postfix has logged a line with all the words.
func (p *postfix) awaitLog(words ...string) {
	p.t.Helper()
	eventually(p.t, "Postfix logs", func(context.Context) error {
		log, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(string(log)) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return nil
		}
		return fmt.Errorf("no line with %q", words)
	})
}

// stop ends Postfix as an operator would.
func (p *postfix) stop() {
	p.t.Helper()
	if r := run(p.t, exec.Command(p.path, "-c", p.conf, "stop")); r.code != 0 {
		p.t.Errorf("postfix stop: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	p.main.wait(p.t)
}
