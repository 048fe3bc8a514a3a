package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPostinstall runs the package's script with programs that only note what they were
// called for: what runs is executed anew in place, and restarted only when it is deaf.
func TestPostinstall(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../packaging/postinstall.sh")
	if err != nil {
		t.Fatal(err)
	}
	const prepared = "chgrp backscatter /etc/backscatter /etc/backscatter/backscatter.yaml\nchmod 0750 /etc/backscatter\n"
	const asked = prepared + "systemctl daemon-reload\nsystemctl is-active --quiet backscatter.service\n"
	const inPlace = asked + "backscatter restart --config /etc/backscatter/backscatter.yaml\n"
	for name, c := range map[string]struct {
		active, restart string // exit codes
		want            string
	}{
		"a new installation":                  {"3", "0", asked},
		"an upgrade":                          {"0", "0", inPlace},
		"a wrong configuration":               {"0", "1", inPlace},
		"a daemon that cannot be reached":     {"0", "3", inPlace + "systemctl try-restart backscatter.service\n"},
		"a machine without a service manager": {"", "0", prepared},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			calls, systemd := filepath.Join(dir, "calls"), filepath.Join(dir, "systemd")
			if c.active != "" {
				if err := os.Mkdir(systemd, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			// Functions, since files that are made while other tests bind sockets and start
			// programs may lack a right or be busy.
			var text strings.Builder
			for program, does := range map[string]string{
				"chgrp": "", "chmod": "", "backscatter": "return " + c.restart,
				"systemctl": `case "$1" in is-active) return ` + c.active + ` ;; esac`,
			} {
				text.WriteString(program + `() { echo ` + program + ` "$@" >> ` + calls + "\n" + does + "\n}\n")
			}
			text.WriteString(strings.ReplaceAll(string(script), "/run/systemd/system", systemd))
			cmd := exec.Command("/bin/sh", "-c", text.String())
			cmd.Env = []string{"PATH=" + dir}
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			if got, err := os.ReadFile(calls); err != nil || string(got) != c.want {
				t.Errorf("%v, called\n%swant\n%s", err, got, c.want)
			}
		})
	}
}
