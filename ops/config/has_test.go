package config_test

import (
	"testing"

	"backscatter/ops/config"
)

func TestHas(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("bl.yaml", []byte("policy: {originals: 4}\nexempt: []\n"), []string{"BACKSCATTER_LOG_LEVEL=debug", "HOME=/home/op"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"policy": true, "exempt": true, "log": false, "reporters": false, "originals": false, "": false} {
		if c.Has(key) != want {
			t.Errorf("Has(%q) is %t", key, !want)
		}
	}
}
