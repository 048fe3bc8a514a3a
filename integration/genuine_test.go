package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Who is where in the network of this test. The addresses of bouncers are what
// must be found, by whatever way their bounces come.
const (
	ownTrap       = "192.0.2.10" // our SMTP trap, and the milter's port
	trapMX        = "192.0.2.25" // Postfix that hands over to us: by LMTP, by pipes
	productionMX  = "192.0.2.26" // the same, with our milter
	eximHost      = "192.0.2.66"
	postfixHost   = "192.0.2.67"
	sendmailHost  = "192.0.2.68"
	openSMTPDHost = "192.0.2.69"
	zombie        = "198.51.100.9" // sends in the names of others
	prober        = "198.51.100.66"
)

// routes is where the bouncers find the domains of the victims.
var routes = map[string]string{
	"trap.example": ownTrap, "lmtp.example": trapMX, "pipe.example": trapMX, "remote.example": trapMX, "real.example": productionMX,
}

// genuineList lists who sent one bounce by each way.
const genuineList = `
dns: {listen: ["` + ownTrap + `:53"]}
http: {listen: ""}
intake:
  smtp: {listen: "` + ownTrap + `:25", xclient: true}
  lmtp: [{listen: "unix:@DIR@/lmtp"}]
  milter: [{listen: "` + ownTrap + `:7357"}]
  reports: {listen: "` + ownTrap + `:8443", tls_cert: @DIR@/cert.pem, tls_key: @DIR@/key.pem}
reporters: [{name: local, relays: [` + trapMX + `/32, ` + productionMX + `/32]}]
traps: [{domain: trap.example}, {domain: lmtp.example}, {domain: pipe.example}, {domain: remote.example}]
guarded: [{domains: [real.example], relays: true}]
policy: {profile: solo, score: 3.9, originals: 4, recipients: 0, span: 0s, listable: [192.0.2.0/24, 198.51.100.0/24]}
`

// TestGenuineBounces has mail servers of others send misdirected bounces, each
// by each of the ways by which we take them: our own trap, LMTP and the pipe of a
// Postfix, a pipe that reports to a list elsewhere, and the milter of one that gets
// real mail.
func TestGenuineBounces(t *testing.T) {
	t.Parallel()
	postfixPath := peer(t, "postfix", "postfix")
	all := bouncers(t)
	swaks := peer(t, "swaks", "swaks")
	peer(t, "ip", "iproute2")
	if !isolated(t) {
		return
	}
	hosts := []string{ownTrap + "/32", trapMX + "/32", productionMX + "/32", zombie + "/32", prober + "/32"}
	for _, b := range all {
		hosts = append(hosts, b.host+"/32")
	}
	addresses(t, hosts...)
	dir := shortDir(t)
	must(t, "chgrp", "postfix", dir) // and so the socket's group
	must(t, "chmod", "2751", dir)
	testCA(t, dir, ownTrap)
	d := startDaemon(t, strings.ReplaceAll(genuineList, "@DIR@", dir))
	for path, mode := range map[string]string{d.site.dir: "755", d.site.state: "750", filepath.Join(d.site.state, "control.sock"): "660"} {
		must(t, "chgrp", "nogroup", path) // the pipe's group
		must(t, "chmod", mode, path)
	}

	must(t, "cp", d.site.program, filepath.Join(dir, "backscatter")) // where the pipe's user can get at it
	key := filepath.Join(dir, "friend", "reporter.key")
	must(t, "install", "-d", "-o", "nobody", "-g", "nogroup", "-m", "700", filepath.Dir(key))
	must(t, d.site.program, "reporter", "keygen", key)
	d.site.must("reporter", "add", "friend", "--key", key+".pub", "--reason", "test")
	must(t, "cp", filepath.Join(dir, "ca.pem"), filepath.Dir(key))
	must(t, "chown", "-R", "nobody:nogroup", filepath.Dir(key))
	startMX(t, postfixPath, d, dir)
	for _, b := range all {
		b.start(t, b.path)
		for domain := range routes {
			forge(t, b.host, "victim@"+domain)
		}
	}
	flush := append(remotely(dir), "--flush")
	for product, b := range all {
		eventually(t, "all bounces of "+b.host+" are known", func(context.Context) error {
			if e := explained(t, d, b.host); len(e.Events) < len(routes) {
				// What could not be sent at once waits for the next message, or for this.
				r := run(t, exec.Command("runuser", append([]string{"-u", "nobody", "-g", "nogroup", "--"}, flush...)...))
				return fmt.Errorf("they are %+v; flush: exit code %d\n%s%s", e, r.code, r.stdout, r.stderr)
			}
			return nil
		})
		e := awaitListed(t, d, b.host, len(routes))
		var levels []string
		for _, event := range e.Events {
			levels = append(levels, event.Level)
			if event.Class != "bounce" || event.Traces.Product != product || event.Traces.Origin != zombie {
				t.Errorf("%s at %s is taken for %+v", product, b.host, event)
			}
		}
		slices.Sort(levels)
		if got := strings.Join(levels, ""); got != "AABBB" {
			t.Errorf("levels of %s: %s, want A by the trap and the milter, B by LMTP and the pipes", product, got)
		}
	}

	// Callouts are kept, and list nobody.
	for range 6 {
		out := run(t, exec.Command(swaks, "--server", ownTrap, "--local-interface", prober, "--from", "<>", "--to", "a@trap.example", "--quit-after", "RCPT"))
		if out.code != 0 {
			t.Fatalf("swaks: %s%s", out.stdout, out.stderr)
		}
	}
	e := explained(t, d, prober)
	if e.Listed || len(e.Events) != 1 || e.Events[0].Class != "callout" || e.Events[0].Level != "A" {
		t.Errorf("callouts are %+v", e)
	}
	// A stranger's XCLIENT accuses nobody.
	run(t, exec.Command(swaks, "--server", ownTrap, "--local-interface", prober, "--xclient-addr", "192.0.2.200", "--from", "<>", "--to", "a@trap.example"))
	if e := explained(t, d, "192.0.2.200"); len(e.Events) > 0 {
		t.Errorf("a stranger's word accuses: %+v", e)
	}
	d.stop()
}

func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if r := run(t, exec.Command(name, args...)); r.code != 0 {
		t.Fatalf("%s %v: exit code %d\n%s%s", name, args, r.code, r.stdout, r.stderr)
	}
}

// explanation is what the test looks at of `show --json`.
type explanation struct {
	Listed bool `json:"listed"`
	Events []struct {
		Class  string `json:"class"`
		Level  string `json:"level"`
		Traces struct {
			Product string `json:"product"`
			Origin  string `json:"origin"`
		} `json:"traces"`
	} `json:"events"`
}

func explained(t *testing.T, d *daemon, host string) explanation {
	t.Helper()
	var e explanation
	out := d.site.run("show", "--json", host)
	if out.code != 0 && out.code != 4 { // 4: not listed
		t.Fatalf("show %s: exit code %d\n%s", host, out.code, out.stderr)
	}
	if err := json.Unmarshal([]byte(out.stdout), &e); err != nil {
		t.Fatalf("show %s: %v in %q", host, err, out.stdout)
	}
	return e
}

// awaitListed waits until so many bounces of a host are known, and it is listed
// for them, which is published a moment after they are stored.
func awaitListed(t *testing.T, d *daemon, host string, events int) explanation {
	t.Helper()
	var e explanation
	eventually(t, host+" is listed", func(context.Context) error {
		if e = explained(t, d, host); len(e.Events) < events || !e.Listed {
			return fmt.Errorf("it is %+v", e)
		}
		return nil
	})
	return e
}

// forge has the zombie send spam in the name of a victim to an address that a
// host takes mail for, and that is not there.
func forge(t *testing.T, host, victim string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(zombie)}}
	conn, err := dialer.DialContext(within(t), "tcp", host+":25")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%d@zombie.example", messages.Add(1))
	err = c.Hello("zombie.example")
	for _, step := range []func() error{func() error { return c.Mail(victim) }, func() error { return c.Rcpt("nobody@bounces.example") }} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatalf("forge mail to %s: %v", host, err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "Message-ID: <%s>\r\nDate: %s\r\nFrom: <%s>\r\nTo: nobody@bounces.example\r\nSubject: pills %s\r\n\r\nBuy.\r\n",
		id, time.Now().Format(time.RFC1123Z), victim, id)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = c.Quit() // the message is taken
}

// awaitGreeting waits until a mail server greets.
func awaitGreeting(t *testing.T, p *process, addr string) {
	t.Helper()
	eventually(t, p.Args[0]+" greets", func(ctx context.Context) error {
		select {
		case <-p.ended:
			t.Fatalf("%s ended by itself, exit code %d", p.Args, p.ProcessState.ExitCode())
		default:
		}
		c, err := dialSMTP(ctx, addr)
		if err != nil {
			return err
		}
		return c.Quit()
	})
}

// commonCF is what both Postfixes have.
const commonCF = `
compatibility_level = 3.6
config_directory = @DIR@/conf
queue_directory = @DIR@/queue
data_directory = @DIR@/data
maillog_file = @DIR@/postfix.log
maillog_file_prefixes = @DIR@
mail_owner = postfix
mydestination =
local_recipient_maps =
virtual_alias_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_protocols = all
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_auth_destination, reject
`

// startMX starts our own mail server: for three trap domains it hands over by LMTP,
// by a pipe, and by one to a list elsewhere, and for a domain with people it asks our
// milter.
func startMX(t *testing.T, path string, d *daemon, dir string) {
	t.Helper()
	launchPostfix(t, path, commonCF+`
myhostname = mx.real.example
inet_interfaces = `+trapMX+", "+productionMX+`
virtual_mailbox_domains = lmtp.example, pipe.example, remote.example, real.example
transport_maps = inline:{ {lmtp.example = lmtp:unix:`+dir+`/lmtp}, {pipe.example = backscatter:}, {remote.example = friend:}, {real.example = discard:} }
`, strings.Replace(masterCF, "smtp       inet  n - n -    - smtpd\n", trapMX+`:smtp inet n - n - - smtpd
`+productionMX+`:smtp inet n - n - - smtpd -o smtpd_milters=inet:`+ownTrap+`:7357 -o milter_default_action=accept
lmtp        unix - - n - - lmtp
backscatter unix - n n - - pipe user=nobody:nogroup null_sender= argv=`+dir+`/backscatter report --socket `+filepath.Join(d.site.state, "control.sock")+` --mail-from ${sender} --rcpt ${recipient}
friend unix - n n - - pipe user=nobody:nogroup null_sender= argv=`+strings.Join(remotely(dir), " ")+` --mail-from ${sender} --rcpt ${recipient}
`, 1), trapMX+":25")
}

// remotely is the command by which the mail server reports to a list elsewhere.
func remotely(dir string) []string {
	friend := filepath.Join(dir, "friend")
	return []string{
		filepath.Join(dir, "backscatter"), "report", "--to", "https://" + ownTrap + ":8443", "--key", filepath.Join(friend, "reporter.key"),
		"--ca", filepath.Join(friend, "ca.pem"), "--queue", filepath.Join(friend, "queue"),
	}
}

// launchPostfix starts a Postfix in folders of its own, and waits until it
// greets.
func launchPostfix(t *testing.T, path, main, master, addr string) {
	t.Helper()
	dir := shortDir(t)
	must(t, "chmod", "755", dir) // its processes give up root
	for _, name := range []string{"conf", "queue", "data"} {
		must(t, "mkdir", filepath.Join(dir, name))
	}
	must(t, "chown", "postfix", filepath.Join(dir, "data"))
	for name, text := range map[string]string{"main.cf": main, "master.cf": master} {
		text = strings.ReplaceAll(text, "@DIR@", dir)
		if err := os.WriteFile(filepath.Join(dir, "conf", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var said logBuffer
	cmd := exec.Command(path, "-c", filepath.Join(dir, "conf"), "start-fg")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second // should it be killed, its children hold on to these
	p := launch(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "postfix.log"))
			t.Logf("Postfix at %s says:\n%s%s", addr, said.String(), tail(string(log), 8<<10))
		}
	})
	awaitGreeting(t, p, addr)
}
