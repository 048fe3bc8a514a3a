package config_test

import (
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
	} {
		if _, err := config.Parse("f.yaml", []byte("state: x\nmirror: "+text+"\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
