package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"backscatter/ops/control"
)

// patience bounds every wait for something that should happen at once. A test
// that comes near it is broken, or the machine is.
const patience = 30 * time.Second

// builds makes the programs under test, each once and only if asked for.
type builds struct {
	dir         string
	tested      func() (string, error) // with the race detector when the tests have it
	undisturbed func() (string, error) // never with the race detector, whose memory is many times ours
}

func newBuilds(dir string) *builds {
	b := &builds{dir: dir}
	b.undisturbed = sync.OnceValues(func() (string, error) { return b.make("backscatter") })
	b.tested = b.undisturbed
	if raced() {
		b.tested = sync.OnceValues(func() (string, error) { return b.make("backscatter-race", "-race") })
	}
	return b
}

func (b *builds) make(name string, flags ...string) (string, error) {
	path := filepath.Join(b.dir, name)
	if err := watchSources(); err != nil {
		return "", err
	}
	args := append([]string{"build", "-buildvcs=false", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, "../cmd/backscatter")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
}

// watchSources looks at every source of the program, so that a cached result
// of these tests does not outlive a change of what they test: the go command
// remembers which files a test looked at, but not those of a build that it ran.
func watchSources() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "dist") {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				err = nil // an editor's file that has gone
			}
		}
		return err
	})
}

// raced reports whether these tests were built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// programs is set by TestMain, which alone knows when the last test has ended.
var programs *builds

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bs-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = newBuilds(dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// require ends a test that lacks something that the machine could have: it
// skips, or fails where nothing may be missing.
func require(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BACKSCATTER_PEERS") == "require" {
		t.Fatalf("%s, and BACKSCATTER_PEERS=require", what)
	}
	t.Skip(what)
}

// peer finds a program of another project, which is in the given Debian
// package.
func peer(t *testing.T, name, debian string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/bin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	require(t, fmt.Sprintf("%s is not installed (Debian package %s)", name, debian))
	return ""
}

// shortDir makes a folder whose path is short enough for a unix socket in it
// (108 bytes), which that of t.TempDir is not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// site is a place where a daemon can run again and again: a program, a
// configuration and a state.
type site struct {
	t       *testing.T
	program string
	dir     string
	state   string
	config  string
	args    []string   // of serve, besides the configuration
	log     *logBuffer // of all daemons that ran here
	damaged bool       // its file is: the log may tell what that makes bbolt do
}

// loopback is the part of a configuration by which a daemon listens on ports
// that are free.
const loopback = `
dns: {listen: ["127.0.0.1:0"]}
http: {listen: "127.0.0.1:0"}
`

// newSite makes a site with the given configuration, which names no state.
func newSite(t *testing.T, config string) *site {
	t.Helper()
	program, err := programs.tested()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	s := &site{t: t, program: program, dir: dir, state: filepath.Join(dir, "state"), config: filepath.Join(dir, "daemon.yaml"), log: &logBuffer{}}
	s.configure(config)
	t.Cleanup(s.inspectLog)
	return s
}

func (s *site) configure(config string) {
	s.t.Helper()
	if err := os.WriteFile(s.config, []byte("state: "+s.state+"\n"+config), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// inspectLog shows what the daemons logged when the test failed, and fails it
// for what a daemon must never log.
func (s *site) inspectLog() {
	text := s.log.String()
	for _, never := range []string{"DATA RACE", "panic", "goroutine "} {
		if s.damaged && never != "DATA RACE" {
			continue
		}
		if strings.Contains(text, never) {
			s.t.Errorf("the daemon's log has %q", never)
		}
	}
	if s.t.Failed() {
		s.t.Logf("log of the daemon in %s:\n%s", s.dir, tail(text, 16<<10))
	}
}

func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return "[…]" + text[len(text)-n:]
}

// logBuffer collects what a process writes while others look.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// process is a program that the test started and will end.
type process struct {
	*exec.Cmd
	ended chan struct{} // closed when it has, and Cmd.ProcessState is set
}

// launch starts a command. It ends with the test at the latest, and with the
// test's own process if that is killed.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A data race ends the program with exit code 66; and without one the race
	// detector must not hold up its end by a second.
	cmd.Env = append(cmd.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the process, which the cleanup below ends
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // fails when it has ended
		<-p.ended
	})
	return p
}

// wait waits for the end of the process and returns its exit code, -1 when a
// signal ended it.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s has not ended after %s", p.Args, patience)
		return 0
	}
}

// daemon is a running backscatter.
type daemon struct {
	*process
	site   *site
	client *control.Client
	dns    string
	smtp   string
	http   string
}

// startDaemon starts a daemon with the given configuration at a site of its
// own, and waits until it is ready.
func startDaemon(t *testing.T, config string) *daemon {
	t.Helper()
	return newSite(t, config).start()
}

// start starts a daemon and waits until it is ready.
func (s *site) start() *daemon {
	s.t.Helper()
	d := s.launch()
	eventually(s.t, "the daemon is ready", func(ctx context.Context) error {
		select {
		case <-d.ended:
			s.t.Fatalf("the daemon ended by itself, exit code %d", d.ProcessState.ExitCode())
		default:
		}
		status, err := d.client.Status(ctx)
		if err != nil {
			return err
		}
		if !status.Ready {
			return fmt.Errorf("not ready: %q", status.NotReady)
		}
		for _, l := range status.Listen {
			switch l.Service {
			case "dns":
				d.dns = l.Address
			case "smtp":
				d.smtp = l.Address
			case "http":
				d.http = l.Address
			}
		}
		return nil
	})
	return d
}

// launch starts a daemon and does not wait.
func (s *site) launch() *daemon {
	s.t.Helper()
	cmd := exec.Command(s.program, append([]string{"serve", "--config", s.config}, s.args...)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	d := &daemon{process: launch(s.t, cmd), site: s, client: control.Dial(filepath.Join(s.state, control.SocketName))}
	s.t.Cleanup(d.client.Close)
	return d
}

// stop asks the daemon to end, as a service manager would, and wants it to do
// so in order.
func (d *daemon) stop() {
	d.site.t.Helper()
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		d.site.t.Fatal(err)
	}
	if code := d.wait(d.site.t); code != 0 {
		d.site.t.Errorf("the daemon ended with exit code %d", code)
	}
}

// kill ends the daemon in the middle of whatever it does.
func (d *daemon) kill() {
	d.site.t.Helper()
	if err := d.Process.Kill(); err != nil {
		d.site.t.Fatal(err)
	}
	d.wait(d.site.t)
	d.client.Close()
}

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// run runs the program with the site's configuration.
func (s *site) run(args ...string) result {
	s.t.Helper()
	return run(s.t, exec.Command(s.program, append(args, "--config", s.config)...))
}

// must runs the program and wants it to succeed. It returns standard output.
func (s *site) must(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("backscatter %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// run runs a command to its end, which is near.
func run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	p := launch(t, cmd)
	code := p.wait(t)
	return result{stdout.String(), stderr.String(), code}
}

// eventually tries until there is no error, and fails the test when patience
// ends.
func eventually(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-ticker.C:
		}
	}
}

// within returns the context of one exchange.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
