package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/ops/config"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestDNSRules(t *testing.T) {
	t.Parallel()
	got := config.Defaults(home).DNSRules([]dnsd.CookieSecret{{1}})
	if got.Jar == nil || got.RequireCookies || got.NSID != "" || got.Access == nil {
		t.Errorf("%+v", got)
	}
	want := dnsd.Rates{Same: 200, All: 20_000, Slip: 3, Period: 24 * time.Hour}
	if diff := gocmp.Diff(want, got.Rates); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if none := parse(t, "dns: {access: []}").DNSRules(nil); none.Access != nil {
		t.Errorf("%+v", none)
	}
	got = parse(t, `dns:
  nsid: ns1
  cookies: {require: true}
  limits: {same: 1, all: 2, slip: 0, quota: 3, period: 1h}
  access:
  - {prefix: 192.0.2.0/24, action: empty}
  - {prefix: 2001:db8::/32, action: code, code: 127.255.255.254}
`).DNSRules(nil)
	want = dnsd.Rates{Same: 1, All: 2, Quota: 3, Period: time.Hour}
	if diff := gocmp.Diff(want, got.Rates); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got.Jar != nil || !got.RequireCookies || got.NSID != "ns1" || got.Access == nil {
		t.Errorf("%+v", got)
	}
}

func TestBadDNSRules(t *testing.T) {
	t.Parallel()
	checkBad(t, []badCase{
		{"limits", "dns:\n  nsid: " + strings.Repeat("n", 129) + "\n  limits: {same: -1, all: 2000000000, slip: -1, quota: -1, period: 1ms}\n", []string{
			"bl.yaml:2: dns.nsid: has 129 bytes; at most 128 fit",
			"bl.yaml:3: dns.limits.same: -1 is out of range; write 0 to 1048574",
			"bl.yaml:3: dns.limits.all: 2000000000 is out of range; write 0 to 1048574",
			"bl.yaml:3: dns.limits.slip: -1 is out of range; write 0 to 10000",
			"bl.yaml:3: dns.limits.quota: -1 is out of range; write 0 to 4294967294",
			"bl.yaml:3: dns.limits.period: 1ms is out of range; write 1s to 744h",
		}},
		{"access", `dns:
  access:
  - {prefix: 192.0.2.0/24, action: deny}
  - {prefix: 192.0.2.0/24, action: allow, code: 127.0.0.2}
  - {prefix: 198.51.100.0/24, action: code}
  - {prefix: 203.0.113.0/24, action: code, code: 192.0.2.1}
  - {action: code, code: "::1"}
`, []string{
			`bl.yaml:3: dns.access[0].action: "deny" is no action; write one of allow, refuse, ignore, empty, code`,
			`bl.yaml:4: dns.access[1].code: is not answered by the action allow; remove it, or write the action code`,
			`bl.yaml:4: dns.access[1].prefix: 192.0.2.0/24 is the prefix of dns.access[0] of line 3 too; keep one`,
			`bl.yaml:5: dns.access[2].code: "" is no code; write an address in 127.0.0.0/8, such as 127.255.255.254`,
			`bl.yaml:6: dns.access[3].code: "192.0.2.1" is no code; write an address in 127.0.0.0/8, such as 127.255.255.254`,
			`bl.yaml:7: dns.access[4].prefix: is missing; set it`,
		}},
	})
}

func TestReadCookieSecrets(t *testing.T) {
	t.Parallel()
	const one, two = "e5e973e5a6b2a43f48e7dc849e37bfcf", "445536bcd2513298075a5d379663c962"
	first, second := dnsd.CookieSecret{0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48, 0xe7, 0xdc, 0x84, 0x9e, 0x37, 0xbf, 0xcf},
		dnsd.CookieSecret{0x44, 0x55, 0x36, 0xbc, 0xd2, 0x51, 0x32, 0x98, 0x07, 0x5a, 0x5d, 0x37, 0x96, 0x63, 0xc9, 0x62}
	for text, want := range map[string][]config.CookieSecret{
		one + "\n":                            {{"active", first}},
		"# ours\n" + one + "\n" + two + "\n":  {{"active", first}, {"old", second}},
		"staged " + two + "\nactive " + one:   {{"active", first}, {"staged", second}},
		"active " + one + "\n  old\t" + two:   {{"active", first}, {"old", second}},
		"active " + strings.ToUpper(one) + "": {{"active", first}},
	} {
		got, err := config.ReadCookieSecrets(keyFile(t, text, 0o600))
		if diff := gocmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got)\n%s", text, err, diff)
		}
		again, err := config.ReadCookieSecrets(keyFile(t, config.WriteCookieSecrets(got), 0o600))
		if diff := gocmp.Diff(want, again); diff != "" || err != nil {
			t.Errorf("%q, written: %v (-want +got)\n%s", text, err, diff)
		}
	}
	for _, c := range []struct {
		text, want string
		mode       os.FileMode
	}{
		{one, "chmod 600", 0o644},
		{"", "has 0 keys", 0o600},
		{one[1:], "secret 1", 0o600},
		{one + "\n" + two + " x y", "secret 2", 0o600},
		{strings.Repeat("g", 32), "32 hexadecimal digits", 0o600},
		{"new " + one, `"new" is no stage`, 0o600},
		{"staged " + one, "not one active", 0o600},
		{"active " + one + "\nactive " + two, "not one active", 0o600},
	} {
		if _, err := config.ReadCookieSecrets(keyFile(t, c.text, c.mode)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

// TestCheckKeysReadsCookies wants 'config check' to read a file that is named, and
// not to miss the one that the server makes.
func TestCheckKeysReadsCookies(t *testing.T) {
	t.Parallel()
	if err := parse(t, "state: "+t.TempDir()).CheckKeys(); err != nil {
		t.Error(err)
	}
	missing := filepath.Join(t.TempDir(), "none")
	if err := parse(t, "dns: {cookies: {file: "+missing+"}}").CheckKeys(); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v, want the file named", err)
	}
	if err := parse(t, "dns: {cookies: {enabled: false, file: "+missing+"}}").CheckKeys(); err != nil {
		t.Error(err)
	}
}
