package remote_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/listing"
	"backscatter/ops/remote"
)

// keyOf is a key that differs by n.
func keyOf(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed)
}

// enrolled are reporters, each with the key of its number.
type enrolled map[byte]listing.Enrolment

func (e enrolled) ReporterByKey(id listing.ID) (listing.Enrolment, listing.ReporterKey, error) {
	for n, r := range e {
		public := keyOf(n).Public().(ed25519.PublicKey)
		if listing.KeyID(public) == id {
			return r, listing.ReporterKey{ID: id, Public: public}, nil
		}
	}
	return listing.Enrolment{}, listing.ReporterKey{}, fmt.Errorf("key: %w", listing.ErrReporter)
}

// sink takes reports as the daemon's desk would, and knows what it has.
type sink struct {
	mu    sync.Mutex
	count map[string]int // of each message
	last  evidence.Report
	down  bool
}

func (s *sink) Submit(_ context.Context, r evidence.Report) (evidence.Finding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return evidence.Finding{}, errors.New("the disk is full")
	}
	s.count[string(r.Raw)]++
	s.last = r
	f := evidence.Finding{Verdict: evidence.Proven, Class: listing.ClassBounce, Level: listing.LevelB, Source: r.Envelope.Client}
	if s.count[string(r.Raw)] > 1 {
		f.Verdict, f.Reason = evidence.Unproven, evidence.ReasonDuplicate
	}
	return f, nil
}

func (s *sink) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// list is a list's side, on loopback.
type list struct {
	*httptest.Server
	t       *testing.T
	sink    *sink
	metrics *remote.Metrics
	reg     *prometheus.Registry
	options remote.ServerOptions
	state   string
}

func newList(t *testing.T, change func(*remote.ServerOptions)) *list {
	t.Helper()
	l := &list{t: t, sink: &sink{count: map[string]int{}}, reg: prometheus.NewRegistry(), state: t.TempDir()}
	l.metrics = remote.NewMetrics(l.reg)
	l.options = remote.ServerOptions{
		Reporters: enrolled{1: {Name: "friend", Organisation: "Friends", Relays: []netip.Prefix{netip.MustParsePrefix("192.0.2.25/32")}}, 2: {Name: "lapsed", Suspended: time.Now()}},
		Sink:      l.sink, Logger: silent(), Metrics: l.metrics,
	}
	if change != nil {
		change(&l.options)
	}
	l.start()
	t.Cleanup(func() { l.stop() })
	return l
}

// start begins a life of the server: what it remembers is on disk alone.
func (l *list) start() {
	l.t.Helper()
	nonces, err := remote.OpenNonces(filepath.Join(l.state, "nonces"), 5*time.Minute, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	l.options.Nonces = nonces
	l.Server = httptest.NewServer(remote.NewServer(l.options))
}

func (l *list) stop() {
	l.t.Helper()
	l.CloseClientConnections()
	l.Close()
	if err := l.options.Nonces.Close(); err != nil {
		l.t.Error(err)
	}
}

func (l *list) counted(result string) float64 {
	l.t.Helper()
	n := 0.0
	families, err := l.reg.Gather()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if f.GetName() == "backscatter_remote_requests_total" && label.GetValue() == result {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// line is one report, whose message says which.
func line(t *testing.T, name string) []byte {
	t.Helper()
	text, err := intake.Record(intake.Item{
		Raw:      []byte("Subject: " + name + "\r\n\r\n"),
		Received: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		Envelope: evidence.Envelope{Client: netip.MustParseAddr("192.0.2.66"), MailFromKnown: true, Recipients: []string{"a@trap.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// request is a good one, signed by the key of that number.
func (l *list) request(n byte, body []byte) *http.Request {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.URL+remote.Path, bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Content-Type", remote.ContentType)
	if err := remote.Sign(r, body, keyOf(n), time.Now()); err != nil {
		l.t.Fatal(err)
	}
	return r
}

// reply is the head of an answer, whose body was read.
type reply struct {
	StatusCode int
	Header     http.Header
}

func (l *list) do(r *http.Request) (reply, string) {
	l.t.Helper()
	response, err := l.Client().Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header}, string(body)
}

func answers(t *testing.T, body string) (out []remote.Answer) {
	t.Helper()
	for text := range strings.Lines(body) {
		var a remote.Answer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, a)
	}
	return out
}

func TestMetricsAreNamedWell(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	remote.NewMetrics(reg)
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// broken fails in a way that nothing ever should.
type broken struct{}

func (broken) ReporterByKey(listing.ID) (listing.Enrolment, listing.ReporterKey, error) {
	panic("secret")
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
