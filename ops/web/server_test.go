package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
	"backscatter/ops/web"
)

// lookup answers for every address with one explanation.
type lookup struct {
	e     listing.Explanation
	err   error
	panic bool
	noKey bool // which cannot be written as JSON
	asked []string
}

func (l *lookup) Explain(addr netip.Addr) (listing.Explanation, error) {
	if l.panic {
		panic("secret")
	}
	l.asked = append(l.asked, addr.String())
	e := l.e
	e.Address = addr
	if !l.noKey {
		e.Key, _ = listing.HostKey(addr)
	}
	return e, l.err
}

func (l *lookup) ExplainKey(key listing.Key) (listing.Explanation, error) {
	l.asked = append(l.asked, key.String())
	e := l.e
	e.Key = key
	return e, l.err
}

type fixture struct {
	lookup *lookup
	why    []string // not ready
	log    bytes.Buffer
	server *web.Server
}

func newFixture() *fixture {
	f := &fixture{lookup: &lookup{}}
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "backscatter_test_total", Help: "A test."})
	reg.MustRegister(c)
	f.server = web.New(web.Options{
		Lookup:  f.lookup,
		Policy:  func() []string { return []string{"3 originals within 168h", "<b>score</b>"} },
		Contact: func() string { return "hostmaster@bl.example" },
		Ready:   func() []string { return f.why },
		Metrics: reg,
		Logger:  slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	return f
}

func (f *fixture) do(method, target string, header ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	f.server.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(target string, header ...string) *httptest.ResponseRecorder {
	return f.do(http.MethodGet, target, header...)
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, target string
		status         int
		body           string // is in it
		asked          string // of the store
	}{
		{"GET", "/", 200, "<form", ""},
		{"HEAD", "/", 200, "", ""},
		{"GET", "/healthz", 200, "ok\n", ""},
		{"GET", "/readyz", 200, "ready\n", ""},
		{"GET", "/metrics", 200, "backscatter_test_total 0", ""},
		{"GET", "/192.0.2.1", 200, "192.0.2.1 is not listed", "192.0.2.1"},
		{"GET", "/2001:db8::1", 200, "is not listed", "2001:db8::1"},
		{"GET", "/198.51.100.0/24", 200, "198.51.100.0/24 is not listed", "198.51.100.0/24"},
		{"GET", "/198.51.100.0%2f24", 200, "198.51.100.0/24 is not listed", "198.51.100.0/24"},
		{"GET", "/2001:db8::/48", 200, "is not listed", "2001:db8::/48"},
		{"GET", "/?address=%20192.0.2.1%0a", 200, "is not listed", "192.0.2.1"},
		{"GET", "/?address=", 200, "<form", ""},
		{"GET", "/?address=%zz", 200, "<form", ""},
		{"GET", "/nonsense", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/192.0.2.256", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/0.0.0.0/0", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/healthz/", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/%2e%2e/%2e%2e/etc/passwd", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/../../etc/passwd", 307, "", ""},
		{"GET", "/..%2f..%2fetc%2fpasswd", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/%2f%2fevil.example", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/192.0.2.1%00", 400, "no IPv4 or IPv6 address", ""},
		{"GET", "/%ff%fe", 400, "no IPv4 or IPv6 address", ""},
		{"POST", "/", 405, "", ""},
		{"POST", "/192.0.2.1", 405, "", ""},
		{"DELETE", "/metrics", 405, "", ""},
	} {
		f := newFixture()
		w := f.do(c.method, c.target)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s: %d %.300s", c.method, c.target, w.Code, w.Body)
		}
		if got := strings.Join(f.lookup.asked, " "); got != c.asked {
			t.Errorf("%s %s: asked the store for %q, want %q", c.method, c.target, got, c.asked)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: header %v", c.method, c.target, w.Header())
		}
		// Nobody is sent elsewhere.
		if to := w.Header().Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`)) {
			t.Errorf("%s %s: leads to %s", c.method, c.target, to)
		}
	}
	for _, target := range []string{"//evil.example/", "/./x//evil.example", `//\evil.example`} {
		f := newFixture()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = target
		w := httptest.NewRecorder()
		f.server.ServeHTTP(w, r)
		if to := w.Header().Get("Location"); strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.Contains(to, "://") {
			t.Errorf("%s: leads to %s", target, to)
		}
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.why = []string{"starting", "the disk is full"}
	if w := f.get("/readyz"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "starting\nthe disk is full\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := f.get("/healthz"); w.Code != http.StatusOK {
		t.Errorf("alive, but %d %s", w.Code, w.Body)
	}
}

// hostile is an explanation whose every text of strangers is an attack.
func hostile() listing.Explanation {
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.Policy}}`
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return listing.Explanation{
		Listed: true, Class: listing.ClassBounce, Classes: []listing.Class{listing.ClassBounce}, Code: "127.0.0.2", By: listing.ByEvidence,
		Reason: "secret-reason", Operator: "secret-operator", Since: at, Until: at.Add(time.Hour),
		Observations: 1, First: at, Last: at,
		Exempt: &listing.Exemption{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Reason: "secret-exemption", By: "secret-operator"},
		Events: []listing.Event{{
			At: at, Class: listing.ClassBounce, Level: listing.LevelA, Proofs: []string{"trap"},
			Reporter: "secret-reporter", Organisation: "secret-organisation", Sensor: "secret-sensor", TrapDomain: "secret-trap.example",
			Recipient: listing.ID{1, 2, 3}, Original: listing.ID{4, 5, 6},
			Traces: listing.Traces{
				MessageID: attack, QueueID: attack, ReportingMTA: attack, Status: attack, HELO: attack, PTR: attack, Product: attack,
				Diagnostic: `550 <rosa@secret-trap.example>: unknown ` + attack,
				Origin:     netip.MustParseAddr("198.51.100.9"),
			},
		}},
		History: []listing.Past{{Listed: at, Removed: at, By: listing.ByEvidence, How: listing.Expired, Why: "secret-why"}},
	}
}

var secrets = []string{"secret", "rosa", "010203", "040506"}

// Nothing that a stranger wrote does anything on the page, and nothing on it
// tells of traps and reporters.
func TestHostileTraces(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.lookup.e = hostile()
	page := f.get("/192.0.2.66").Body.String()
	for _, bad := range append([]string{"<script", "<img", `"><`, "3 originals within 168h</li></li>", "<b>score"}, secrets...) {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q:\n%s", bad, page)
		}
	}
	for _, good := range []string{"192.0.2.66 is listed", "bounce (127.0.0.2)", "&lt;script&gt;", "[withheld]", "2026-03-04 05:06:07 UTC", "198.51.100.9", "mailto:hostmaster@bl.example"} {
		if !strings.Contains(page, good) {
			t.Errorf("the page lacks %q", good)
		}
	}

	w := f.get("/192.0.2.66?format=json")
	text := w.Body.String()
	for _, bad := range append([]string{"<script"}, secrets...) {
		if strings.Contains(text, bad) {
			t.Errorf("the answer has %q:\n%s", bad, text)
		}
	}
	var e listing.Explanation
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || !e.Listed || len(e.Events) != 1 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v, %+v", err, e)
	}

	// What was asked is told back, as a text.
	for _, ask := range []string{"/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/?address=%22%3E%3Cscript%3E", "/fe80::1%25%3Cscript%3E"} {
		if page := f.get(ask).Body.String(); strings.Contains(page, "<script") || !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("%s:\n%s", ask, page)
		}
	}
	// But not at any length.
	if page := f.get("/" + strings.Repeat("a", 10_000)).Body.String(); strings.Contains(page, "aaaa") {
		t.Error("10 kB were told back")
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target, accept string
		err            error
		status         int
		want           string
	}{
		{"/192.0.2.1", "application/json", nil, 200, `"listed":false`},
		{"/192.0.2.1?format=json", "", nil, 200, `"address":"192.0.2.1"`},
		{"/?address=192.0.2.1&format=json", "", nil, 200, `"address":"192.0.2.1"`},
		{"/nonsense", "application/json", nil, 400, `{"error":"this is no IPv4 or IPv6 address"}`},
		{"/192.0.2.1", "application/json", errors.New("bucket secret"), 500, `{"error":"the look-up did not work; please try again later"}`},
	} {
		f := newFixture()
		f.lookup.err = c.err
		w := f.get(c.target, "Accept", c.accept)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) || w.Header().Get("Vary") != "Accept" {
			t.Errorf("%s: %d %s %v", c.target, w.Code, w.Body, w.Header())
		}
		if c.err != nil && !strings.Contains(f.log.String(), "secret") {
			t.Errorf("%s: the log has %q", c.target, f.log.String())
		}
	}
	f := newFixture()
	f.lookup.noKey = true
	if w := f.get("/192.0.2.1?format=json"); w.Code != http.StatusInternalServerError || f.log.Len() == 0 {
		t.Errorf("what cannot be written: %d %q", w.Code, w.Body)
	}
	if w := newFixture().get("/192.0.2.1", "Accept", "text/html,application/json;q=0.1"); !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("a browser gets %v", w.Header())
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.lookup.panic = true
	if w := f.get("/192.0.2.1"); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(f.log.String(), "secret") {
		t.Errorf("log: %s", f.log.String())
	}
	if w := f.get("/healthz"); w.Code != http.StatusOK {
		t.Errorf("after it: %d", w.Code)
	}
}

// The page of a real store: what cannot be asked of it is no failure of ours.
func TestStore(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := listing.Open(filepath.Join(dir, "db"), listing.Options{Settings: listing.Settings{
		Policy: listing.Solo(), Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	}()
	key, err := listing.ParseKey("192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	order := listing.Order{By: listing.Actor{UID: 1, Name: "secret"}, Reason: "a relay"}
	if _, err := store.List(t.Context(), order, []listing.Manual{{Key: key}}); err != nil {
		t.Fatal(err)
	}
	f := newFixture()
	f.server.Lookup = store
	for target, want := range map[string]string{
		"/192.0.2.7":            "192.0.2.7 is listed",
		"/::ffff:192.0.2.7":     "192.0.2.7 is listed",
		"/192.0.2.8":            "192.0.2.8 is not listed",
		"/127.0.0.1":            "It is exempt",
		"/::":                   "is not listed",
		"/fe80::1%25eth0":       "fe80::1 is not listed",
		"/255.255.255.255":      "is not listed",
		"/::ffff:192.0.2.0/120": "192.0.2.0/24",
	} {
		w := f.get(target)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d, want %q:\n%s", target, w.Code, want, w.Body)
		}
	}
}

// The page tells how to stop the software that was recognised, once.
func TestFixes(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.lookup.e = hostile()
	f.lookup.e.Events[0].Traces.Product = "qmail"
	f.lookup.e.Events = append(f.lookup.e.Events, f.lookup.e.Events[0])
	if page := f.get("/192.0.2.66").Body.String(); strings.Count(page, "<strong>qmail</strong>: Refuse unknown recipients at RCPT") != 1 {
		t.Errorf("no advice for qmail on the page:\n%s", page)
	}
}

// Of a host that is not listed nobody sees what came from it: its owner may have sent
// that to find out whether an address is a trap.
func TestUnlistedShowsNoEvidence(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.lookup.e = hostile()
	f.lookup.e.Listed = false
	f.lookup.e.History = []listing.Past{{Listed: time.Unix(1, 0), Removed: time.Unix(2, 0)}}
	for _, target := range []string{"/192.0.2.1", "/192.0.2.1?format=json"} {
		body := f.get(target).Body.String()
		for _, told := range []string{"message_id", "Message-ID", "was received", "2026-03-04", "threshold"} {
			if strings.Contains(body, told) {
				t.Errorf("%s tells %s:\n%s", target, told, body)
			}
		}
		if !strings.Contains(body, "1970-01-01") {
			t.Errorf("%s does not tell of the listing that ended:\n%s", target, body)
		}
	}
	f.lookup.e.Listed = true
	if body := f.get("/192.0.2.1").Body.String(); !strings.Contains(body, "was received") {
		t.Errorf("the listed see nothing:\n%s", body)
	}
}
