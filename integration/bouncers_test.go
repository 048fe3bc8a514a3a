package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// bouncingServer is a mail server that takes mail for anybody in bounces.example, has
// nobody there, and sends its bounces along the routes.
type bouncingServer struct {
	host  string
	path  string
	start func(t *testing.T, path string)
}

// bouncers are the mail servers of others that Debian has. It has no qmail.
func bouncers(t *testing.T) map[string]bouncingServer {
	t.Helper()
	return map[string]bouncingServer{
		"Exim":      {eximHost, peer(t, "exim4", "exim4-daemon-light"), startExim},
		"Postfix":   {postfixHost, peer(t, "postfix", "postfix"), startBouncingPostfix},
		"Sendmail":  {sendmailHost, peer(t, "sendmail-mta", "sendmail-bin"), startSendmail},
		"OpenSMTPD": {openSMTPDHost, peer(t, "opensmtpd", "opensmtpd"), startOpenSMTPD},
	}
}

const eximConf = `
primary_hostname = mail.exim.example
exim_path = @EXIM@
spool_directory = @DIR@/spool
log_file_path = @DIR@/log/%s
pid_file_path = @DIR@/pid
local_interfaces = ` + eximHost + `
deliver_drop_privilege = true
acl_smtp_rcpt = rcpt
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
tls_advertise_hosts =
begin acl
rcpt:
  accept domains = bounces.example
  deny
begin routers
out:
  driver = manualroute
  domains = ! bounces.example
  route_list = @ROUTES@
  transport = smtp
nobody:
  driver = redirect
  domains = bounces.example
  data = :fail: no such user here
  allow_fail
begin transports
smtp:
  driver = smtp
  interface = ` + eximHost + `
`

// startExim starts an Exim that takes mail for anybody in bounces.example, and
// has nobody there.
func startExim(t *testing.T, path string) {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	withUser(t, "Debian-exim", 9199)
	must(t, "chmod", "755", dir)
	for _, name := range []string{"spool", "log"} {
		must(t, "mkdir", filepath.Join(dir, name))
		must(t, "chown", "Debian-exim", filepath.Join(dir, name))
	}
	var to []string
	for domain, host := range routes {
		to = append(to, domain+" "+host)
	}
	conf := filepath.Join(dir, "exim.conf")
	text := strings.NewReplacer("@EXIM@", path, "@DIR@", dir, "@ROUTES@", strings.Join(to, "; ")).Replace(eximConf)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-C", conf, "-bdf", "-q1m")
	var said logBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	p := launch(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log", "main"))
			t.Logf("Exim says:\n%s%s", said.String(), tail(string(log), 8<<10))
		}
	})
	awaitGreeting(t, p, eximHost+":25")
}

// startBouncingPostfix starts a Postfix that takes mail for anybody in
// bounces.example, and has nobody there.
func startBouncingPostfix(t *testing.T, path string) {
	t.Helper()
	to := "{bounces.example = error:5.1.1 no such user here}"
	for domain, host := range routes {
		to += ", {" + domain + " = smtp:[" + host + "]}"
	}
	launchPostfix(t, path, commonCF+`
myhostname = mail.postfix.example
inet_interfaces = `+postfixHost+`
smtp_bind_address = `+postfixHost+`
virtual_mailbox_domains = bounces.example
smtpd_reject_unlisted_recipient = no
disable_dns_lookups = yes
transport_maps = inline:{ `+to+` }
`, masterCF+"smtp unix - - n - - smtp\n", postfixHost+":25")
}

// sendmailCF is written by hand, since the package of its macros is not needed
// for three routes.
const sendmailCF = `V10/Berkeley
Djmail.sendmail.example
Dnmailer-daemon
Do.:%@!^/[]+
O QueueDirectory=@DIR@/queue
O PidFile=@DIR@/pid
O DaemonPortOptions=Addr=` + sendmailHost + `, Port=25, Name=MTA
O ClientPortOptions=Addr=` + sendmailHost + `
O Timeout.ident=0
O Timeout.resolver.retrans=1s
O Timeout.resolver.retry=1
O DontProbeInterfaces=True
O DontBlameSendmail=Safe
O DeliveryMode=background
O QueueLA=1000
O RefuseLA=1000
Troot
H?D?Date: $a
H?F?From: $?x$x <$g>$|$g$.
H?M?Message-Id: <$t.$i@$j>
HReceived: $?sfrom $s $.$?_($?s$|from $.$_)
	$.by $j ($v/8.17.1)$?r with $r$. id $i$?u
	for $u; $|;
	$.$b
Scanonify=3
R$@			$@ <@>
R$* < $* > $*		$: $2
R$@			$@ <@>
R$+ @ $+		$@ $1 <@ $2>
Sfinal=4
R<@>			$@
R$* <@ $+> $*		$@ $1 @ $2 $3
Sparse=0
@ROUTES@R$+ <@ bounces.example>	$#local $: $1
R$*			$#error $@ 5.7.1 $: "550 no relaying"
Msmtp, P=[IPC], F=mDFMuX, E=\r\n, L=990, T=DNS/RFC822/SMTP, A=TCP $h
Mlocal, P=@DIR@/nobody, F=lsDFMn, T=DNS/RFC822/X-Unix, A=nobody $u
Mprog, P=/bin/false, F=lsD, T=X-Unix/X-Unix/X-Unix, A=false $u
`

// startSendmail starts a Sendmail, whose mailer for local people knows nobody.
func startSendmail(t *testing.T, path string) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	must(t, "chmod", "755", dir)
	must(t, "mkdir", "-m", "700", filepath.Join(dir, "queue"))
	var to strings.Builder
	for domain, host := range routes {
		fmt.Fprintf(&to, "R$+ <@ %s>\t$#smtp $@ [%s] $: $1 <@ %s>\n", domain, host, domain)
	}
	cf := strings.NewReplacer("@DIR@", dir, "@ROUTES@", to.String()).Replace(sendmailCF)
	for name, text := range map[string]string{
		"sendmail.cf": cf,
		"hosts":       "127.0.0.1 mail.sendmail.example " + host + "\n", // it sleeps a minute over a name that has no dot
		"nobody":      "#!/bin/sh\nexit 67 # EX_NOUSER\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "chmod", "644", filepath.Join(dir, "sendmail.cf"))
	must(t, "mount", "--bind", filepath.Join(dir, "hosts"), "/etc/hosts")
	launchBouncer(t, exec.Command(path, "-C", filepath.Join(dir, "sendmail.cf"), "-bD", "-q1m"), sendmailHost)
}

const openSMTPDConf = `
listen on ` + openSMTPDHost + ` hostname mail.opensmtpd.example
action "refused" relay host smtp://` + trapMX + ` helo mail.opensmtpd.example src ` + openSMTPDHost + `
match from any for domain bounces.example action "refused"
`

// startOpenSMTPD starts an OpenSMTPD, which is a second MX that knows no
// recipients: the first one refuses what it passes on. Its folders are built in.
func startOpenSMTPD(t *testing.T, path string) {
	t.Helper()
	withUser(t, "opensmtpd", 9201)
	withUser(t, "opensmtpq", 9202)
	for _, dir := range []string{"/var/spool", "/var/lib", "/run"} {
		if err := syscall.Mount("none", dir, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatalf("mount a tmpfs on %s: %v", dir, err)
		}
	}
	must(t, "mkdir", "-p", "/var/lib/opensmtpd/empty")
	must(t, "mkdir", "-m", "711", "/var/spool/smtpd")
	conf := openSMTPDConf
	for domain, host := range routes {
		conf += fmt.Sprintf("action %q relay host smtp://%s helo mail.opensmtpd.example src %s\nmatch from any for domain %s action %[1]q\n", domain, host, openSMTPDHost, domain)
	}
	file := filepath.Join(shortDir(t), "smtpd.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	launchBouncer(t, exec.Command(path, "-d", "-f", file), openSMTPDHost)
}

// launchBouncer starts a mail server that tells what it does, and waits until it
// greets.
func launchBouncer(t *testing.T, cmd *exec.Cmd, host string) {
	t.Helper()
	var said logBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	p := launch(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s says:\n%s", cmd.Path, tail(said.String(), 8<<10))
		}
	})
	awaitGreeting(t, p, host+":25")
}

// withUser has the machine, which must be an isolated test's, know a user that
// a mail server was built for and that no package made.
func withUser(t *testing.T, name string, id int) {
	t.Helper()
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains("\n"+string(text), "\n"+name+":") {
			continue
		}
		line := fmt.Sprintf("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", name, id, id)
		if file == "/etc/group" {
			line = fmt.Sprintf("%s:x:%d:\n", name, id)
		}
		mine := filepath.Join(shortDir(t), filepath.Base(file))
		if err := os.WriteFile(mine, append(text, line...), 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, "chmod", "755", filepath.Dir(mine))
		must(t, "mount", "--bind", mine, file)
	}
}
