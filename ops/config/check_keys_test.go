package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the server opens at its start is looked at by 'config check', too: else a
// restart ends what runs, and nothing comes after it.
func TestCheckKeysReadsAll(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "cookie.secrets"), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := keyFile(t, "secret\n", 0o644)
	there := filepath.Join(t.TempDir(), "questions.log")
	for _, c := range []struct {
		name, text, want string
		mirror           bool // a mirror opens it, too
	}{
		{"an export's key", "exports: [{zone: bl.example, dir: /d, key: " + open + "}]", "exports of bl.example: key: ", false},
		{"its passphrase", "exports: [{zone: bl.example, dir: /d, key: " + keyFile(t, "x\n", 0o600) + ", passphrase_file: " + none + "}]", "passphrase_file: ", false},
		{"the second export's", "exports: [{zone: bl.example, dir: /d}, {zone: bl.example, dir: /e, key: " + none + "}]", "exports of bl.example: key: ", false},
		{"a log in no folder", "dns: {query_log: {to: " + none + "/questions.log}}", "dns.query_log.to: ", true},
		{"a log that is a folder", "dns: {query_log: {to: " + t.TempDir() + "}}", "is a directory", true},
		{"cookies of our own", "state: " + state, "secrets of DNS cookies", true},
		{"a good log", "dns: {query_log: {to: " + there + "}}", "", true},
		{"the server's own log", "dns: {query_log: {to: log}}", "", true},
	} {
		parsed := parse(t, c.text)
		for which, err := range map[string]error{"server": parsed.CheckKeys(), "mirror": parsed.CheckMirrorKeys()} {
			wrong := c.want != "" && (c.mirror || which == "server")
			if (err != nil) != wrong || wrong && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v, want %q", c.name, which, err, c.want)
			}
		}
	}
	if _, err := os.Stat(there); err == nil {
		t.Error("the check made the log, perhaps as another user than the server")
	}
}
