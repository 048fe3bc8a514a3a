package integration_test

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestSoak does in seconds what `make soak-dns` does in minutes: more connections
// and questions than the server takes, garbage, transfers and changes, reloads,
// restarts, stops. Rows that depend on the speed of the machine are told here, and
// hold there.
func TestSoak(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it reads the memory of the server as Linux tells it")
	}
	soak := filepath.Join(t.TempDir(), "soakdns")
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", soak, "./soakdns").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, said)
	}
	program, err := programs.undisturbed()
	if err != nil {
		t.Fatal(err)
	}
	var out logBuffer
	cmd := exec.Command(soak, "-program", program, "-patient", "-wait", patience.String(),
		"-entries", "1000", "-mass", "2000", "-least", "500ms", "-lives", "3s",
		"-connections", "700", "-flood", "1s", "-garbage", "3s", "-changes", "50",
		"-unlisted", "500", "-resolver", "1s", "-reloads", "5", "-restarts", "2", "-rate", "50")
	cmd.Stdout, cmd.Stderr = &out, &out
	p := launchGroup(t, cmd)
	select {
	case <-p.ended:
	case <-time.After(10 * patience):
		t.Fatalf("it does not end\n%s", out.String())
	}
	t.Logf("\n%s", out.String())
	if !p.ProcessState.Success() {
		t.Errorf("it says %s", p.ProcessState)
	}
}
