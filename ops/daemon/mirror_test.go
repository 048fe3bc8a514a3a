package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/ops/config"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

const mirroring = `
state: STATE
dns: {listen: ["127.0.0.1:0"]}
http: {listen: "127.0.0.1:0"}
mirror: {unsigned: true, every: 1s}
`

// serveMirror runs a mirror of a folder until the test ends, and returns it with
// a client of its control socket.
func serveMirror(t *testing.T, state, from string) (*daemon.Mirror, *control.Client) {
	t.Helper()
	m, err := newMirror(t, state, from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- m.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	c := control.Dial(filepath.Join(state, control.SocketName))
	t.Cleanup(c.Close)
	return m, c
}

func newMirror(t *testing.T, state, from string) (*daemon.Mirror, error) {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(strings.Replace(mirroring, "STATE", state, 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	load := func() (*config.Config, error) { return c, nil }
	return daemon.NewMirror(daemon.MirrorOptions{Config: c, Load: load, From: from, Version: "test", Logger: slog.New(slog.DiscardHandler)})
}

// until polls a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// TestMirror lets a daemon export, and another answer from what it wrote.
func TestMirror(t *testing.T) {
	t.Parallel()
	export := filepath.Join(tempDir(t), "export")
	f, stop := serve(t, "exports: [{zone: bl.example, dir: "+export+", every: 1s, brake: 0}]\n")
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	until(t, "the export is there", func() bool { return f.Status().Exports[0].Serial != 0 })

	m, client := serveMirror(t, tempDir(t), export)
	listeners := map[string]string{}
	for _, l := range m.Status().Listen {
		listeners[l.Service] = l.Address
	}
	status, err := client.Status(t.Context())
	if err != nil || !status.Ready || status.Mirror == nil || status.Mirror.Zone != "bl.example" || status.Mirror.Serial != f.Status().Exports[0].Serial {
		t.Fatalf("%+v, %v", status, err)
	}
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/healthz": {200, "ok"}, "/readyz": {200, "ready"}, "/192.0.2.66": {404, ""}, "/": {404, ""},
		"/metrics": {200, `backscatter_dns_`},
	} {
		code, text := get(t, "http://"+listeners["http"]+path)
		if code != want.code || !strings.Contains(text, want.text) {
			t.Errorf("%s: %d %.300s", path, code, text)
		}
	}
	_, err = client.Policy(t.Context())
	var refused *control.Error
	if !errors.As(err, &refused) || refused.Code != control.CodeConflict || !strings.Contains(refused.Message, "mirror") {
		t.Errorf("a mirror asked for its policy: %v", err)
	}
	// What goes wrong is told, and what was in force stays.
	manifest := filepath.Join(export, "MANIFEST")
	good, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, good[:len(good)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	until(t, "the refusal is told", func() bool { return m.Status().Mirror.Error != "" })
	if s := m.Status(); !s.Ready || s.Mirror.Serial != status.Mirror.Serial {
		t.Errorf("%+v", s)
	}
}

// A mirror starts without a list, says so, and does not answer as if it had one.
func TestMirrorOfNothing(t *testing.T) {
	t.Parallel()
	state := tempDir(t)
	m, _ := serveMirror(t, state, tempDir(t))
	if s := m.Status(); s.Ready || len(s.NotReady) != 1 || !strings.Contains(s.NotReady[0], "nothing to answer from") || s.Mirror.Error == "" {
		t.Errorf("%+v", s)
	}
	if _, err := newMirror(t, state, tempDir(t)); err == nil || !strings.Contains(err.Error(), "a daemon runs at") {
		t.Errorf("a second one with the same state: %v", err)
	}
	file := filepath.Join(state, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{filepath.Join(state, "nowhere"): "make the folder", file: "is no folder"} {
		if _, err := newMirror(t, tempDir(t), from); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", from, err, want)
		}
	}
}
