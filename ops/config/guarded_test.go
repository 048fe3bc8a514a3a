package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"backscatter/evidence"

	gocmp "github.com/google/go-cmp/cmp"
)

// keyFile makes a file for the keys of a mark.
func keyFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestGuarded(t *testing.T) {
	t.Parallel()
	batv := keyFile(t, "# changed in November\n3 a secret of ours \n\n4 new\n", 0o600)
	ids, srs := keyFile(t, "id key\n", 0o400), keyFile(t, "srs one\nsrs two\n", 0o600)
	c := parse(t, "guarded:\n- {domains: [real.example, Other.example], relays: true, dkim: true, batv_keys: "+batv+
		", message_id_domains: [mail.real.example], message_id_keys: "+ids+", srs_keys: "+srs+"}\n- {domains: [plain.example], message_id_domains: [plain.example]}\n")
	got, err := c.JudgeConfig([32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	want := []evidence.Guarded{
		{
			Reporter: "local", Domains: []string{"real.example", "Other.example"}, Relays: true, DKIM: true,
			BATV:      []evidence.BATVKey{{Number: '3', Secret: "a secret of ours"}, {Number: '4', Secret: "new"}},
			MessageID: &evidence.MessageIDMark{Domains: []string{"mail.real.example"}, Keys: []string{"id key"}}, SRS: []string{"srs one", "srs two"},
		},
		{Reporter: "local", Domains: []string{"plain.example"}, MessageID: &evidence.MessageIDMark{Domains: []string{"plain.example"}}},
	}
	if diff := gocmp.Diff(want, got.Guarded); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := evidence.NewJudge(got); err != nil {
		t.Error(err)
	}
	if c.Lookup() != nil || parse(t, "lookups: {enabled: true}").Lookup() == nil {
		t.Error("lookups.enabled decides nothing")
	}
}

func TestGuardedKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, want string }{
		{"no file", filepath.Join(t.TempDir(), "none"), "cannot be read"},
		{"others may read it", keyFile(t, "3 secret\n", 0o640), "chmod 600"},
		{"no key", keyFile(t, "# none\n", 0o600), "has 0 keys"},
		{"too many", keyFile(t, strings.Repeat("3 s\n", 21), 0o600), "has 21 keys"},
		{"a folder", t.TempDir(), "chmod 600"},
		{"too long", keyFile(t, strings.Repeat("#", 17<<10), 0o600), "longer than 16 KiB"},
		{"no number", keyFile(t, "secret\n", 0o600), "a number from 0 to 9"},
		{"no secret", keyFile(t, "3 \n", 0o600), "a number from 0 to 9"},
		{"twice", keyFile(t, "3 a\n3 b\n", 0o600), "twice"},
	} {
		err := parse(t, "guarded: [{domains: [real.example], batv_keys: "+test.file+"}]").CheckKeys()
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "guarded[0]: ") {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestBadGuarded(t *testing.T) {
	t.Parallel()
	checkBad(t, []badCase{
		{"no mark", "guarded: [{domains: [real.example]}]\n", []string{
			`bl.yaml:1: guarded[0]: names no mark, so it proves nothing; set relays, batv_keys, message_id_domains or dkim`,
		}},
		{"no domain", "guarded: [{relays: true}]\n", []string{`bl.yaml:1: guarded[0].domains: is missing; set it`}},
		{"bad domains", "guarded:\n- {domains: [a b, real.example], relays: true}\n- {domains: [Real.example.], dkim: true, message_id_keys: /k, reporter: stranger}\n- {domains: [real.example], dkim: true}\n", []string{
			`bl.yaml:2: guarded[0].domains[0]: "a b" is no domain name; write one like real.example (other scripts in their xn-- form)`,
			`bl.yaml:3: guarded[1].reporter: "stranger" is not defined; add it to reporters, or write one of them: local`,
			`bl.yaml:3: guarded[1].message_id_domains: is empty, and message_id_keys needs it; write what stands behind the @`,
			`bl.yaml:4: guarded[2].domains[0]: "real.example" is guarded[0].domains[1] too; keep one`,
		}},
		{"look-ups", "lookups: {timeout: 2m}\n", []string{`bl.yaml:1: lookups.timeout: 2m is out of range; write 10ms to 1m`}},
	})
}
