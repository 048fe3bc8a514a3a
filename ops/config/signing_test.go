package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"backscatter/ops/config"
	"backscatter/zonefile"
)

func TestSigningKey(t *testing.T) {
	t.Parallel()
	secret, public, err := zonefile.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	file := func(mode os.FileMode, text []byte) string {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, text, mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if key, err := (&config.Export{}).SigningKey(); key != nil || err != nil {
		t.Errorf("without a key: %v, %v", key, err)
	}
	if key, err := (&config.Export{Key: file(0o600, secret)}).SigningKey(); key == nil || err != nil {
		t.Errorf("with a key: %v, %v", key, err)
	}
	for _, c := range []struct {
		e    config.Export
		want string
	}{
		{config.Export{Key: file(0o644, secret)}, "chmod 600"},
		{config.Export{Key: file(0o600, public)}, "no secret key"},
		{config.Export{Key: filepath.Join(t.TempDir(), "none")}, "cannot be read"},
		{config.Export{Key: file(0o600, secret), PassphraseFile: filepath.Join(t.TempDir(), "none")}, "passphrase_file"},
	} {
		if _, err := c.e.SigningKey(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want it to contain %q", err, c.want)
		}
	}
}
