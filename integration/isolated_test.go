package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideKey is set in the environment of a test that runs isolated, to the
// program under test, which need not be built again.
const insideKey = "ISOLATED_TEST_OF"

// isolated gives a test a network, mounts and process ids of its own, so that
// it can have any address and any port, and its processes end with it whatever
// they do. To that end it runs the test a second time, in a process that is all
// that such namespaces hold when it starts, and that they end with. It returns
// true there, and false where it has waited for the outcome and the caller has
// nothing left to do. What the test may lack, and skip for, it has to ask for
// before.
func isolated(t *testing.T) (inside bool) {
	t.Helper()
	if program := os.Getenv(insideKey); program != "" {
		programs.tested = func() (string, error) { return program, nil }
		return true
	}
	program, err := programs.tested()
	if err != nil {
		t.Fatal(err)
	}
	tmp := shortDir(t)
	if err := os.Chmod(tmp, 0o755); err != nil { // there are programs that give up root
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+fmt.Sprint(4*patience-5*time.Second))
	cmd.Env = append(os.Environ(), insideKey+"="+program, "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:    syscall.SIGKILL,
		Cloneflags:   syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // package syscall makes its mounts private as well
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		require(t, fmt.Sprintf("namespaces are for root to make (%v)", err))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("isolated: %v\n%s", err, out)
	} else {
		t.Logf("isolated:\n%s", out)
	}
	return false
}

// addresses gives the machine, which must be an isolated test's, its network:
// loopback and some addresses more.
func addresses(t *testing.T, all ...string) {
	t.Helper()
	batch := "link set lo up\n"
	for _, addr := range all {
		batch += "addr add " + addr + " dev lo" + "\n"
	}
	cmd := exec.Command(peer(t, "ip", "iproute2"), "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if r := run(t, cmd); r.code != 0 {
		t.Fatalf("ip: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// nameserver has the machine, which must be an isolated test's, resolve with
// the server at addr.
func nameserver(t *testing.T, addr string) {
	t.Helper()
	path := shortDir(t) + "/resolv.conf"
	if err := os.WriteFile(path, []byte("nameserver "+addr+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(path, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("mount %s on /etc/resolv.conf: %v", path, err)
	}
}
