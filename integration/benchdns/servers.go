package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const patience = 5 * time.Minute // for a server to start and to load its list

// server is a process that answers on a port of the loopback.
type server struct {
	cmd   *exec.Cmd
	port  int
	web   string        // where metrics are; empty: there are none
	ended chan struct{} // closed when the process has ended
}

// stop ends a server, if it has not been for another target.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", s.cmd.Path, err)
	}
	<-s.ended
	return nil
}

// start runs a server, and waits until it answers.
func start(ctx context.Context, port int, name string, args ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // by which its children are known
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, port: port, ended: make(chan struct{})}
	go func() { // ends with the process, which the caller ends
		_ = cmd.Wait() // how does not matter
		close(s.ended)
	}()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	defer conn.Close()
	question := []byte("\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02bl\x07example\x00\x00\x06\x00\x01")
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%s has ended: %s", name, &complaints)
		default:
		}
		_, _ = conn.Write(question) // refused until the port is bound, as is the reading
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1500)); err == nil {
			return s, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, errors.Join(s.stop(), fmt.Errorf("%s does not answer on port %d: %s", name, port, &complaints))
}

func (b *bench) startRbldnsd(ctx context.Context) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	return start(ctx, port, "rbldnsd", "-n", "-c", "0", "-b", fmt.Sprintf("127.0.0.1/%d", port), zone+":ip4set:"+b.path("ip4set"))
}

// startEcho runs this very program.
func (b *bench) startEcho(ctx context.Context) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Setenv(echoPort, strconv.Itoa(port)); err != nil {
		return nil, err
	}
	return start(ctx, port, self, "-echo")
}

// startOurs runs a build of ours on a state of its own.
func (b *bench) startOurs(ctx context.Context, program string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	web, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp(b.dir, "state")
	if err != nil {
		return nil, err
	}
	file := state + ".yaml"
	config := fmt.Sprintf(`state: %s
dns: {listen: ["127.0.0.1:%d"], limits: {same: 1000000, all: 1000000}, access: []} # limits that are counted, and not reached
http: {listen: "127.0.0.1:%[4]d"}
zones: [{name: %[3]s, ns: [ns1.%[3]s]}]
intake: {smtp: {listen: ""}}
`, state, port, zone, web)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s, err := start(ctx, port, program, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	lists, err := filepath.Glob(b.path("list[0-9]*"))
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	for _, list := range lists {
		load := exec.CommandContext(ctx, program, "import", "--config", file, "--format", "txt",
			"--reason", "benchmark", "--permanent", "--yes", list)
		if out, err := load.CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("import: %w: %.500s", err, out), s.stop())
		}
	}
	// A server that has run for a while has no memory of its import any more.
	if err := s.stop(); err != nil {
		return nil, err
	}
	s, err = start(ctx, port, program, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	s.web = fmt.Sprintf("127.0.0.1:%d", web)
	return s, nil
}

// mallocs returns how often the server has allocated memory so far.
func (s *server) mallocs(ctx context.Context) (float64, error) {
	if s.web == "" {
		return 0, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.web+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return number(allocated, text), nil
}

// freePort returns a port that nobody had a moment ago, for UDP or TCP.
func freePort(ctx context.Context) (port int, err error) {
	var config net.ListenConfig
	for range 16 {
		var conn net.PacketConn
		if conn, err = config.ListenPacket(ctx, "udp", "127.0.0.1:0"); err != nil {
			return 0, err
		}
		var l net.Listener
		if l, err = config.Listen(ctx, "tcp", conn.LocalAddr().String()); err == nil {
			port = conn.LocalAddr().(*net.UDPAddr).Port
			return port, errors.Join(l.Close(), conn.Close())
		}
		_ = conn.Close() // it is another that is tried
	}
	return 0, err
}

// round is what one server did in one round; times in µs a question.
type round struct {
	user, system, rate, lost, memory, allocations float64
}

func (r round) cpu() float64      { return r.user + r.system }
func (r round) userCPU() float64  { return r.user }
func (r round) memoryMB() float64 { return r.memory }

var (
	completed = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	lost      = regexp.MustCompile(`Queries lost:\s+(\d+)`)
	allocated = regexp.MustCompile(`(?m)^go_memstats_mallocs_total (\S+)`)
	codes     = regexp.MustCompile(`NOERROR (\d+) \((\d+)`)
)

// ask has dnsperf ask a server, and wants half of the answers positive, but
// from the loop, which says nothing.
func (b *bench) ask(ctx context.Context, t *target) (round, error) {
	args := append([]string{
		"-s", "127.0.0.1", "-p", strconv.Itoa(t.server.port), "-d", b.path("questions"),
		"-l", strconv.Itoa(int(b.length.Seconds())), "-c", strconv.Itoa(b.clients), "-q", strconv.Itoa(b.waiting),
	}, t.args...)
	if b.rate > 0 {
		args = append(args, "-Q", strconv.Itoa(b.rate))
	}
	first, err := t.server.mallocs(ctx)
	if err != nil {
		return round{}, err
	}
	second, err := t.server.mallocs(ctx) // asking for the figure allocates too
	if err != nil {
		return round{}, err
	}
	before, err := usage(t.server)
	if err != nil {
		return round{}, err
	}
	out, err := exec.CommandContext(ctx, "dnsperf", args...).CombinedOutput()
	if err != nil {
		return round{}, fmt.Errorf("dnsperf: %w: %s", err, out)
	}
	after, err := usage(t.server)
	if err != nil {
		return round{}, err
	}
	third, err := t.server.mallocs(ctx)
	if err != nil {
		return round{}, err
	}
	n, missing := number(completed, out), number(lost, out)
	if n == 0 {
		return round{}, fmt.Errorf("no question was answered: %s", out)
	}
	if m := codes.FindSubmatch(out); t.name != echoLoop && (m == nil || string(m[2]) < "49" || string(m[2]) > "51") {
		return round{}, fmt.Errorf("not half of the answers are positive: %s", out)
	}
	perQuestion := func(ticks float64) float64 { return ticks / ticksPerSecond * 1e6 / n }
	return round{
		user: perQuestion(after.user - before.user), system: perQuestion(after.system - before.system),
		rate: n / b.length.Seconds(), lost: missing, memory: after.memory / 1e6,
		allocations: max(0, (third-second)-(second-first)) / n,
	}, nil
}

func number(pattern *regexp.Regexp, text []byte) float64 {
	m := pattern.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64) // digits
	return n
}

const ticksPerSecond = 100 // USER_HZ, the same on all of Linux's usual platforms

type used struct{ user, system, memory float64 }

// usage adds up what a process and its children have used: the processes of its
// group, and those that have ended already.
func usage(s *server) (sum used, err error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return used{}, err
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since
		}
		if err != nil {
			return used{}, err
		}
		// proc_pid_stat(5). The second field is the program's name, which may hold
		// anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		const pgrp, utime, stime = 5 - 3, 14 - 3, 15 - 3
		if len(fields) <= stime || fields[pgrp] != strconv.Itoa(s.cmd.Process.Pid) {
			continue
		}
		user, errUser := strconv.ParseFloat(fields[utime], 64)
		system, errSystem := strconv.ParseFloat(fields[stime], 64)
		memory, errMemory := memoryOf(filepath.Dir(path))
		if err := errors.Join(errUser, errSystem, errMemory); err != nil {
			return used{}, fmt.Errorf("%s: %w", path, err)
		}
		sum.user, sum.system, sum.memory = sum.user+user, sum.system+system, sum.memory+memory
	}
	return sum, nil
}

var proportional = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)

// memoryOf returns the memory of a process, and of what it shares its part.
func memoryOf(dir string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	return number(proportional, text) * 1024, nil
}
