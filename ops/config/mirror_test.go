package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"backscatter/ops/config"
	"backscatter/zonefile"
)

func TestMirror(t *testing.T) {
	t.Parallel()
	_, public, err := zonefile.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(public), "\n")[1]
	c, err := config.Parse("f.yaml", []byte("state: x\nmirror: {key: "+line+", every: 5m}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := c.Mirror.PublicKey(); err != nil || key.String() != line {
		t.Errorf("key %v, %v", key, err)
	}
	for text, want := range map[string]string{
		"{key: x}":                              "mirror.key",
		"{key: " + line + ", unsigned: true}":   "mirror.unsigned",
		"{every: 1ms}":                          "mirror.every",
		"{key: " + line + "x, unsigned: false}": "mirror.key",
		"{zone: 'a b'}":                         "mirror.zone",
	} {
		if _, err := config.Parse("f.yaml", []byte("state: x\nmirror: "+text+"\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestMirrorSigning(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCAzMiBvY3RldHM=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "state: x\ndns: {keys: [{name: Transfer.example., file: " + file + "}]}\nmirror: {zone: BL.example, transfer_key: NAME}\n"
	c, err := config.Parse("f.yaml", []byte(strings.Replace(text, "NAME", "transfer.example", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.Signing()
	if err != nil || key == nil || string(key.Secret) != "a secret of the tests, 32 octets" || key.Algorithm != "hmac-sha256" || c.Mirror.ZoneName() != "bl.example." {
		t.Errorf("%+v, %v, %q", key, err, c.Mirror.ZoneName())
	}
	c, err = config.Parse("f.yaml", []byte(strings.Replace(text, "NAME", "other.example", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Signing(); err == nil || !strings.Contains(err.Error(), "add it to dns.keys") {
		t.Errorf("a key that is not there: %v", err)
	}
}
