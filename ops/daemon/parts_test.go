package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

func TestKey(t *testing.T) {
	t.Parallel()
	name := filepath.Join(tempDir(t), "k")
	key, err := daemon.LoadKey(name)
	if err != nil || key == [32]byte{} {
		t.Fatal(key, err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want it for its owner alone", info.Mode(), err)
	}
	if again, err := daemon.LoadKey(name); err != nil || again != key {
		t.Errorf("read back %x, %v", again, err)
	}
	if files, err := os.ReadDir(filepath.Dir(name)); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	for _, text := range []string{"", "\n", "zz", strings.Repeat("0", 62), strings.Repeat("0", 66), strings.Repeat("0", 64) + "\nzz 2026-11-22T10:00:00Z"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := daemon.LoadKey(name); err == nil || !strings.Contains(err.Error(), "want 64 hex digits; restore the file") {
			t.Errorf("%q: %v", text, err)
		}
		if after, err := os.ReadFile(name); err != nil || string(after) != text {
			t.Errorf("%q became %q, %v", text, after, err)
		}
	}
	undated := strings.Repeat("0", 64) + "\n" + strings.Repeat("1", 64) + "\n"
	if err := os.WriteFile(name, []byte(undated), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.LoadKey(name); err == nil || !strings.Contains(err.Error(), "line 2: want when it was replaced") {
		t.Errorf("a former key of no time: %v", err)
	}
	if _, err := daemon.LoadKey(filepath.Join(name, "k")); err == nil {
		t.Error("a key in a folder that is none")
	}
}

// Daemons that start at once make their key before any has the store: all of
// them have the one that is in the file, whoever wins.
func TestKeyIsOne(t *testing.T) {
	t.Parallel()
	for range 20 {
		name := filepath.Join(tempDir(t), "k")
		keys := make([][32]byte, 8)
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				var err error
				if keys[i], err = daemon.LoadKey(name); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		kept, err := daemon.LoadKey(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			if key != kept {
				t.Fatalf("daemon %d has %x, the file %x", i, key, kept)
			}
		}
	}
}

// Without a daemon the commands work on the store, and not beside one.
func TestOffline(t *testing.T) {
	t.Parallel()
	f, stop := serve(t, "")
	c, err := f.load()
	if err != nil {
		t.Fatal(err)
	}
	ran := false
	work := func(*control.Client) error { ran = true; return nil }
	if err := daemon.Offline(t.Context(), c, "test", work); !errors.Is(err, listing.ErrLocked) || ran {
		t.Errorf("beside a daemon: %v, ran %t", err, ran)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	k, err := listing.ParseKey("192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	err = daemon.Offline(t.Context(), c, "test", func(client *control.Client) error {
		s, err := client.Status(t.Context())
		if err != nil || s.Running || s.Ready {
			t.Errorf("%+v, %v", s, err)
		}
		_, err = client.List(t.Context(), control.ListRequest{Order: control.Order{Reason: "x"}, Entries: []listing.Manual{{Key: k}}})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	own := errors.New("own")
	if err := daemon.Offline(t.Context(), c, "test", func(client *control.Client) error {
		e, err := client.Show(t.Context(), "192.0.2.7", false)
		if err != nil || !e.Listed || e.By != listing.ByOperator {
			t.Errorf("%+v, %v", e, err)
		}
		audit, err := client.Audit(t.Context(), control.AuditRequest{})
		if err != nil || audit.Entries[len(audit.Entries)-1].By.Via != "offline" || audit.Entries[len(audit.Entries)-1].By.UID != os.Getuid() {
			t.Errorf("%+v, %v", audit, err)
		}
		return own
	}); !errors.Is(err, own) {
		t.Errorf("the error of the work: %v", err)
	}
}

var demoServer = regexp.MustCompile(`dig @(\S+) -p (\d+)`)

// buffer is written by the demonstration and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// What the demonstration prints is true, and it leaves nothing.
func TestDemo(t *testing.T) {
	dir := tempDir(t)
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out buffer
	done := make(chan error, 1)
	go func() { done <- daemon.Demo(ctx, "test", slog.New(slog.DiscardHandler), &out) }()
	waitFor(t, func() bool { return strings.Contains(out.String(), "Ctrl-C") })
	m := demoServer.FindStringSubmatch(out.String())
	if m == nil {
		t.Fatal(out.String())
	}
	server := m[1] + ":" + m[2]
	if r := ask(t, server, "66.2.0.192.bl.example.", dns.TypeA); len(r.Answer) != 1 {
		t.Errorf("the sender of the samples is not listed: %v", r)
	}
	if r := ask(t, server, "67.2.0.192.bl.example.", dns.TypeA); r.Rcode != dns.RcodeNameError {
		t.Errorf("a single sample listed somebody: %v", r)
	}
	if r := ask(t, server, "2.0.0.127.bl.example.", dns.TypeA); len(r.Answer) != 1 {
		t.Errorf("test point: %v", r)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("did not end")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// A place that it cannot use is said.
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	if err := daemon.Demo(t.Context(), "test", slog.New(slog.DiscardHandler), &out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
