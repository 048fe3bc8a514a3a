package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"backscatter/ops/config"

	gocmp "github.com/google/go-cmp/cmp"
)

// problemsOf returns the lines of the error of a bad configuration.
func problemsOf(t *testing.T, text string, environ ...string) []string {
	t.Helper()
	c, err := config.Parse("bl.yaml", []byte(text), append(environ, home...))
	if err == nil {
		return nil
	}
	var problems config.Errors
	if c != nil || !errors.As(err, &problems) {
		t.Fatalf("got %v and the error %T, want no configuration and Errors", c, err)
	}
	return strings.Split(err.Error(), "\n")
}

type badCase struct {
	name, text string
	want       []string
}

func checkBad(t *testing.T, cases []badCase) {
	t.Helper()
	for _, test := range cases {
		if diff := gocmp.Diff(test.want, problemsOf(t, test.text)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestBadStructure(t *testing.T) {
	t.Parallel()
	checkBad(t, []badCase{
		{"unknown key, a slip", "dns:\n  lisen: [x]\n", []string{`bl.yaml:2: dns.lisen: unknown key; did you mean listen?`}},
		{"unknown key", "http:\n  colour: red\n", []string{`bl.yaml:2: http.colour: unknown key; known here: listen, origins, poll, proxies`}},
		{"unknown key with a dot", "dns.listen: [x]\n", []string{
			`bl.yaml:1: dns.listen: unknown key; known here: state, dns, http, zones, intake, reporters, traps, guarded, lookups, policy, brakes, probation, retention, journal, commit, headers, exempt, exports, mirror, log, shutdown_timeout`,
		}},
		{"key in capitals", "State: /s\n", []string{`bl.yaml:1: State: unknown key; did you mean state?`}},
		{"unknown key in an item", "traps:\n- domain: trap.example\n  domains: x\n", []string{`bl.yaml:3: traps[0].domains: unknown key; did you mean domain?`}},
		{"key that cannot be shown", "\"a\\nb\": 1\n", []string{
			`bl.yaml:1: "a\nb": unknown key; known here: state, dns, http, zones, intake, reporters, traps, guarded, lookups, policy, brakes, probation, retention, journal, commit, headers, exempt, exports, mirror, log, shutdown_timeout`,
		}},
		{"key twice", "state: /a\ndns: {}\nstate: /b\n", []string{`bl.yaml:3: state: is set twice, first in line 1; keep one`}},
		{"section for a value", "state: {a: b}\n", []string{`bl.yaml:1: state: want one value, found keys with values`}},
		{"value for a section", "dns: 5\n", []string{`bl.yaml:1: dns: want keys with values, found "5"`}},
		{"value for a list", "dns:\n  listen: 127.0.0.1:53\n", []string{`bl.yaml:2: dns.listen: want a list, found "127.0.0.1:53"; write ["127.0.0.1:53"]`}},
		{"section for a list", "traps: {domain: x}\n", []string{`bl.yaml:1: traps: want a list, found keys with values`}},
		{"value for an item", "traps: [trap.example]\n", []string{`bl.yaml:1: traps[0]: want keys with values, found "trap.example"`}},
		{"empty item", "traps:\n- domain: trap.example\n-\n", []string{`bl.yaml:3: traps[1]: is empty; remove it or give it a value`}},
		{"list of nothing", "dns: {listen: [~]}\n", []string{`bl.yaml:1: dns.listen[0]: is empty; remove it or give it a value`}},
		{"document is a list", "- a\n", []string{`bl.yaml:1: want keys with values, found a list`}},
		{"second document", "state: /a\n---\nstate: /b\n", []string{`bl.yaml:2: begins a second document; write one only`}},
		{"no YAML", "state: /a\ndns: [\n", []string{`bl.yaml:2: is no YAML: did not find expected node content`}},
		{"binary", "\x00\x01", []string{`bl.yaml: is no YAML: control characters are not allowed`}},
		{"alias", "traps: &x []\nexempt: *x\n", []string{`bl.yaml:2: exempt: want a list, found an alias; aliases are not supported, write the value out`}},
		{"tag", "state: !!binary aGk=\n", []string{`bl.yaml:1: state: the tag !!binary is not supported; write the plain value`}},
		{"tag that is none", "dns: {max_tcp: !!int x}\n", []string{`bl.yaml:1: dns.max_tcp: "x" is no int`}},
		{"key that is a list", "? [a]\n: b\n", []string{`bl.yaml:1: want a key, found a list`}},
		{"too large", strings.Repeat("# padding\n", 1<<17), []string{
			`bl.yaml: is larger than 1024 KiB; lists of addresses belong in the store: see backscatter import and exempt`,
		}},
	})
}

func TestBadValues(t *testing.T) {
	t.Parallel()
	const hint = "write a duration like 90s, 10m, 24h or 7d"
	checkBad(t, []badCase{
		{"brakes out of range", "brakes: {listings: -1, endings_share: 1.5}\n", []string{
			`bl.yaml:1: brakes.listings: -1: want 0 (no bound) to 1000000`,
			`bl.yaml:1: brakes.endings_share: 1.5: want 0 to 1`,
		}},
		{"bare duration", "policy:\n  window: 168\n", []string{`bl.yaml:2: policy.window: 168 has no unit; ` + hint}},
		{"bare duration in quotes", "policy: {window: \"168\"}\n", []string{`bl.yaml:1: policy.window: "168" has no unit; ` + hint}},
		{"bare zero", "policy: {span: 0}\n", []string{`bl.yaml:1: policy.span: 0 has no unit; ` + hint}},
		{"fraction for a duration", "policy: {span: 1.5}\n", []string{`bl.yaml:1: policy.span: 1.5 has no unit; ` + hint}},
		{"truth for a duration", "policy: {span: true}\n", []string{`bl.yaml:1: policy.span: want a duration like 90s, 10m, 24h or 7d, found true`}},
		{"odd duration", "policy: {span: 5 minutes}\n", []string{`bl.yaml:1: policy.span: "5 minutes" is no duration; write one like 90s, 10m, 24h or 7d`}},
		{"sign within a duration", "policy: {span: 1d-2h}\n", []string{`bl.yaml:1: policy.span: "1d-2h" is no duration; write one like 90s, 10m, 24h or 7d`}},
		{"endless duration", "policy: {span: 99999999999w}\n", []string{`bl.yaml:1: policy.span: "99999999999w" is no duration; write one like 90s, 10m, 24h or 7d`}},
		{"fraction for a count", "policy: {originals: 7.5}\n", []string{`bl.yaml:1: policy.originals: 7.5 is no whole number; write one without a fraction`}},
		{"text for a count", "policy: {originals: many}\n", []string{`bl.yaml:1: policy.originals: want a whole number, found "many"`}},
		{"number in quotes", "policy: {originals: \"3\"}\n", []string{`bl.yaml:1: policy.originals: want a whole number, found "3"`}},
		{"huge count", "policy: {originals: 18446744073709551615}\n", []string{`bl.yaml:1: policy.originals: 18446744073709551615 is too large`}},
		{"truth for a number", "policy: {score: true}\n", []string{`bl.yaml:1: policy.score: want a number, found true`}},
		{"number for text", "dns: {version: 9.18}\n", []string{`bl.yaml:1: dns.version: want text, found the number 9.18; put it in quotes: "9.18"`}},
		{"control character", "dns: {version: \"a\\u0007\"}\n", []string{`bl.yaml:1: dns.version: "a\a" has a control character in it; remove it`}},
		{"not a number", "policy: {score: .nan, share: .inf}\n", []string{
			`bl.yaml:1: policy.score: NaN: want 1 to 1000000`, `bl.yaml:1: policy.share: +Inf: want 0.01 to 1`,
		}},
		{"prefix with host bits", "policy:\n  listable:\n  - 192.0.2.0/24\n  - 198.51.100.7/24\n", []string{
			`bl.yaml:4: policy.listable[1]: 198.51.100.7/24 has bits set behind its length, did you mean 198.51.100.0/24`,
		}},
		{"no prefix", "exempt:\n- {prefix: mail.example.org, reason: ours}\n", []string{
			`bl.yaml:2: exempt[0].prefix: "mail.example.org": no IPv4 or IPv6 address and no address/length`,
		}},
		{"number for a prefix", "exempt: [{prefix: 5, reason: x}]\n", []string{
			`bl.yaml:1: exempt[0].prefix: want a prefix, like 192.0.2.0/24, found the number 5`,
		}},
		{"no address", "zones:\n- {name: bl.example.org, ns: [ns.example.org], apex: {addresses: [192.0.2.1, 192.0.2.300]}}\n", []string{
			`bl.yaml:2: zones[0].apex.addresses[1]: "192.0.2.300" is no address; write one like 192.0.2.1 or 2001:db8::1`,
		}},
		{"unknown class", "zones:\n- name: bl.example.org\n  ns: [ns.example.org]\n  classes: [bounce, other, spam]\n", []string{
			`bl.yaml:4: zones[0].classes[1]: "other" is no class that can be listed; known are notice, bounce, challenge, autoreply, callout, manual`,
			`bl.yaml:4: zones[0].classes[2]: "spam" is no class that can be listed; known are notice, bounce, challenge, autoreply, callout, manual`,
		}},
	})
}

func TestBadSections(t *testing.T) {
	t.Parallel()
	checkBad(t, []badCase{
		{"ports", "dns:\n  listen: [\"127.0.0.1\", \"127.0.0.1:99999\", \"ns1.example:53\", \":53\"]\nhttp: {listen: 8053}\n", []string{
			`bl.yaml:2: dns.listen[0]: "127.0.0.1" is no address with a port; write one like 127.0.0.1:5300 or [::1]:5300`,
			`bl.yaml:2: dns.listen[1]: "127.0.0.1:99999": the port is no number from 0 to 65535`,
			`bl.yaml:2: dns.listen[2]: "ns1.example:53": the host is no IP address; write one, or leave it out to listen on all`,
			`bl.yaml:3: http.listen: want text, found the number 8053; put it in quotes: "8053"`,
		}},
		{"one port for two", "dns:\n  listen: [\"127.0.0.1:53\", \":5300\"]\nhttp: {listen: \"[::1]:5300\"}\nintake: {smtp: {listen: \"127.0.0.1:53\"}}\n", []string{
			`bl.yaml:3: http.listen: [::1]:5300 is taken by dns.listen[1] of line 2; write another port`,
			`bl.yaml:4: intake.smtp.listen: 127.0.0.1:53 is taken by dns.listen[0] of line 2; write another port`,
		}},
		{"nowhere to listen", "dns: {listen: []}\n", []string{`bl.yaml:1: dns.listen: is empty; name at least one address, like 127.0.0.1:5300`}},
		{"no zones", "zones: []\n", []string{`bl.yaml:1: zones: is empty; name at least one zone`}},
		{"zone without what it needs", "zones:\n- ttl: 5m\n", []string{
			`bl.yaml:2: zones[0].name: is missing; set it`, `bl.yaml:2: zones[0].ns: is missing; set it`,
		}},
		{"zone values", "zones:\n- name: bl.example.org\n  ns: [ns 1]\n  ttl: 1s\n  negative_ttl: 0s\n  classes: [bounce, bounce]\n  url: bl.example.org\n", []string{
			`bl.yaml:3: zones[0].ns: "ns 1.": want letters, digits, '-', '_' and '.' only`,
			`bl.yaml:4: zones[0].ttl: 1s: want whole seconds, 30s at least and 168h0m0s at most`,
			`bl.yaml:5: zones[0].negative_ttl: 0s is no time to keep anything; write one like 5m`,
			`bl.yaml:6: zones[0].classes[1]: bounce is there twice; keep one`,
			`bl.yaml:7: zones[0].url: "bl.example.org": want http://… or https://…`,
		}},
		{"overlapping zones", "zones:\n- {name: bl.example.org, ns: [ns.example.org]}\n- {name: BL.example.org., ns: [ns.example.org]}\n" +
			"- {name: a.b.12.bl.example.org, ns: [ns.example.org]}\n- {name: bounce.bl.example.org, ns: [ns.example.org]}\n", []string{
			`bl.yaml:3: zones[1].name: "BL.example.org." is the zone of zones[0] of line 2 too; keep one`,
			`bl.yaml:4: zones[2].name: "a.b.12.bl.example.org.": lies in zone "bl.example.org.", so its label "12" must have two characters at least, one of them no digit (RFC 5782 §2.3)`,
		}},
		{"reporters", "reporters:\n- {name: Acme Inc, weight: 0}\n- {name: two, relays: [0.0.0.0/0, 192.0.2.0/24, 192.0.2.7]}\n- {name: two}\n", []string{
			`bl.yaml:2: reporters[0].name: "Acme Inc" is no name for a reporter; write at most 63 lower-case letters, digits, dots and hyphens, like example-org`,
			`bl.yaml:2: reporters[0].weight: 0 is out of range; write more than 0, and 10 at most`,
			`bl.yaml:3: reporters[1].relays[0]: 0.0.0.0/0 is wider than /8, and all hosts in it would be believed; write the relays alone`,
			`bl.yaml:3: reporters[1].relays[1]: 192.0.2.0/24 lies in 0.0.0.0/0 of line 3; keep one of the two`,
			`bl.yaml:3: reporters[1].relays[2]: 192.0.2.7/32 lies in 0.0.0.0/0 of line 3; keep one of the two`,
			`bl.yaml:4: reporters[2].name: "two" is the name of reporters[1] of line 3 too; choose another`,
		}},
		{"reporter that is not defined", "intake:\n  smtp: {reporter: acme}\n", []string{
			`bl.yaml:2: intake.smtp.reporter: "acme" is not defined; add it to reporters, or write one of them: local`,
		}},
		{"no reporters", "reporters: []\n", []string{`bl.yaml:1: reporters: is empty, and the SMTP trap needs one; define a reporter`}},
		{"traps", "traps:\n- {}\n- {domain: a.example, address: b@a.example}\n- {address: nobody}\n- {domain: a.example, senders: [x@b.example]}\n" +
			"- {domain: ümlaut.example}\n- {domain: c.example}\n- {domain: C.Example.}\n", []string{
			`bl.yaml:2: traps[0]: neither domain nor address is given`,
			`bl.yaml:3: traps[1]: both domain "a.example" and address "b@a.example" are given, want one`,
			`bl.yaml:4: traps[2]: address "nobody": want local@domain`,
			`bl.yaml:5: traps[3]: sender "x@b.example" is not in domain a.example`,
			`bl.yaml:6: traps[4]: "ümlaut.example" is no domain name; write one like trap.example (other scripts in their xn-- form)`,
			`bl.yaml:8: traps[6]: "c.example" is traps[5] of line 7 too; keep one`,
		}},
		{"policy", "policy:\n  profile: lenient\n  score: 0\n  span: 8d\n  lifetime: 30d\n  weights: {bounce: -1}\n  organisations: 0\n", []string{
			`bl.yaml:2: policy.profile: "lenient": want community or solo`,
			`bl.yaml:3: policy.score: 0: want 1 to 1000000`,
			`bl.yaml:4: policy.span: 8 days: longer than the window of 7 days, nothing would ever be listed`,
			`bl.yaml:5: policy.lifetime: 30 days: longer than lifetime_max 28 days`,
			`bl.yaml:6: policy.weights.bounce: -1: want 0 to 100`,
			`bl.yaml:7: policy.organisations: 0: want 1 to 1000000`,
		}},
		{"listable", "policy:\n  listable: [192.0.2.0/24, 192.0.2.128/25, 192.0.0.0/16, 8.8.8.0/24]\n", []string{
			`bl.yaml:2: policy.listable[2]: 192.0.0.0/16 is in no special-purpose block, so there is nothing to open; remove it, or write a narrower prefix`,
			`bl.yaml:2: policy.listable[3]: 8.8.8.0/24 is in no special-purpose block, so there is nothing to open; remove it, or write a narrower prefix`,
			`bl.yaml:2: policy.listable[0]: 192.0.2.0/24 lies in 192.0.0.0/16 of line 2; keep one of the two`,
			`bl.yaml:2: policy.listable[1]: 192.0.2.128/25 lies in 192.0.0.0/16 of line 2; keep one of the two`,
		}},
		{"exempt", "exempt:\n- {prefix: 203.0.113.0/24, reason: ours}\n- {prefix: 203.0.113.9, reason: \" \"}\n- {prefix: 198.51.100.1}\n", []string{
			`bl.yaml:3: exempt[1].reason: is empty; write why, for the next operator`,
			`bl.yaml:3: exempt[1].prefix: 203.0.113.9/32 lies in 203.0.113.0/24 of line 2; keep one of the two`,
			`bl.yaml:4: exempt[2].reason: is missing; set it`,
		}},
		{"exports", "exports:\n- {zone: other.example, dir: a, formats: [csv, zone, zone], every: 1ms, brake: -1, passphrase_file: x}\n- {zone: bl.example, dir: \"\"}\n" +
			"- {zone: bl.example, dir: b}\n- {zone: BL.example., dir: b, formats: []}\n", []string{
			`bl.yaml:2: exports[0].formats[0]: "csv": want one of ip4set, ip6trie, combined, zone, txt, jsonl, removals`,
			`bl.yaml:2: exports[0].formats[2]: zone is there twice; keep one`,
			`bl.yaml:2: exports[0].brake: -1 is out of range; write 0 to 100`,
			`bl.yaml:2: exports[0].passphrase_file: is for no key; set key too`,
			`bl.yaml:2: exports[0].every: 1ms is out of range; write 1s to 24h`,
			`bl.yaml:2: exports[0].zone: "other.example" is not defined; add it to zones, or write one of them`,
			`bl.yaml:3: exports[1].dir: is empty; write a folder`,
			`bl.yaml:5: exports[3].formats: is empty; write at least one format`,
			`bl.yaml:5: exports[3]: writes the folder of exports[2] of line 4 too; give each one of its own, for its MANIFEST`,
		}},
		{"log, limits", "log: {level: loud, format: xml}\nshutdown_timeout: 0s\nintake:\n  smtp: {max_size: 5, max_recipients: 0, hostname: \"a b\"}\n", []string{
			`bl.yaml:1: log.level: "loud" is no level; write debug, info, warn or error`,
			`bl.yaml:1: log.format: "xml" is no format; write text or json`,
			`bl.yaml:2: shutdown_timeout: 0s is out of range; write 1s to 1h`,
			`bl.yaml:4: intake.smtp.hostname: "a b" is no host name; write one like mail.example.org`,
			`bl.yaml:4: intake.smtp.max_size: 5 is out of range; write 1024 to 67108864`,
			`bl.yaml:4: intake.smtp.max_recipients: 0 is out of range; write 1 to 1000`,
		}},
	})
}

// TestAllAtOnce holds that one run tells everything, whatever stage finds it,
// and tells nothing that only follows from something else.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	got := problemsOf(t, `
stat: /s
dns: {listen: [5300]}
zones:
  - {name: [x], ns: [ns.example.org], ttl: 5}
  - {name: bl.example.org, ns: [ns.example.org], ttl: 1s}
reporters: [{name: "A"}]
exports: [{zone: nowhere.example, dir: out}]
`, "BACKSCATTER_POLICY_ORIGINALS=few", "BACKSCATTER_LOG_LEVEL=loud", "BACKSCATTER_POLICY_WINDOW=5", "BACKSCATTER_POLICY_LISTABLE=10.0.0.0/8,x")
	want := []string{
		`$BACKSCATTER_LOG_LEVEL: log.level: "loud" is no level; write debug, info, warn or error`,
		`$BACKSCATTER_POLICY_LISTABLE: policy.listable[1]: "x": no IPv4 or IPv6 address and no address/length`,
		`$BACKSCATTER_POLICY_ORIGINALS: policy.originals: want a whole number, found "few"`,
		`$BACKSCATTER_POLICY_WINDOW: policy.window: "5" has no unit; write a duration like 90s, 10m, 24h or 7d`,
		`bl.yaml:2: stat: unknown key; did you mean state?`,
		`bl.yaml:3: dns.listen[0]: want text, found the number 5300; put it in quotes: "5300"`,
		`bl.yaml:5: zones[0].name: want one value, found a list`,
		`bl.yaml:5: zones[0].ttl: 5 has no unit; write a duration like 90s, 10m, 24h or 7d`,
		`bl.yaml:6: zones[1].ttl: 1s: want whole seconds, 30s at least and 168h0m0s at most`,
		`bl.yaml:7: reporters[0].name: "A" is no name for a reporter; write at most 63 lower-case letters, digits, dots and hyphens, like example-org`,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestManyProblems holds that what is told stays readable.
func TestManyProblems(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "key%d: 1\n", i)
	}
	got := problemsOf(t, text.String())
	if len(got) != 101 || got[100] != "bl.yaml: 400 more problems are not shown; mend these first" {
		t.Errorf("got %d lines, the last %q", len(got), got[len(got)-1])
	}
}
