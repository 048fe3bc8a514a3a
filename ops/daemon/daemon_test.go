package daemon_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
	"backscatter/zonefile"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// One life: everything answers, then nothing is left but the state.
func TestLife(t *testing.T) {
	t.Parallel()
	f, stop := serve(t, "")
	if r := f.ask(t, "2.0.0.127.bl.example.", dns.TypeA); len(r.Answer) != 1 {
		t.Errorf("DNS: %v", r)
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": `backscatter_build_info{goversion=`} {
		if status, text := get(t, "http://"+f.Addr("http")+path); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.200s", path, status, text)
		}
	}
	status, err := f.client(t).Status(t.Context())
	if err != nil || !status.Ready || !status.Running || status.Version != "test" || len(status.Listen) != 4 {
		t.Errorf("%+v, %v", status, err)
	}
	addrs := []string{f.Addr("dns"), f.Addr("smtp"), f.Addr("http")}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Errorf("%s is still taken: %v", addr, err)
			continue
		}
		l.Close()
	}
	if _, err := os.Lstat(filepath.Join(f.state, control.SocketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control socket is left: %v", err)
	}
	again, err := open(t, f.state, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.CloseAll(); err != nil {
		t.Error(err)
	}
}

// The stages stop in the opposite order of their start, each after the one
// before it has ended.
func TestStopOrder(t *testing.T) {
	t.Parallel()
	f, err := open(t, tempDir(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.CloseAll()
	var mu sync.Mutex
	var ended []string
	ctx, cancel := context.WithCancel(t.Context())
	stop := f.RunParts(ctx, make(chan error, 1), []string{"store", "dns", "work", "intake"}, func(ctx context.Context, name string) error {
		<-ctx.Done()
		time.Sleep(10 * time.Millisecond) // one that did not wait would be ahead
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, name)
		return ctx.Err()
	})
	cancel() // the end of the whole must not end the stages at once
	time.Sleep(30 * time.Millisecond)
	mu.Lock()
	if len(ended) != 0 {
		t.Errorf("ended before the stop: %v", ended)
	}
	mu.Unlock()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if want := []string{"intake", "work", "dns", "store"}; !slices.Equal(ended, want) {
		t.Errorf("ended in the order %v, want %v", ended, want)
	}
}

// A part that does not end costs the configured time, and is named.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	f, err := open(t, tempDir(t), "shutdown_timeout: 1s\n")
	if err != nil {
		t.Fatal(err)
	}
	defer f.CloseAll()
	release, ended := make(chan struct{}), make(chan struct{})
	stop := f.RunParts(t.Context(), make(chan error, 1), []string{"stuck", "quick"}, func(ctx context.Context, name string) error {
		if name == "stuck" {
			defer close(ended)
			<-release
			return nil
		}
		<-ctx.Done()
		return nil
	})
	begun := time.Now()
	err = stop()
	if err == nil || !strings.Contains(err.Error(), "stop stuck: not done within shutdown_timeout") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took < time.Second || took > patience {
		t.Errorf("took %s", took)
	}
	close(release)
	<-ended
}

// A part that breaks ends the daemon, with its cause.
func TestPartFails(t *testing.T) {
	t.Parallel()
	f, err := open(t, tempDir(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.CloseWeb(); err != nil {
		t.Fatal(err)
	}
	err = f.Run(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "control, web and exports: serve HTTP on") {
		t.Errorf("got %v", err)
	}
	again, err := open(t, f.state, "")
	if err != nil {
		t.Fatalf("the store was not closed: %v", err)
	}
	defer again.CloseAll()
	if _, err := open(t, f.state, ""); !errors.Is(err, listing.ErrLocked) {
		t.Errorf("a second daemon: %v", err)
	}
}

// Whatever New finds wrong is said once and clearly, and nothing stays open.
func TestNewFails(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	for name, c := range map[string]struct {
		old, new, want string
	}{
		"dns":  {`dns: {listen: ["127.0.0.1:0"]}`, `dns: {listen: ["` + port + `"]}`, "another DNS server has the port"},
		"smtp": {`smtp: {listen: "127.0.0.1:0"}`, `smtp: {listen: "` + port + `"}`, "listen for SMTP on " + port},
		"http": {`http: {listen: "127.0.0.1:0"}`, `http: {listen: "` + port + `"}`, "listen for HTTP on " + port},
	} {
		f := &fixture{state: tempDir(t)}
		text := strings.Replace(settings, "STATE", f.state, 1)
		f.text.Store(&text)
		f.edit(c.old, c.new)
		config, err := f.load()
		if err != nil {
			t.Fatal(err)
		}
		_, err = daemon.New(daemon.Options{Config: config, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		free, err := open(t, f.state, "")
		if err != nil {
			t.Errorf("%s: something stayed open: %v", name, err)
			continue
		}
		if err := free.CloseAll(); err != nil {
			t.Error(err)
		}
	}

	file := filepath.Join(tempDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, filepath.Join(file, "state"), ""); err == nil || !strings.Contains(err.Error(), "make the state folder") {
		t.Errorf("got %v", err)
	}
	if _, err := open(t, filepath.Join(tempDir(t), strings.Repeat("x", 100)), ""); err == nil || !strings.Contains(err.Error(), "choose a shorter state folder") {
		t.Errorf("got %v", err)
	}
}

func TestStatusTellsOfExports(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "export")
	blocked := filepath.Join(tempDir(t), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := serve(t, "exports:\n  - {zone: bl.example, dir: "+dir+", every: 1s}\n  - {zone: bl.example, dir: "+blocked+", every: 1s}\n")
	serial := f.Store().Snapshot().Serial()
	var s control.Status
	waitFor(t, func() bool {
		s = f.Status()
		return s.Exports[0].Serial != 0 && s.Exports[1].Error != ""
	})
	if e := s.Exports[0]; e.Serial != serial || e.Published.IsZero() || e.Error != "" || e.Dir != dir {
		t.Errorf("%+v", e)
	}
	if e := s.Exports[1]; e.Serial != 0 || !e.Published.IsZero() || !strings.Contains(e.Error, blocked) {
		t.Errorf("%+v", e)
	}
	// A reload moves the serial, and the files follow.
	f.edit("ttl: 300s", "ttl: 60s")
	if _, err := f.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return f.Status().Exports[0].Serial == serial+1 })
	text, err := os.ReadFile(filepath.Join(dir, zonefile.IP4Set.File(f.Zones().Find("bl.example"))))
	if err != nil || !strings.Contains(string(text), "$TTL 60\n") {
		t.Errorf("%v: %.300s", err, text)
	}
}

// A service manager is told of every state.
func TestNotify(t *testing.T) {
	socket := filepath.Join(tempDir(t), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	f, stop := serve(t, "")
	if _, err := f.reload(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=", "READY=1", "STOPPING=1"} {
		if err := l.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := l.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Errorf("told %q, %v, want %q", b[:n], err, want)
		}
	}
}
