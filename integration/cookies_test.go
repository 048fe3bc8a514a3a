package integration_test

import (
	"context"
	"errors"
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

// The servers that share a secret of DNS cookies, each at an address of both
// families in the test's own network, and who asks them.
const (
	cookieSecret  = "e5e973e5a6b2a43f48e7dc849e37bfcf"
	clientCookie  = "2464c4abcf10c957"
	cookieClient4 = "192.0.2.1"
	cookieClient6 = "2001:db8::1"
)

// cookieServer is a server of another project that has the secret.
type cookieServer struct {
	name, debian string
	host         int    // the last part of its addresses
	program      string // in the Debian package
	args         func(conf string) []string
	conf         string // %[1]s and %[2]s are its addresses, %[3]s its folder
	echoes       bool   // a good cookie comes back as it is; the others say BADCOOKIE to a bad one
}

var cookieServers = []cookieServer{
	{
		name: "NSD", debian: "nsd", host: 54, program: "nsd", echoes: true,
		args: func(conf string) []string { return []string{"-d", "-c", conf} },
		conf: `server:
  ip-address: %[1]s
  ip-address: %[2]s
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "%[3]s"
  pidfile: "%[3]s/pid"
  xfrdfile: "%[3]s/xfrd"
  zonelistfile: "%[3]s/list"
  answer-cookie: yes
  cookie-secret: "` + cookieSecret + `"
remote-control:
  control-enable: no
zone:
  name: peer.example
  zonefile: "%[3]s/zone"
`,
	},
	{
		name: "BIND", debian: "bind9", host: 55, program: "named",
		args: func(conf string) []string { return []string{"-g", "-n", "1", "-c", conf} },
		conf: `options {
  directory "%[3]s";
  listen-on { %[1]s; };
  listen-on-v6 { %[2]s; };
  pid-file none;
  session-keyfile none;
  recursion no;
  dnssec-validation no;
  cookie-algorithm siphash24;
  cookie-secret "` + cookieSecret + `";
  answer-cookie yes;
  require-server-cookie yes;
};
controls { };
zone "peer.example" { type primary; file "%[3]s/zone"; };
`,
	},
	{
		name: "Knot", debian: "knot", host: 56, program: "knotd",
		args: func(conf string) []string { return []string{"-c", conf} },
		conf: `server:
  listen: [ %[1]s@53, "%[2]s@53" ]
  rundir: "%[3]s"
  user: root:root
  udp-workers: 1
  tcp-workers: 1
log:
  - target: stderr
    any: warning
database:
  storage: "%[3]s"
control:
  listen: "%[3]s/control"
mod-cookies:
  - id: shared
    secret: 0x` + cookieSecret + `
    badcookie-slip: 1
template:
  - id: default
    storage: "%[3]s"
    global-module: mod-cookies/shared
zone:
  - domain: peer.example
    file: "%[3]s/zone"
`,
	},
}

// TestCookiesOfPeers has other servers with our secret at other addresses, as in
// an anycast set: a cookie that one of them made is good for us, and ours for
// them (RFC 9018 §1), over IPv4 and IPv6.
func TestCookiesOfPeers(t *testing.T) {
	t.Parallel()
	for _, s := range cookieServers {
		peer(t, s.program, s.debian)
	}
	peer(t, "ip", "iproute2")
	if !isolated(t) {
		return
	}
	var all []string
	for _, host := range []int{1, 53, 54, 55, 56} {
		all = append(all, fmt.Sprintf("192.0.2.%d/32", host), fmt.Sprintf("2001:db8::%d/128 nodad", host))
	}
	addresses(t, all...)
	dir := shortDir(t)
	secrets := filepath.Join(dir, "secrets")
	if err := os.WriteFile(secrets, []byte(cookieSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, `
dns: {listen: ["192.0.2.53:53", "[2001:db8::53]:53"], cookies: {file: `+secrets+`}}
http: {listen: ""}
intake: {smtp: {listen: ""}}
`)
	for _, s := range cookieServers {
		s.start(t)
	}
	for _, client := range []string{cookieClient4, cookieClient6} {
		for _, s := range cookieServers {
			s.exchangeCookies(t, netip.MustParseAddr(client))
		}
	}
}

// addrs returns the server's addresses.
func (s *cookieServer) addrs() (v4, v6 string) {
	return fmt.Sprintf("192.0.2.%d", s.host), fmt.Sprintf("2001:db8::%d", s.host)
}

// start starts the server, and waits until it answers over both families.
func (s *cookieServer) start(t *testing.T) {
	t.Helper()
	dir := shortDir(t)
	v4, v6 := s.addrs()
	zone := "$ORIGIN peer.example.\n@ 60 IN SOA ns hostmaster 1 60 60 600 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.54\n"
	path, conf := filepath.Join(dir, s.program), filepath.Join(dir, "conf")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "zone"), []byte(zone), 0o600),
		os.WriteFile(conf, fmt.Appendf(nil, s.conf, v4, v6, dir), 0o600)); err != nil {
		t.Fatal(err)
	}
	// AppArmor may keep the installed program, but not a copy, from reading our folder.
	if r := run(t, exec.Command("cp", peer(t, s.program, s.debian), path)); r.code != 0 {
		t.Fatalf("cp: %s", r.stderr)
	}
	cmd := exec.Command(path, s.args(conf)...)
	var said logBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	p := launch(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s says:\n%s", s.name, tail(said.String(), 4<<10))
		}
	})
	for _, client := range []string{cookieClient4, cookieClient6} {
		eventually(t, s.name+" answers", func(ctx context.Context) error {
			select {
			case <-p.ended:
				t.Fatalf("%s ended by itself, exit code %d", s.name, p.ProcessState.ExitCode())
			default:
			}
			ctx, cancel := context.WithTimeout(ctx, time.Second) // it may not listen yet
			defer cancel()
			_, _, err := askCookie(ctx, netip.MustParseAddr(client), s.host, "peer.example", clientCookie)
			return err
		})
	}
}

// exchangeCookies takes a cookie from each of the two servers to the other.
func (s *cookieServer) exchangeCookies(t *testing.T, client netip.Addr) {
	t.Helper()
	const us = 53
	ask := func(host int, zone, cookie string) (int, string) {
		t.Helper()
		rcode, back, err := askCookie(within(t), client, host, zone, cookie)
		if err != nil {
			t.Fatal(err)
		}
		return rcode, back
	}
	// Without a question we tell whether a cookie is good (RFC 7873 §5.4).
	_, theirs := ask(s.host, "peer.example", clientCookie)
	if rcode, back := ask(us, "", theirs); rcode != dns.RcodeSuccess || back != theirs {
		t.Errorf("%s's cookie %s for %s: %s and %s from us", s.name, theirs, client, dns.RcodeToString[rcode], back)
	}
	if rcode, _ := ask(us, "", spoiled(theirs)); rcode != dns.RcodeBadCookie {
		t.Errorf("%s's cookie, spoiled: %s from us", s.name, dns.RcodeToString[rcode])
	}
	_, ours := ask(us, "", clientCookie)
	if s.echoes {
		// A fresh one of this second would be the same as ours.
		eventually(t, "another second", func(context.Context) error {
			if _, fresh := ask(s.host, "peer.example", clientCookie); fresh == ours {
				return errors.New("the same second")
			}
			return nil
		})
	}
	for cookie, good := range map[string]bool{ours: true, spoiled(ours): false} {
		rcode, back := ask(s.host, "peer.example", cookie)
		taken := rcode == dns.RcodeSuccess
		if s.echoes {
			taken = back == cookie
		}
		if taken != good {
			t.Errorf("%s takes our cookie %s for %s: %t, want %t (%s, %s)", s.name, cookie, client, taken, good, dns.RcodeToString[rcode], back)
		}
	}
}

// spoiled returns a cookie with one octet of its hash changed.
func spoiled(cookie string) string {
	last := "0"
	if strings.HasSuffix(cookie, "0") {
		last = "1"
	}
	return cookie[:len(cookie)-1] + last
}

// askCookie asks a server from an address of ours for the SOA of a zone, or
// nothing, with a cookie, and returns the rcode and the cookie of the answer.
func askCookie(ctx context.Context, client netip.Addr, host int, zone, cookie string) (int, string, error) {
	q := new(dns.Msg)
	q.Id = dns.Id()
	if zone != "" {
		q.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	}
	q.SetEdns0(1232, false)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
	server := fmt.Sprintf("192.0.2.%d:53", host)
	if client.Is6() {
		server = fmt.Sprintf("[2001:db8::%d]:53", host)
	}
	c := dns.Client{Timeout: patience, Dialer: &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0))}}
	reply, _, err := c.ExchangeContext(ctx, q, server)
	if err != nil {
		return 0, "", fmt.Errorf("ask %s with a cookie: %w", server, err)
	}
	if opt := reply.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if got, ok := o.(*dns.EDNS0_COOKIE); ok {
				return reply.Rcode, got.Cookie, nil
			}
		}
	}
	return reply.Rcode, "", fmt.Errorf("ask %s with a cookie: %s without one", server, dns.RcodeToString[reply.Rcode])
}
