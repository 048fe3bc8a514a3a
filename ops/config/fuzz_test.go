package config_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"backscatter/ops/config"

	gocmp "github.com/google/go-cmp/cmp"
)

// FuzzParse holds that any bytes give a configuration or problems in single
// lines, and that a configuration prints to what loads back to the same, and
// builds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(design), "")
	f.Add([]byte(odd), "BACKSCATTER_POLICY_WINDOW=7d")
	f.Add([]byte(built), "BACKSCATTER_DNS_LISTEN=:0,")
	f.Add([]byte("a: &a [*a, *a]\n<<: *a\n"), "BACKSCATTER_=\xff")
	f.Add([]byte("zones: [{name: x, ns: [y], ttl: 9999d, classes: [1, ~]}, {}, 7]"), "BACKSCATTER_STATE=\x00")
	f.Fuzz(func(t *testing.T, text []byte, variable string) {
		c, err := config.Parse("fuzz.yaml", text, []string{"HOME=/home/alice", variable})
		if err != nil {
			checkProblems(t, err)
			return
		}
		var out bytes.Buffer
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse("printed", out.Bytes(), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if diff := gocmp.Diff(c, again, same); diff != "" {
			t.Fatalf("(-was +now)\n%s\n%s", diff, out.String())
		}
		if config.RestartNeeded(c, again) != nil {
			t.Fatalf("restart needed for the same: %v", config.RestartNeeded(c, again))
		}
		settings, err := c.ListingSettings()
		if err != nil {
			t.Fatalf("settings: %v", err)
		}
		if err := settings.Validate(); err != nil {
			t.Fatalf("the store refuses the settings: %v", err)
		}
		if _, err := c.JudgeConfig([32]byte{}); err != nil {
			t.Fatalf("judge: %v", err)
		}
		_ = c.Warnings()
	})
}

func checkProblems(t *testing.T, err error) {
	t.Helper()
	var problems config.Errors
	if !errors.As(err, &problems) || len(problems) == 0 || len(problems) > 101 {
		t.Fatalf("got the error %T with %d problems", err, len(problems))
	}
	for _, p := range problems {
		if p.File == "" || p.Text == "" || strings.ContainsAny(p.String(), "\n\x00") {
			t.Fatalf("bad problem: %q", p.String())
		}
	}
}
