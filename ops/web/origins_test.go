package web_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
	"backscatter/ops/web"
)

// The feed is a line of JSON for each run, and whoever has it is told so.
func TestOriginsFeed(t *testing.T) {
	t.Parallel()
	f := newFixture()
	public, read := true, 0
	f.server = web.New(web.Options{
		Lookup: f.lookup, Policy: f.server.Policy, Contact: f.server.Contact, Ready: f.server.Ready, Logger: f.server.Logger, Metrics: prometheus.NewRegistry(),
		Origins: func(context.Context) ([]listing.SpamRun, bool, error) {
			read++
			return []listing.SpamRun{
				{URLHost: "pills.example", First: time.Unix(1, 0).UTC(), Last: time.Unix(2, 0).UTC(), Observations: 2, Originals: 1, Origins: []netip.Addr{netip.MustParseAddr("198.51.100.1")}},
				{URLHost: "casino.example"},
			}, public, nil
		},
	})
	w := f.get("/origins.jsonl")
	etag := w.Header().Get("ETag")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != http.StatusOK || len(lines) != 2 || len(etag) < 10 || w.Header().Get("Content-Type") != "application/jsonl" {
		t.Fatalf("%d %v\n%s", w.Code, w.Header(), w.Body)
	}
	var run listing.SpamRun
	if err := json.Unmarshal([]byte(lines[0]), &run); err != nil || run.URLHost != "pills.example" || run.Observations != 2 || len(run.Origins) != 1 {
		t.Errorf("%v %+v", err, run)
	}
	if w := f.get("/origins.jsonl", "If-None-Match", etag); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("to who has it: %d %s", w.Code, w.Body)
	}
	if w := f.get("/origins.jsonl", "If-None-Match", `"else"`); w.Code != http.StatusOK || read != 1 {
		t.Errorf("to who has another: %d, read %d times", w.Code, read)
	}

	public = false
	f.server = web.New(web.Options{Lookup: f.lookup, Logger: f.server.Logger, Metrics: prometheus.NewRegistry(), Origins: f.server.Origins})
	if w := f.get("/origins.jsonl"); w.Code != http.StatusNotFound {
		t.Errorf("what is for nobody: %d %s", w.Code, w.Body)
	}
}
