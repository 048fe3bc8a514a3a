package web_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
	"backscatter/ops/web"
	"backscatter/zonefile"
)

// polled is a list that who polls sees change.
type polled struct {
	*web.Server
	current atomic.Pointer[listing.Snapshot]
	former  map[uint64]*listing.Snapshot
	made    atomic.Int32 // answers that were not kept
}

func newPolled(t *testing.T) *polled {
	t.Helper()
	// The first is not the first by the alphabet.
	set, err := zonefile.NewSet(
		&zonefile.Zone{Name: "bl.example.", NS: []string{"ns.example."}, Hostmaster: "a.example.", Classes: listing.AllClasses},
		&zonefile.Zone{Name: "a.example.", NS: []string{"ns.example."}, Hostmaster: "a.example.", Classes: listing.AllClasses},
	)
	if err != nil {
		t.Fatal(err)
	}
	p := &polled{former: map[uint64]*listing.Snapshot{}}
	p.publish(listing.NewSnapshot(listing.Build{Sequence: 1000, Time: time.Unix(1_795_325_400, 0)}))
	p.Server = web.New(web.Options{
		Ready: func() []string { return nil }, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		List: &web.List{
			To:      []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			Proxies: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8:1::/64")},
			Zones:   func() *zonefile.Set { return set }, Snapshot: p.current.Load,
			Compare: func(from, to uint64, _ int) (c listing.Comparison, err error) {
				p.made.Add(1)
				if p.former[from] == nil {
					return c, listing.ErrCut
				}
				c.Removed, c.Added = listing.Diff(slices.Collect(p.former[from].All()), slices.Collect(p.former[to].All()))
				return c, nil
			},
			Changes: func() iter.Seq2[listing.Change, error] {
				return func(yield func(listing.Change, error) bool) {
					yield(listing.Change{Sequence: 1001, Time: p.current.Load().Time(), Removed: []listing.Entry{manual("9.9.9.8/32")}}, nil)
				}
			},
		},
	})
	return p
}

func manual(prefix string) listing.Entry {
	return listing.Entry{Prefix: netip.MustParsePrefix(prefix), Class: listing.ClassManual, Classes: listing.ClassSetOf(listing.ClassManual)}
}

func (p *polled) publish(s *listing.Snapshot) {
	p.former[s.Sequence()] = s
	p.current.Store(s)
}

// add lists one more.
func (p *polled) add(prefix string) {
	s := p.current.Load()
	p.publish(s.Next(listing.Next{Sequence: s.Sequence() + 1, Time: s.Time().Add(time.Minute), Added: []listing.Entry{manual(prefix)}}))
}

func (p *polled) get(path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = "192.0.2.7:1234"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "client" {
			r.RemoteAddr = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestPoll(t *testing.T) {
	t.Parallel()
	p := newPolled(t)
	p.add("9.9.9.9/32")
	w := p.get("/changes?since=1000")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `{"change":"added","prefix":"9.9.9.9/32"`) || !strings.HasSuffix(w.Body.String(), "{\"end\":1001,\"changes\":1}\n") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	etag := w.Header().Get("ETag")
	if etag == "" || w.Header().Get("X-Serial") != "1001" {
		t.Errorf("%v", w.Header())
	}
	for range 5 { // what is kept is told to all
		if w := p.get("/changes?since=1000&zone=bl.example", "If-None-Match", etag); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("who has it already gets %d", w.Code)
		}
	}
	if n := p.made.Load(); n != 1 { // however the zone is named
		t.Errorf("made %d times", n)
	}
	packed := p.get("/changes?since=1000", "Accept-Encoding", "br, gzip;q=0.8")
	gz, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(gz); err != nil || !bytes.Equal(text, w.Body.Bytes()) || packed.Header().Get("ETag") == etag {
		t.Errorf("packed: %v, %s", err, text)
	}
	if w := p.get("/changes?since=1000", "Accept-Encoding", "gzip;q=0"); w.Header().Get("Content-Encoding") != "" {
		t.Error("packed for who does not want it")
	}
	p.add("9.9.9.10/32")
	if w := p.get("/changes?since=1000", "If-None-Match", etag); w.Code != 200 || !strings.Contains(w.Body.String(), "9.9.9.10/32") {
		t.Errorf("after a change: %d %s", w.Code, w.Body)
	}
	for path, want := range map[string]int{
		"/changes?since=999": http.StatusGone, "/changes?since=5000": http.StatusGone, "/changes": 400, "/changes?since=-1": 400,
		"/changes?since=4294967296": 400, "/changes?since=1000&zone=other.example": 400, "/changes?since=1002": 200,
		"/removals": 200, "/removals?zone=other.example": 400,
	} {
		if w := p.get(path); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := p.get("/removals"); !strings.Contains(w.Body.String(), "9.9.9.8 2026-") || !strings.Contains(w.Body.String(), "# END serial=1002 entries=1") {
		t.Errorf("removals: %s", w.Body)
	}
	for _, stranger := range []string{"198.51.100.1:1", "[2001:db8::1]:1", "nowhere"} {
		if w := p.get("/changes?since=1000", "client", stranger); w.Code != http.StatusForbidden {
			t.Errorf("%s gets %d", stranger, w.Code)
		}
	}
}

// A date has whole seconds, and the list more than one state in one of them: who has
// the former gets the new one, whatever it knows.
func TestPollTwiceInASecond(t *testing.T) {
	t.Parallel()
	p := newPolled(t)
	for _, prefix := range []string{"9.9.9.9/32", "9.9.9.10/32"} {
		s := p.current.Load()
		p.publish(s.Next(listing.Next{Sequence: s.Sequence() + 1, Time: s.Time().Add(time.Millisecond), Added: []listing.Entry{manual(prefix)}}))
		for _, path := range []string{"/changes?since=1000", "/removals"} {
			w := p.get(path, "If-Modified-Since", s.Time().Add(time.Second).UTC().Format(http.TimeFormat))
			if w.Code != http.StatusOK || w.Header().Get("Last-Modified") != "" {
				t.Errorf("%s, after %s: %d %v", path, prefix, w.Code, w.Header())
			}
		}
	}
}

// What left the list is made once however long it is, and whatever else is asked for.
func TestLongRemovalsAreKept(t *testing.T) {
	t.Parallel()
	p := newPolled(t)
	p.add("9.8.9.9/32")
	made := 0
	p.List.Changes = func() iter.Seq2[listing.Change, error] {
		made++
		return func(yield func(listing.Change, error) bool) {
			change := listing.Change{Sequence: 1001, Time: p.current.Load().Time()}
			for n := range 1 << 16 {
				change.Removed = append(change.Removed, manual(fmt.Sprintf("9.9.%d.%d/32", n>>8, n&255)))
			}
			yield(change, nil)
		}
	}
	want := p.get("/removals").Body
	for n := range 100 {
		p.get(fmt.Sprintf("/changes?since=%d", 1001+n))
	}
	if got := p.get("/removals").Body; made != 1 || want.Len() < 1<<20 || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("made %d times, of %d and %d bytes", made, want.Len(), got.Len())
	}
}

// Behind proxies the client is the last in X-Forwarded-For that is none of them.
func TestPollBehindProxies(t *testing.T) {
	t.Parallel()
	p := newPolled(t)
	const proxy, other = "203.0.113.1:9", "[2001:db8:1::5]:9"
	for _, c := range []struct {
		remote string
		told   []string
		want   int
	}{
		{proxy, []string{"192.0.2.7"}, 200},
		{proxy, []string{"::ffff:192.0.2.7"}, 200},
		{other, []string{"198.51.100.1, 192.0.2.7"}, 200},
		{other, []string{"192.0.2.7, 203.0.113.2"}, 200},
		{proxy, []string{"192.0.2.7", "203.0.113.2,[2001:db8:1::1]"}, 200},
		{proxy, []string{"198.51.100.1"}, 403},
		{proxy, []string{"192.0.2.7, 198.51.100.1"}, 403}, // his own word
		{proxy, []string{"192.0.2.7, unknown"}, 403},
		{proxy, []string{"192.0.2.7,"}, 403},
		{proxy, nil, 403},
		{proxy, []string{"203.0.113.2"}, 403},
		{"192.0.2.7:9", []string{"198.51.100.1"}, 200}, // no proxy
		{"198.51.100.1:9", []string{"192.0.2.7"}, 403},
	} {
		header := []string{"client", c.remote}
		if c.told != nil {
			header = append(header, "X-Forwarded-For", strings.Join(c.told, ","))
		}
		if w := p.get("/changes?since=1000", header...); w.Code != c.want {
			t.Errorf("%s for %q: %d, want %d", c.remote, c.told, w.Code, c.want)
		}
	}
}
