package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/zonefile"
)

// patience bounds every wait for something that should happen at once.
const patience = time.Minute

// sink keeps what it is given.
type sink struct {
	mu      sync.Mutex
	reports []evidence.Report
	err     error
}

func (s *sink) Submit(_ context.Context, r evidence.Report) (evidence.Finding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return evidence.Finding{}, s.err
	}
	s.reports = append(s.reports, r)
	return evidence.Finding{Class: listing.ClassBounce, Verdict: evidence.Unproven, Reason: evidence.ReasonNoProof}, nil
}

func (s *sink) last(t *testing.T) evidence.Report {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) == 0 {
		t.Fatal("nothing was submitted")
	}
	return s.reports[len(s.reports)-1]
}

// fixture is a server on a real store and a real socket.
type fixture struct {
	store  *listing.Store
	sink   *sink
	server *control.Server
	http   *http.Server
	socket string
	client *control.Client // over the socket
}

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func zones(t *testing.T) *zonefile.Set {
	t.Helper()
	zone := func(name string) *zonefile.Zone {
		return &zonefile.Zone{
			Name: name, NS: []string{"ns.example.net."}, Hostmaster: "hostmaster.example.net.",
			Classes: listing.AllClasses, URL: "https://bl.example/",
		}
	}
	set, err := zonefile.NewSet(zone("bl.example."), zone("other.example."))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newStore(t *testing.T, dir string) *listing.Store {
	t.Helper()
	store, err := listing.Open(filepath.Join(dir, "test.db"), listing.Options{Settings: listing.Settings{
		Policy: listing.Solo(), Probation: listing.DefaultProbation(),
		Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
	return store
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := tempDir(t)
	f := &fixture{store: newStore(t, dir), sink: &sink{}, socket: filepath.Join(dir, control.SocketName)}
	set := zones(t)
	f.server = control.NewServer(control.Options{
		Store: f.store, Sink: f.sink, Zones: func() *zonefile.Set { return set },
		Reporter: func() string { return "local" },
		Status:   func() control.Status { return control.Status{Version: "test", Running: true} },
		Logger:   slog.New(slog.DiscardHandler),
	})
	l, err := control.Listen(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	f.http = f.server.HTTP()
	served := make(chan error, 1)
	go func() { served <- f.http.Serve(l) }()
	f.client = control.Dial(f.socket)
	t.Cleanup(func() {
		f.client.Close()
		f.http.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return f
}

// raw sends a request as it is and returns what came back.
func (f *fixture) raw(t *testing.T, method, target, contentType string, body io.Reader) (status int, text string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", f.socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://backscatter"+target, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(out)
}

func key(t *testing.T, text string) listing.Key {
	t.Helper()
	k, err := listing.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// many is a list of n addresses.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "10.%d.%d.%d\n", i>>16, i>>8&0xff, i&0xff)
	}
	return b.String()
}

// fill imports n addresses.
func (f *fixture) fill(t *testing.T, n int) {
	t.Helper()
	r, err := f.client.Import(t.Context(), control.ImportRequest{Order: control.Order{Reason: "test"}, Format: "txt"}, strings.NewReader(many(n)))
	if err != nil || r.NAdded != n {
		t.Fatalf("added %d of %d: %v", r.NAdded, n, err)
	}
}
