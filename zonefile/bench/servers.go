package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const patience = 5 * time.Minute // for a server to start and to load its list

// server is a process that answers on a port of the loopback.
type server struct {
	cmd    *exec.Cmd
	port   int
	config string // of ours
}

func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("stop %s: %w", s.cmd.Path, err)
	}
	return nil
}

func (s *server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// start runs a server and waits until it answers a question for the zone's SOA.
func start(ctx context.Context, port int, name string, args ...string) (_ *server, firstAnswer time.Duration, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	s := &server{cmd: cmd, port: port}
	question := []byte("\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02bl\x07example\x00\x00\x06\x00\x01")
	for time.Since(begun) < patience {
		_, _ = conn.Write(question) // refused until the port is bound, as is the reading
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		reply := make([]byte, 1500)
		if n, err := conn.Read(reply); err == nil && n > 8 && reply[3]&15 == 0 && reply[7] == 1 {
			return s, time.Since(begun), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil, 0, errors.Join(s.stop(), fmt.Errorf("%s does not answer on port %d: %s", name, port, &complaints))
}

// serve starts a daemon of ours with a state of its own, and more configuration.
func (b *bench) serve(ctx context.Context, name, more string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	state, config := b.path(name+"-state"), b.path(name+".yaml")
	text := fmt.Sprintf("state: %s\ndns: {listen: [\"127.0.0.1:%d\"]}\nhttp: {listen: \"\"}\nintake: {smtp: {listen: \"\"}}\nlog: {level: warn}\n%s\n", state, port, more)
	if !strings.Contains(more, "zones:") {
		text += "zones: [{name: " + zone + ", ns: [ns1.example.net]}]\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s, _, err := start(ctx, port, b.program, "serve", "--config", config)
	if err != nil {
		return nil, err
	}
	s.config = config
	return s, nil
}

// command runs the program for the daemon.
func (s *server) command(ctx context.Context, args ...string) error {
	return s.feed(ctx, "", args...)
}

func (s *server) feed(ctx context.Context, input string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.cmd.Path, append(args, "--config", s.config)...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.500s", args[0], err, out)
	}
	return nil
}

// importList imports addresses, in parts: an order has a largest size.
func (s *server) importList(ctx context.Context, addrs iter.Seq[netip.Addr]) error {
	const atOnce = 1_000_000
	for some := range slices.Chunk(slices.Collect(addrs), atOnce) {
		if err := s.feed(ctx, text(slices.Values(some)), "import", "--format", "txt", "--reason", "bench", "--permanent", "--yes", "-"); err != nil {
			return err
		}
	}
	return nil
}

// exported waits until the folder has the list that the daemon answers from.
func (s *server) exported(ctx context.Context, dir string) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		serial, err := serialOf(ctx, s.addr())
		if err != nil {
			return err
		}
		if isExported(dir, serial) {
			return nil
		}
	}
	return errors.New("the list is not exported")
}

func isExported(dir string, serial uint32) bool {
	manifest, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
	return err == nil && strings.Contains(string(manifest), fmt.Sprintf(`"serial": %d,`, serial))
}

// anonymous returns the memory of the process that is backed by no file, in bytes.
func (s *server) anonymous() (int64, error) { return s.memory("RssAnon") }

// most returns the most memory while something is done.
func (s *server) most(ctx context.Context, do func() error) (most int64, err error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		now, readErr := s.anonymous()
		most = max(most, now)
		select {
		case err := <-done:
			return most, errors.Join(err, readErr)
		case <-ctx.Done():
			return most, errors.Join(ctx.Err(), <-done)
		case <-tick.C:
		}
	}
}

// memory returns what the system tells of the process under the name, in bytes.
func (s *server) memory(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of %s", name, s.cmd.Path)
}

// settled waits until the memory has not changed for a while.
func (s *server) settled(ctx context.Context) (int64, error) {
	last, since := int64(-1), time.Now()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		now, err := s.anonymous()
		if err != nil {
			return 0, err
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > 3*time.Second {
			break
		}
	}
	return last, ctx.Err()
}
