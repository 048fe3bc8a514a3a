package config_test

import (
	"bytes"
	"strings"
	"testing"
)

const tsigSecret = "dGhpcnR5LXR3byBvY3RldHMgb2YgYSBzZWNyZXQu"

// sharing is a configuration with a key in the given file.
func sharing(file string) string {
	return "dns: {keys: [{name: transfer.example, file: " + file + "}]}\n" +
		"zones: [{name: bl.example, ns: [ns1.bl.example], transfer: [{from: [192.0.2.0/24, '2001:db8::53'], key: Transfer.example.}, {from: [127.0.0.1]}], " +
		"notify: [{to: '192.0.2.53:53', key: transfer.example}, {to: '[2001:db8::53]:53', source: '2001:db8::1'}]}]\n"
}

// A key is read alone, or as the generators of other servers print it; and never
// printed.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"alone": tsigSecret + "\n",
		"BIND":  "key \"transfer.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + tsigSecret + "\";\n};\n",
		"NSD":   "key:\n\tname: transfer.example\n\talgorithm: hmac-sha256\n\tsecret: \"" + tsigSecret + "\"\n",
		"Knot":  "# hmac-sha256:transfer.example:" + tsigSecret + "\nkey:\n- id: transfer.example\n  algorithm: hmac-sha256\n  secret: " + tsigSecret + "\n",
	} {
		c := parse(t, sharing(keyFile(t, text, 0o600)))
		if _, err := c.Secondaries(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.DNS.Keys[0].Algorithm != "hmac-sha256" {
			t.Errorf("%s: algorithm %q", name, c.DNS.Keys[0].Algorithm)
		}
		var out bytes.Buffer
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), tsigSecret) {
			t.Errorf("%s: the secret is printed", name)
		}
		if again := parse(t, out.String()); len(again.Zones[0].Transfer) != 2 || len(again.Zones[0].Notify) != 2 || again.DNS.Keys[0] != c.DNS.Keys[0] {
			t.Errorf("%s: printed and read: %+v", name, again.Zones[0])
		}
	}
}

func TestTransferKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, want string }{
		{"others may read it", keyFile(t, tsigSecret, 0o644), "chmod 600"},
		{"no base64", keyFile(t, "secret!", 0o600), "tsig-keygen -a hmac-sha256 transfer.example"},
		{"too short", keyFile(t, "c2hvcnQ=", 0o600), "no secret of 16 octets"},
		{"two of them", keyFile(t, tsigSecret+"\n"+tsigSecret+"\n", 0o600), "no secret"},
		{"none", keyFile(t, "", 0o600), "has 0 keys"},
	} {
		err := parse(t, sharing(test.file)).CheckKeys()
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "dns.keys[0]: ") {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestBadSecondaries(t *testing.T) {
	t.Parallel()
	zone := func(more string) string { return "zones:\n- {name: bl.example, ns: [ns1.bl.example], " + more + "}\n" }
	checkBad(t, []badCase{
		{"keys", "dns:\n  keys:\n  - {name: a b, file: /k}\n  - {name: k.example, algorithm: hmac-md5, file: /k}\n  - {name: K.example., file: ''}\n  - {name: l.example}\n", []string{
			`bl.yaml:3: dns.keys[0].name: "a b" is no name for a key; write one like transfer.example.org`,
			`bl.yaml:4: dns.keys[1].algorithm: "hmac-md5" is not known; write one of hmac-sha256, hmac-sha384, hmac-sha512`,
			`bl.yaml:5: dns.keys[2].name: "K.example." is there twice; keep one`,
			`bl.yaml:5: dns.keys[2].file: is empty; write the name of the file with the secret`,
			`bl.yaml:6: dns.keys[3].file: is missing; set it`,
		}},
		{"open to all", zone("transfer: [{}]"), []string{
			`bl.yaml:2: zones[0].transfer[0]: lets everybody take the zone; set from or key, or write from: [0.0.0.0/0, '::/0'] if that is meant`,
		}},
		{"unknown keys", zone("transfer: [{key: k.example}], notify: [{to: '192.0.2.1:53', key: k.example}]"), []string{
			`bl.yaml:2: zones[0].transfer[0].key: "k.example" is not defined; add it to dns.keys`,
			`bl.yaml:2: zones[0].notify[0].key: "k.example" is not defined; add it to dns.keys`,
		}},
		{"nowhere", zone("notify: [{to: 192.0.2.1}, {to: 'ns2.example:53'}, {to: '192.0.2.1:53'}, {to: '192.0.2.1:53'}, {to: '192.0.2.2:53', source: '::1'}]"), []string{
			`bl.yaml:2: zones[0].notify[0].to: "192.0.2.1" is no address with a port; write one like 192.0.2.53:53 or [2001:db8::53]:53`,
			`bl.yaml:2: zones[0].notify[1].to: "ns2.example:53" is no address with a port; write one like 192.0.2.53:53 or [2001:db8::53]:53`,
			`bl.yaml:2: zones[0].notify[3].to: 192.0.2.1:53 is there twice; keep one`,
			`bl.yaml:2: zones[0].notify[4].source: "::1" is no address of the family of 192.0.2.2`,
		}},
		{"overlapping", zone("transfer: [{from: [192.0.2.0/24, 192.0.2.7]}]"), []string{
			`bl.yaml:2: zones[0].transfer[0].from[1]: 192.0.2.7/32 lies in 192.0.2.0/24 of line 2; keep one of the two`,
		}},
	})
}
