package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
	"backscatter/ops/web"
)

// newFeed returns a server with a feed of what is read, if that is public.
func newFeed(public *atomic.Bool, runs func(context.Context) ([]listing.PublicRun, error)) *fixture {
	f := newFixture()
	f.server = web.New(web.Options{
		Lookup: f.lookup, Policy: f.server.Policy, Contact: f.server.Contact, Ready: f.server.Ready, Logger: f.server.Logger, Metrics: prometheus.NewRegistry(),
		Origins: &web.Origins{Public: public.Load, Runs: runs},
	})
	return f
}

// The feed is a line of JSON for each run, and whoever has it is told so.
func TestOriginsFeed(t *testing.T) {
	t.Parallel()
	var public atomic.Bool
	public.Store(true)
	read := 0
	f := newFeed(&public, func(context.Context) ([]listing.PublicRun, error) {
		read++
		return []listing.PublicRun{
			{Domain: "pills.example", First: "2026-11-20", Last: "2026-11-21", Observations: 10, Origins: []netip.Addr{netip.MustParseAddr("198.51.100.1")}},
			{Domain: "casino.example"},
		}, nil
	})
	w := f.get("/origins.jsonl")
	etag := w.Header().Get("ETag")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != http.StatusOK || len(lines) != 2 || len(etag) < 10 || w.Header().Get("Content-Type") != "application/jsonl" {
		t.Fatalf("%d %v\n%s", w.Code, w.Header(), w.Body)
	}
	var run listing.PublicRun
	if err := json.Unmarshal([]byte(lines[0]), &run); err != nil || run.Domain != "pills.example" || run.Observations != 10 || len(run.Origins) != 1 {
		t.Errorf("%v %+v", err, run)
	}
	if w := f.get("/origins.jsonl", "If-None-Match", etag); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("to who has it: %d %s", w.Code, w.Body)
	}
	if w := f.get("/origins.jsonl", "If-None-Match", `"else"`); w.Code != http.StatusOK || read != 1 {
		t.Errorf("to who has another: %d, read %d times", w.Code, read)
	}
	// A reload that takes it back takes back what was made, too.
	public.Store(false)
	if w := f.get("/origins.jsonl"); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "pills") {
		t.Errorf("what is for nobody any more: %d %s", w.Code, w.Body)
	}
}

// Who asks and goes away does not end the reading that others wait for, and has
// made the feed for them; who waits and goes away need not wait.
func TestOriginsFeedIsShared(t *testing.T) {
	t.Parallel()
	var public atomic.Bool
	public.Store(true)
	reading, goOn := make(chan struct{}), make(chan struct{})
	var read atomic.Int32
	f := newFeed(&public, func(ctx context.Context) ([]listing.PublicRun, error) {
		read.Add(1)
		close(reading)
		<-goOn
		return []listing.PublicRun{{Domain: "pills.example"}}, context.Cause(ctx)
	})
	ask := func(ctx context.Context) chan *httptest.ResponseRecorder {
		done := make(chan *httptest.ResponseRecorder, 1)
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/origins.jsonl", nil).WithContext(ctx)
		go func() { f.server.ServeHTTP(w, r); done <- w }()
		return done
	}
	first, leave := context.WithCancelCause(t.Context())
	a := ask(first)
	<-reading
	second, leaveToo := context.WithCancel(t.Context())
	b, c := ask(second), ask(t.Context())
	leaveToo()
	<-b // while it is still read
	leave(errors.New("the client has gone"))
	close(goOn)
	<-a
	if w := <-c; w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "pills.example") || read.Load() != 1 {
		t.Errorf("who stayed gets %d %s, after %d readings", w.Code, w.Body, read.Load())
	}
}
