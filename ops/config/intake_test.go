package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/evidence/intake"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestIntake(t *testing.T) {
	t.Parallel()
	c := parse(t, `
intake:
  smtp: {listen: "192.0.2.25:25", hostname: mx.trap.example, xclient: true, proxy: true, max_rate: 7, max_errors: 3, tarpit: 2s}
  milter: [{listen: "127.0.0.1:7357", reporter: alias}]
  lmtp: [{listen: "unix:/run/bs/lmtp"}, {listen: "192.0.2.25:24", reporter: alias}]
reporters: [{name: local}, {name: alias, relays: [203.0.113.0/24]}]
`)
	smtp, on := c.SMTPOptions()
	if !on || !smtp.XCLIENT || !smtp.Proxy || smtp.Limits.Rate != 7 || smtp.Limits.Refusals != 3 || smtp.Limits.Tarpit != 2*time.Second {
		t.Errorf("SMTP %+v", smtp)
	}
	var got []intake.SMTPOptions
	for _, o := range c.LMTPOptions() {
		if o.Limits.PerClient < o.Limits.Connections {
			t.Error("LMTP has one client, which may not use all connections")
		}
		o.Limits = intake.Limits{}
		got = append(got, o)
	}
	want := []intake.SMTPOptions{
		{Addr: "unix:/run/bs/lmtp", Hostname: "mx.trap.example", Reporter: "local", LMTP: true},
		{Addr: "192.0.2.25:24", Hostname: "mx.trap.example", Reporter: "alias", LMTP: true},
	}
	if diff := gocmp.Diff(want, got, cmpopts.IgnoreFields(intake.SMTPOptions{}, "Limits")); diff != "" {
		t.Errorf("LMTP (-want +got)\n%s", diff)
	}
	if diff := gocmp.Diff([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, c.Relays("alias"), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("relays (-want +got)\n%s", diff)
	}
	if m := c.MilterOptions(); len(m) != 1 || m[0].Addr != "127.0.0.1:7357" || m[0].Reporter != "alias" {
		t.Errorf("milters %+v", m)
	}
	if c.Relays("stranger") != nil {
		t.Error("a stranger has relays")
	}
}

func TestBadIntake(t *testing.T) {
	t.Parallel()
	checkBad(t, []badCase{
		{"limits", "intake: {smtp: {max_rate: 0, max_errors: 0, tarpit: 6m}}", []string{
			`bl.yaml:1: intake.smtp.max_rate: 0 is out of range; write 1 to 1000000`,
			`bl.yaml:1: intake.smtp.max_errors: 0 is out of range; write 1 to 100000`,
			`bl.yaml:1: intake.smtp.tarpit: 6m is out of range; write 0s to 5m`,
		}},
		{"sensors", "intake:\n  lmtp:\n  - {listen: \"unix:lmtp\"}\n  - {listen: lmtp, reporter: nobody}\n  - {listen: \"unix:/" + strings.Repeat("x", 107) + "\"}\n  - {reporter: local}\n", []string{
			`bl.yaml:3: intake.lmtp[0].listen: "lmtp" is no absolute path; write one like unix:/run/backscatter/lmtp`,
			`bl.yaml:4: intake.lmtp[1].listen: "lmtp" is no address with a port; write one like 127.0.0.1:5300 or [::1]:5300`,
			`bl.yaml:4: intake.lmtp[1].reporter: "nobody" is not defined; add it to reporters, or write one of them: local`,
			`bl.yaml:5: intake.lmtp[2].listen: has a path of 108 bytes, and the system allows 107; choose a shorter one`,
			`bl.yaml:6: intake.lmtp[3].listen: is missing; set it`,
		}},
		{"milter and spool", "intake: {spool_size: 5, milter: [{listen: x}]}", []string{
			`bl.yaml:1: intake.spool_size: 5 is out of range; write 1048576 to 1099511627776`,
			`bl.yaml:1: intake.milter[0].listen: "x" is no address with a port; write one like 127.0.0.1:5300 or [::1]:5300`,
		}},
		{"reports", "intake: {reports: {listen: \":8443\", max_size: 5, max_rate: 0, window: 1s, names: [\"a b\"]}}", []string{
			`bl.yaml:1: intake.reports.names[0]: "a b" is no host name; write one like reports.example.org`,
			`bl.yaml:1: intake.reports.max_size: 5 is out of range; write 2097152 to 67108864`,
			`bl.yaml:1: intake.reports.max_rate: 0 is out of range; write 1 to 6000`,
			`bl.yaml:1: intake.reports.window: 1s is out of range; write 30s to 1h`,
			`bl.yaml:1: intake.reports.listen: ":8443" is no loopback address, and reports would come unencrypted; set tls_cert and tls_key, or name the proxies that speak HTTPS`,
		}},
		{"reports by nameless proxies", "intake: {reports: {listen: \":8443\", proxies: [192.0.2.1]}}", []string{
			`bl.yaml:1: intake.reports.names: is empty; write the names by which reporters reach the proxies`,
		}},
		{"one port twice", "intake: {smtp: {listen: \"127.0.0.1:2525\"}, lmtp: [{listen: \"127.0.0.1:2525\"}]}", []string{
			`bl.yaml:1: intake.lmtp[0].listen: 127.0.0.1:2525 is taken by intake.smtp.listen of line 1; write another port`,
		}},
	})
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	if cert, err := parse(t, "").Intake.SMTP.Certificate(); cert != nil || err != nil {
		t.Errorf("without one: %v, %v", cert, err)
	}
	half := parse(t, "intake: {smtp: {tls_key: /k}}")
	if err := half.CheckKeys(); err == nil || !strings.Contains(err.Error(), "set both") {
		t.Errorf("a key without a certificate: %v", err)
	}
	half = parse(t, "intake: {reports: {tls_cert: /c}}")
	if err := half.CheckKeys(); err == nil || !strings.Contains(err.Error(), "intake.reports has one") {
		t.Errorf("a certificate without a key: %v", err)
	}
	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := parse(t, "intake: {smtp: {tls_cert: "+file+", tls_key: "+file+"}}")
	if _, err := c.Intake.SMTP.Certificate(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names the file", err)
	}
}
