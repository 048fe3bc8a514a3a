package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"backscatter/ops/control"
)

const (
	zone     = "bl.example"
	patience = 2 * time.Minute // for a server to start or to end, on a busy machine
)

// server is the program, serving.
type server struct {
	cmd     *exec.Cmd
	dns     string // address
	http    string
	control *control.Client
	errs    *bytes.Buffer
	ended   chan struct{} // closed when the process has ended
	exit    error         // then
}

// setup is how a server is to run.
type setup struct {
	dns     string     // lines of the configuration under dns
	zone    string     // more of the zone's line
	more    string     // more lines of the configuration
	sockets []*os.File // to hand over as systemd does
	address string     // of DNS; empty: any that is free
	state   string     // of an earlier server; empty: a new one, with a list
}

// start runs a server with a list.
func (s *soak) start(ctx context.Context, o setup) (_ *server, state string, err error) {
	if o.address == "" {
		if o.address, err = freeAddress(ctx); err != nil {
			return nil, "", err
		}
	}
	web, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	fresh := o.state == ""
	if fresh {
		if o.state, err = os.MkdirTemp(s.dir, "state"); err != nil {
			return nil, "", err
		}
	}
	config := filepath.Join(s.dir, filepath.Base(o.state)+".yaml")
	text := fmt.Sprintf(`state: %s
dns:
  listen: [%q]
%s
http: {listen: %q}
zones: [{name: %s, ns: [ns1.%[5]s]%s}]
intake: {smtp: {listen: ""}}
log: {level: warn}
%s`, o.state, o.address, o.dns, web, zone, o.zone, o.more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	srv := &server{dns: o.address, http: web, control: control.Dial(filepath.Join(o.state, control.SocketName)), errs: new(bytes.Buffer), ended: make(chan struct{})}
	srv.cmd = exec.CommandContext(ctx, s.program, "serve", "--config", config)
	if len(o.sockets) > 0 { // LISTEN_PID is known only in the process itself
		srv.cmd = exec.CommandContext(ctx, "sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=$1 exec "$2" serve --config "$3"`, "sh",
			strconv.Itoa(len(o.sockets)), s.program, config)
		srv.cmd.ExtraFiles = o.sockets
	}
	srv.cmd.Stderr = srv.errs
	if err := srv.cmd.Start(); err != nil {
		return nil, "", err
	}
	go func() { // ends with the process, which the caller ends
		srv.exit = srv.cmd.Wait()
		close(srv.ended)
	}()
	if err := srv.ready(ctx); err != nil {
		srv.kill()
		return nil, "", err
	}
	if fresh {
		load := exec.CommandContext(ctx, s.program, "import", "--config", config, "--format", "txt", "--reason", "soak", "--permanent", "--yes", "-")
		load.Stdin = strings.NewReader(s.list())
		if out, err := load.CombinedOutput(); err != nil {
			srv.kill()
			return nil, "", fmt.Errorf("import: %w: %.500s", err, out)
		}
	}
	return srv, o.state, nil
}

// list returns the addresses that are listed.
func (s *soak) list() string {
	var b strings.Builder
	for i := range s.entries {
		fmt.Fprintf(&b, "%s\n", listedAddress(i))
	}
	return b.String()
}

// ready waits until the server answers its control socket.
func (s *server) ready(ctx context.Context) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if st, err := s.control.Status(ctx); err == nil && st.Ready {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %w: %s", s.exit, s.errs)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.New("the server was not ready in time")
}

// stop ends a server as an operator does, and returns how long it took.
func (s *server) stop() (time.Duration, error) {
	s.control.Close()
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	<-s.ended
	if s.exit != nil {
		return time.Since(began), fmt.Errorf("stop: %w: %s", s.exit, s.errs)
	}
	return time.Since(began), nil
}

// kill ends a server that may have ended already.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// freeAddress returns an address whose port nobody had a moment ago, for UDP or TCP.
func freeAddress(ctx context.Context) (addr string, err error) {
	for range 16 {
		if addr, err = tryAddress(ctx); err == nil {
			break
		}
	}
	return addr, err
}

func tryAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	l, err := config.Listen(ctx, "tcp", conn.LocalAddr().String())
	if err != nil {
		return "", err
	}
	return conn.LocalAddr().String(), l.Close()
}

// rss returns the memory of the process, in bytes.
func (s *server) rss() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory of the server: %q", text)
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()), err
}

// metric adds up the samples of a name.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ') + 1
		series := line[:max(0, end-1)]
		if have, _, _ := strings.Cut(series, "{"); have != name {
			continue
		}
		v, err := strconv.ParseFloat(line[end:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", series, err)
		}
		sum += v
	}
	return sum, nil
}
