package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/ops/config"

	gocmp "github.com/google/go-cmp/cmp"
)

// packaged is the example as packages install it.
var packaged = filepath.Join("..", "packaging", "example.yaml")

func printed(t *testing.T, c *config.Config) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// odd has a value in it that is hard to print for every kind of key.
const odd = `
state: "5"
dns: {listen: [":0", "[fe80::1%lo]:53"], version: "yes", hostname: "# no: comment", tcp_idle: 1500ms}
http: {listen: ""}
zones:
  - {name: "1e3.example", ns: [null.example, "true.example"], ttl: 1h1s, apex: {addresses: ["2001:db8::1", "::ffff:192.0.2.1"], txt: ['"quoted" \ ~', " spaces ", "ünï"]}}
reporters:
  - {name: "007", relays: ["2001:db8::/32", "::ffff:192.0.2.0/120", "192.0.3.1"], weight: 0.1}
traps:
  - {domain: 0x10.example, senders: ["~"]}
  - {address: "null@x.example"}
policy: {score: 2.5, weights: {callout: 0.125}, span: 0s, listable: ["192.0.2.0/24", "2001:db8::/32"]}
exempt: [{prefix: "198.51.100.0/24", reason: "- a: [b] & *c"}]
exports: [{zone: 1E3.Example, dir: ". ", formats: [txt], every: 1h30m}]
`

func TestPrintLoadsBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*config.Config{
		"defaults": config.Defaults(home), "design": parse(t, design), "odd": parse(t, odd),
		"solo": parse(t, "policy: {profile: solo, originals: 4}"),
	} {
		text := printed(t, c)
		// Without an environment, nothing can come from anywhere else.
		again, err := config.Parse("printed", []byte(text), nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if diff := gocmp.Diff(c, again, same); diff != "" {
			t.Errorf("%s (-was +now)\n%s\n%s", name, diff, text)
		}
		if twice := printed(t, again); twice != text {
			t.Errorf("%s: printed again it differs: %s", name, gocmp.Diff(text, twice))
		}
	}
}

func TestPrintedDurations(t *testing.T) {
	t.Parallel()
	text := printed(t, config.Defaults(home))
	for _, want := range []string{"window: 168h\n", "span: 10m\n", "shutdown_timeout: 20s\n", "ttl: 5m\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
}

// TestExample holds that the example that is installed is the one made from
// the code, and that it loads, without a warning but for the names in it.
func TestExample(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := config.WriteExample(&out); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(packaged, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(packaged)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(file), out.String()); diff != "" {
		t.Errorf("%s differs from the code (-file +code); write it anew: go test ./ops/config -run Example -update\n%s", packaged, diff)
	}
	c, err := config.Parse(packaged, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "bl.example is a name for examples") {
		t.Errorf("warnings: %q", w)
	}
	for i, line := range strings.Split(string(file), "\n") {
		if len(line) > 80 {
			t.Errorf("line %d is wider than a screen: %s", i+1, line)
		}
	}
}

// TestInstalled holds that what packages put into /etc loads, as it is and with
// all that is suggested there.
func TestInstalled(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "packaging", "backscatter.yaml")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(path, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Defaults(nil)
	want.State = "/var/lib/backscatter"
	if diff := gocmp.Diff(want, c, same); diff != "" {
		t.Errorf("as it is (-defaults +installed)\n%s", diff)
	}
	suggested := strings.NewReplacer("\n#  ", "\n  ", "\n#dns", "\ndns", "\n#zones", "\nzones", "\n#intake", "\nintake", "\n#traps", "\ntraps").Replace(string(file))
	c, err = config.Parse(path, []byte(suggested), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Traps) != 1 || c.Zones[0].Name != "bl.example.org" || c.DNS.Listen[0] != ":53" || c.Intake.SMTP.Listen != ":25" {
		t.Errorf("with what is suggested: %+v", c)
	}
}

// TestReference holds that every key is documented, with its default.
func TestReference(t *testing.T) {
	t.Parallel()
	var table, example bytes.Buffer
	if err := config.WriteReference(&table); err != nil {
		t.Fatal(err)
	}
	if err := config.WriteExample(&example); err != nil {
		t.Fatal(err)
	}
	paths, variables := map[string]bool{}, map[string]string{}
	for _, f := range config.Reference() {
		if paths[f.Path] {
			t.Errorf("%s is there twice", f.Path)
		}
		paths[f.Path] = true
		if other, ok := variables[f.Env]; ok && f.Env != "" {
			t.Errorf("%s stands for %s and for %s", f.Env, other, f.Path)
		}
		variables[f.Env] = f.Path
		if !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s: no documentation in full sentences: %q", f.Path, f.Doc)
		}
		if f.Default == "" && f.Type != "section" {
			t.Errorf("%s: no default", f.Path)
		}
		if !strings.Contains(table.String(), "| `"+f.Path+"` | "+f.Type+" |") {
			t.Errorf("%s is not in the table", f.Path)
		}
		if last := f.Path[strings.LastIndexByte(f.Path, '.')+1:]; !strings.Contains(example.String(), last+":") {
			t.Errorf("%s is not in the example", f.Path)
		}
	}
	for _, path := range []string{"state", "dns.listen", "zones", "zones[].ttl", "zones[].apex.txt", "intake.smtp.reporter", "policy.weights.callout", "exports[].every"} {
		if !paths[path] {
			t.Errorf("%s is not in the reference", path)
		}
	}
}

func TestReferenceDefaults(t *testing.T) {
	t.Parallel()
	got := map[string]config.Field{}
	for _, f := range config.Reference() {
		got[f.Path] = f
	}
	for path, want := range map[string]string{
		"dns.listen": `['127.0.0.1:5300']`, "policy.window": "168h", "policy.listable": "[]", "zones[].name": "must be set",
		"zones[].classes": "[bounce, notice, autoreply, challenge, manual]", "dns.version": `""`, "traps": "[]", "zones[].ttl": "5m",
		"reporters": "[{name: local, organisation: local, relays: [127.0.0.0/8, '::1/128'], weight: 1}]", "reporters[].weight": "1",
		"exports[].formats": "[ip4set, ip6trie, zone]", "dns": "",
	} {
		if got[path].Default != want {
			t.Errorf("%s: default %q, want %q", path, got[path].Default, want)
		}
	}
	if f := got["dns.listen"]; f.Env != "BACKSCATTER_DNS_LISTEN" || !f.Restart || f.Type != "list of texts" {
		t.Errorf("dns.listen: %+v", f)
	}
	if f := got["zones[].ttl"]; f.Env != "" || f.Restart {
		t.Errorf("zones[].ttl: %+v", f)
	}
}

func TestRestartNeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*config.Config)
		want   []string
	}{
		{"nothing", func(*config.Config) {}, nil},
		{"another file with the same", func(c *config.Config) { c.File = "other.yaml" }, nil},
		{"what can be reloaded", func(c *config.Config) {
			c.Zones[0].TTL = time.Hour
			c.Traps = []config.Trap{{Domain: "trap.example"}}
			c.Policy.Score = 5
			c.Reporters[0].Weight = 2
			c.ShutdownTimeout = time.Minute
		}, nil},
		{"sockets", func(c *config.Config) {
			c.HTTP.Listen = "127.0.0.1:1"
			c.DNS.Listen = append(c.DNS.Listen, "[::1]:5300")
			c.State = "/elsewhere"
			c.Intake.SMTP.Listen = ""
		}, []string{"state", "dns.listen", "http.listen", "intake.smtp.listen"}},
		{"a list that is empty instead of missing", func(c *config.Config) { c.Exports = []config.Export{} }, nil},
		{"exports", func(c *config.Config) { c.Exports = []config.Export{{Zone: "bl.example"}} }, []string{"exports"}},
	} {
		before, after := config.Defaults(home), config.Defaults(home)
		test.change(after)
		if diff := gocmp.Diff(test.want, config.RestartNeeded(before, after)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	before, after := parse(t, design), parse(t, design)
	if keys := config.Changed(before, after); keys != nil {
		t.Errorf("nothing was changed, got %v", keys)
	}
	after.DNS.Version = "2"
	after.Traps[1].Address = "somebody@example.org"
	after.Policy.Weights.Callout = 1
	if diff := gocmp.Diff([]string{"dns.version", "traps", "policy.weights.callout"}, config.Changed(before, after)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	const zone = "zones: [{name: bl.example.org, ns: [ns.example.org]}]\n"
	const traps = "traps: [{domain: a.example}, {address: x@b.example}]\n"
	for _, test := range []struct {
		name, text string
		environ    []string
		want       []string
	}{
		{"defaults", "", nil, []string{
			"traps: none are configured, so nothing will be listed but by an operator",
			"zones: bl.example is a name for examples and cannot be reached by delegation; set the name of your own",
		}},
		{"nothing", zone + traps, nil, nil},
		{"lab", zone + traps + "policy: {listable: [192.0.2.0/24]}\n", nil, []string{
			"policy.listable opens special-purpose space: 192.0.2.0/24 can be listed; for labs only",
		}},
		{"one trap domain", zone + "traps: [{domain: a.example}, {address: x@A.example}]\n", nil, []string{
			"policy.trap_domains wants 2 and traps has 1, so evidence lists nothing; add traps, or set policy.profile to solo",
			"policy.organisations wants 2 and reporters has 1, so evidence lists nothing; add reporters, or set policy.profile to solo",
		}},
		{"one trap domain, solo", zone + "traps: [{domain: a.example}]\npolicy: {profile: solo}\n", nil, nil},
		{"one organisation without a trap of its own", zone + traps + "intake: {smtp: {listen: \"\"}}\n", nil, []string{
			"policy.organisations wants 2 and reporters has 1, so evidence lists nothing; add reporters, or set policy.profile to solo",
		}},
		{"long TTL", "zones: [{name: bl.example.org, ns: [ns.example.org], ttl: 2d}]\n" + traps, nil, []string{
			"zones: bl.example.org lets resolvers keep answers for more than a day, so listings and removals are seen late",
		}},
		{"slips in the environment", zone + traps, []string{"BACKSCATTER_DNS_LISTNE=x", "BACKSCATTER_CONFIG=/c", "BACKSCATTER_PEERS=require", "BACKSCATTER_PORT=tcp://192.0.2.1"}, []string{
			"BACKSCATTER_DNS_LISTNE in the environment names no key of the configuration and is ignored",
			"BACKSCATTER_PORT in the environment names no key of the configuration and is ignored",
		}},
	} {
		if diff := gocmp.Diff(test.want, parse(t, test.text, test.environ...).Warnings()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}
