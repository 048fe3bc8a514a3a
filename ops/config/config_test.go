package config_test

import (
	"cmp"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/config"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// home is an environment in which everything has a place.
var home = []string{"HOME=/home/alice"}

// same compares configurations, wherever they were read from.
var same = gocmp.Options{
	cmpopts.IgnoreUnexported(config.Config{}),
	cmpopts.IgnoreFields(config.Config{}, "File"),
	cmpopts.EquateEmpty(),
	gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func parse(t *testing.T, text string, environ ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("bl.yaml", []byte(text), append(environ, home...))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return c
}

// design is the configuration that the documentation of the keys began with.
const design = `
state: /var/lib/backscatter
dns:
  listen: ["127.0.0.1:5300"]
http:
  listen: "127.0.0.1:8053"
zones:
  - name: bl.example
    ns: [ns1.bl.example]
    hostmaster: hostmaster.bl.example
    ttl: 5m
    negative_ttl: 5m
    classes: [bounce, notice, autoreply, challenge, manual]
    url: "https://bl.example/"
intake:
  smtp: {listen: "127.0.0.1:2525", reporter: local}
reporters:
  - {name: local, organisation: local, relays: ["127.0.0.0/8"]}
traps:
  - domain: trap.example
  - address: left-in-2009@example.org
policy:
  profile: community
  window: 168h
  score: 3
  originals: 3
  trap_domains: 2
  organisations: 2
  span: 10m
  lifetime: 168h
  lifetime_max: 672h
  listable: []
exports:
  - {zone: bl.example, dir: /var/lib/backscatter/export, formats: [ip4set, ip6trie, zone], every: 60s}
`

// TestDesign holds that the documented keys load, and that nearly all of the
// values there are the defaults.
func TestDesign(t *testing.T) {
	t.Parallel()
	want := config.Defaults(home)
	want.State = "/var/lib/backscatter"
	want.Reporters[0].Relays = want.Reporters[0].Relays[:1]
	want.Traps = []config.Trap{{Domain: "trap.example"}, {Address: "left-in-2009@example.org"}}
	want.Exports = []config.Export{{
		Zone: "bl.example", Dir: "/var/lib/backscatter/export", Formats: config.DefaultFormats(), Brake: 0.5, Every: time.Minute,
	}}
	if diff := gocmp.Diff(want, parse(t, design), same); diff != "" {
		t.Errorf("(-defaults +parsed)\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no text": "", "a comment": "# nothing\n", "null": "~\n", "empty sections": "dns:\ntraps:\npolicy: {score: }\n",
	} {
		if diff := gocmp.Diff(config.Defaults(home), parse(t, text), same); diff != "" {
			t.Errorf("%s: (-defaults +parsed)\n%s", name, diff)
		}
	}
	c := config.Defaults(home)
	if got, want := c.State, "/home/alice/.local/state/backscatter"; got != want {
		t.Errorf("state %q, want %q", got, want)
	}
	if diff := gocmp.Diff(listing.Community(), c.ListingPolicy()); diff != "" {
		t.Errorf("policy: %s", diff)
	}
	for _, listen := range append(c.DNS.Listen, c.HTTP.Listen, c.Intake.SMTP.Listen) {
		if a := netip.MustParseAddrPort(listen); !a.Addr().IsLoopback() {
			t.Errorf("listens on %s by default, which is not loopback", listen)
		}
	}
}

// TestItemDefaults holds that an item of a list has the defaults for what it
// leaves out, and a default that follows from its name.
func TestItemDefaults(t *testing.T) {
	t.Parallel()
	c := parse(t, `
zones:
  - {name: bl.example.org, ns: [ns.example.org], apex: {txt: [hello]}}
  - {name: Other.Example.Org., ns: [ns.example.org], ttl: 1h, classes: [callout]}
reporters: [{name: acme}]
exports: [{zone: bl.example.org, dir: out}]
`)
	zone := config.Defaults(home).Zones[0]
	zone.Name, zone.NS = "bl.example.org", []string{"ns.example.org"}
	zone.Hostmaster, zone.URL = "hostmaster.bl.example.org", "https://bl.example.org/"
	zone.Apex.TXT = []string{"hello"}
	other := config.Defaults(home).Zones[0]
	other.Name, other.NS = "Other.Example.Org.", []string{"ns.example.org"}
	other.Hostmaster, other.URL = "hostmaster.Other.Example.Org", "https://Other.Example.Org/"
	other.TTL, other.Classes = time.Hour, []listing.Class{listing.ClassCallout}

	want := config.Defaults(home)
	want.Zones = []config.Zone{zone, other}
	want.Reporters = []config.Reporter{{Name: "acme", Organisation: "acme", Weight: 1}}
	want.Intake.SMTP.Reporter = "acme"
	want.Exports = []config.Export{{Zone: "bl.example.org", Dir: "out", Formats: config.DefaultFormats(), Brake: 0.5, Every: time.Minute}}
	if diff := gocmp.Diff(want, c, same); diff != "" {
		t.Errorf("(-want +parsed)\n%s", diff)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	want := listing.Solo()
	want.Score = 4.5
	want.Weights.Callout = 0.25
	got := parse(t, "policy: {profile: solo, score: 4.5, weights: {callout: 0.25}}").ListingPolicy()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +parsed)\n%s", diff)
	}
	if got := parse(t, "policy: {score: 4.5, weights: {callout: 0.25}}", "BACKSCATTER_POLICY_PROFILE=solo").ListingPolicy(); got != want {
		t.Errorf("profile of the environment: got %+v, want %+v", got, want)
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "7d": 168 * time.Hour, "1w": 168 * time.Hour, "1w2d3h": 219 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		if got := parse(t, "policy: {lifetime_max: 999d, window: 30d, lifetime: "+text+"}").Policy.Lifetime; got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	file := `
dns: {listen: ["127.0.0.1:53"], max_tcp: 7}
policy: {window: 24h}
`
	c := parse(t, file,
		"BACKSCATTER_STATE=/srv/bl",
		"BACKSCATTER_DNS_LISTEN=192.0.2.1:53, [2001:db8::1]:53",
		"BACKSCATTER_DNS_MAX_TCP=12",
		"BACKSCATTER_POLICY_WINDOW=48h",
		"BACKSCATTER_POLICY_SCORE=2.5",
		"BACKSCATTER_POLICY_LISTABLE=192.0.2.0/24",
		"BACKSCATTER_INTAKE_SMTP_HOSTNAME=mx.example.org",
		"BACKSCATTER_HTTP_LISTEN=", // empty counts as not set
		"OTHER_DNS_VERSION=no",
	)
	want := config.Defaults(home)
	want.State = "/srv/bl"
	want.DNS.Listen, want.DNS.MaxTCP = []string{"192.0.2.1:53", "[2001:db8::1]:53"}, 12
	want.Policy.Window, want.Policy.Score = 48*time.Hour, 2.5
	want.Policy.Listable = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	want.Intake.SMTP.Hostname = "mx.example.org"
	if diff := gocmp.Diff(want, c, same); diff != "" {
		t.Errorf("(-want +parsed)\n%s", diff)
	}
}

// TestEveryVariable sets each variable that the reference names, and wants the
// same as from a file with the key, and not what it is without.
func TestEveryVariable(t *testing.T) {
	t.Parallel()
	byType := map[string]string{
		"text": "x.example", "duration": "77s", "whole number": "1777", "number": "0.77",
		"list of texts": "127.0.0.1:777", "list of prefixes": "198.51.100.0/25",
		"true or false": "true",
	}
	byPath := map[string]string{
		"http.listen": "127.0.0.1:777", "intake.smtp.listen": "127.0.0.1:777", "intake.smtp.reporter": "local",
		"intake.smtp.max_size": "17777", "intake.smtp.max_recipients": "77",
		"policy.profile": "solo", "policy.window": "77m", "policy.lifetime_max": "777h", "policy.score": "7.7", "policy.spf_factor": "1.77",
		"lookups.timeout": "7s", "commit.wait": "77ms", "retention.observations": "7777h", "retention.audit": "9999h", "dns.cookies.enabled": "false", "intake.spool_size": "17777777", "intake.reports.max_size": "17777777", "intake.reports.listen": "127.0.0.1:778", "intake.reports.names": "x.example", "headers.size": "1777777", "log.level": "debug", "log.format": "json",
		"dns.query_log.to": "/var/log/x", "dns.query_log.clients": "address",
		"mirror.key": "RWQyBhAKsKssctQekHFbkblrNtIxEiAr/bY6IR8YPLTFexkyV2sNnZ8M",
	}
	count := 0
	for _, f := range config.Reference() {
		if f.Env == "" {
			continue
		}
		count++
		value := cmp.Or(byPath[f.Path], byType[f.Type])
		text := value
		if strings.HasPrefix(f.Type, "list") {
			text = "[" + value + "]"
		}
		for key := range strings.SplitSeq(reverse(f.Path), ".") {
			text = "{" + reverse(key) + ": " + text + "}"
		}
		got := parse(t, "", f.Env+"="+value)
		if diff := gocmp.Diff(parse(t, text), got, same); diff != "" {
			t.Errorf("%s=%s (-file +variable)\n%s", f.Env, value, diff)
		}
		if gocmp.Equal(config.Defaults(home), got, same) && f.Path != "intake.smtp.reporter" {
			t.Errorf("%s=%s changes nothing", f.Env, value)
		}
	}
	if count < 40 {
		t.Errorf("only %d variables are in the reference", count)
	}
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

func TestState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"systemd", []string{"STATE_DIRECTORY=/var/lib/backscatter", "XDG_STATE_HOME=/x", "HOME=/h"}, "/var/lib/backscatter"},
		{"systemd, several", []string{"STATE_DIRECTORY=/var/lib/a:/var/lib/b"}, "/var/lib/a"},
		{"xdg", []string{"XDG_STATE_HOME=/x", "HOME=/h"}, "/x/backscatter"},
		{"xdg must be absolute", []string{"XDG_STATE_HOME=x", "HOME=/h"}, "/h/.local/state/backscatter"},
		{"home", []string{"HOME=/h"}, "/h/.local/state/backscatter"},
		{"own variable", []string{"BACKSCATTER_STATE=/s", "STATE_DIRECTORY=/var/lib/a"}, "/s"},
	} {
		c, err := config.Parse("", nil, test.environ)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.State != test.want {
			t.Errorf("%s: state %q, want %q", test.name, c.State, test.want)
		}
	}
	_, err := config.Parse("", nil, nil)
	want := "defaults: state: no folder is known; set it, or STATE_DIRECTORY, XDG_STATE_HOME or HOME in the environment"
	if err == nil || err.Error() != want {
		t.Errorf("without a home: got %v, want %s", err, want)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, version string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("dns: {version: "+version+"}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	given, named := write("given.yaml", "given"), write("named.yaml", "named")
	system, xdg := write("etc/backscatter.yaml", "system"), write("xdg/backscatter/backscatter.yaml", "xdg")
	none := filepath.Join(dir, "none.yaml")
	env := func(more ...string) []string { return append(more, "HOME="+dir) }

	for _, test := range []struct {
		name, path, system string
		environ            []string
		file, version      string
	}{
		{"the path given", given, system, env("BACKSCATTER_CONFIG=" + named), given, "given"},
		{"the variable", "", system, env("BACKSCATTER_CONFIG=" + named), named, "named"},
		{"the system's file", "", system, env("XDG_CONFIG_HOME=" + filepath.Join(dir, "xdg")), system, "system"},
		{"the user's file", "", none, env("XDG_CONFIG_HOME=" + filepath.Join(dir, "xdg")), xdg, "xdg"},
		{"no file", "", none, env(), "", ""},
	} {
		c, err := config.LoadFrom(test.path, test.environ, test.system)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.File != test.file || c.DNS.Version != test.version {
			t.Errorf("%s: got file %q with %q, want %q with %q", test.name, c.File, c.DNS.Version, test.file, test.version)
		}
	}

	for _, test := range []struct{ name, path, want string }{
		{"missing", none, none + ": cannot be read: no such file or directory; check --config and BACKSCATTER_CONFIG"},
		{"a folder", dir, dir + ": cannot be read: is a directory; check --config and BACKSCATTER_CONFIG"},
	} {
		_, err := config.LoadFrom(test.path, env(), none)
		var problems config.Errors
		if !errors.As(err, &problems) || err.Error() != test.want {
			t.Errorf("%s: got %v, want Errors with %s", test.name, err, test.want)
		}
	}
}
