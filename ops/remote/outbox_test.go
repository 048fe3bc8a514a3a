package remote_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/ops/remote"
)

func newOutbox(t *testing.T, dir string, most int64) *remote.Outbox {
	t.Helper()
	o, err := remote.OpenOutbox(dir, most)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (l *list) sender() *remote.Sender {
	l.t.Helper()
	u, err := remote.ParseURL(l.URL)
	if err != nil {
		l.t.Fatal(err)
	}
	client, err := remote.NewClient("")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(client.CloseIdleConnections)
	return &remote.Sender{URL: u, Key: keyOf(1), Limits: remote.DefaultLimits(), Client: client}
}

// told collects what a flush tells.
type told struct {
	mu  sync.Mutex
	all map[string]remote.Sent
}

func (c *told) each(s remote.Sent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]remote.Sent{}
	}
	c.all[s.Name] = s
}

func waiting(t *testing.T, o *remote.Outbox) int {
	t.Helper()
	n, _, err := o.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// While the list is away reports wait, also for the next process; then each is
// sent, in order, and told.
func TestQueueWhileAway(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	dir := t.TempDir()
	l.sink.setDown(true)
	o := newOutbox(t, dir, 1<<20)
	names, err := o.Add(line(t, "one"), line(t, "two"))
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	var c told
	err = o.Flush(t.Context(), l.sender(), false, c.each)
	refused, ok := errors.AsType[*remote.StatusError](err)
	if !ok || refused.Status != http.StatusServiceUnavailable || refused.Permanent() || refused.RetryAfter != 30*time.Second || waiting(t, o) != 2 || remote.PaceOf(o) != 1 {
		t.Fatalf("%v, %d wait, %d failures", err, waiting(t, o), remote.PaceOf(o))
	}
	l.sink.setDown(false)

	o = newOutbox(t, dir, 1<<20)
	if _, err := o.Add(line(t, "three")); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*remote.WaitError](o.Flush(t.Context(), l.sender(), false, c.each)); !ok || waiting(t, o) != 3 {
		t.Error("the list was not left alone for a while")
	}
	if err := o.Flush(t.Context(), l.sender(), true, c.each); err != nil || waiting(t, o) != 0 || remote.PaceOf(o) != 0 {
		t.Fatalf("%v, %d wait", err, waiting(t, o))
	}
	if len(c.all) != 3 || c.all[names[0]].Answer.Verdict != evidence.Proven {
		t.Errorf("told %+v", c.all)
	}
	for message, n := range l.sink.count {
		if n != 1 {
			t.Errorf("%q was handed in %d times", message, n)
		}
	}
	if err := o.Flush(t.Context(), l.sender(), false, c.each); err != nil {
		t.Error(err)
	}
}

// Nobody there at all.
func TestQueueWithoutAList(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	s := l.sender()
	l.Close()
	o := newOutbox(t, t.TempDir(), 1<<20)
	if _, err := o.Add(line(t, "one")); err != nil {
		t.Fatal(err)
	}
	var c told
	if err := o.Flush(t.Context(), s, false, c.each); err == nil || waiting(t, o) != 1 || len(c.all) != 0 {
		t.Errorf("%v, %d wait", err, waiting(t, o))
	}
	if _, ok := errors.AsType[*remote.WaitError](o.Flush(t.Context(), s, false, c.each)); !ok {
		t.Error("tried again at once")
	}
	l.start()
}

// The answer is lost: what was taken is sent again, and counts once.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	var lost atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost.Add(1) == 1 {
			l.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		l.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s := l.sender()
	s.URL, _ = remote.ParseURL(front.URL)
	o := newOutbox(t, t.TempDir(), 1<<20)
	names, err := o.Add(line(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	var c told
	if err := o.Flush(t.Context(), s, true, c.each); err == nil || waiting(t, o) != 1 {
		t.Fatalf("%v, %d wait", err, waiting(t, o))
	}
	if err := o.Flush(t.Context(), s, true, c.each); err != nil || waiting(t, o) != 0 {
		t.Fatalf("%v, %d wait", err, waiting(t, o))
	}
	if a := c.all[names[0]].Answer; a.Reason != evidence.ReasonDuplicate {
		t.Errorf("%+v", a)
	}
}

// A batch that is too large is halved; what is too large alone is put aside.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) { o.Limits.Body = 1000; o.Limits.Reports = 3 })
	dir := t.TempDir()
	o := newOutbox(t, dir, 1<<20)
	lines := [][]byte{line(t, strings.Repeat("x", 2000))}
	for i := range 7 {
		lines = append(lines, line(t, fmt.Sprint(i)))
	}
	names, err := o.Add(lines...)
	if err != nil {
		t.Fatal(err)
	}
	var c told
	if err := o.Flush(t.Context(), l.sender(), true, c.each); err != nil || waiting(t, o) != 0 {
		t.Fatalf("%v, %d wait", err, waiting(t, o))
	}
	if len(c.all) != 8 || !c.all[names[0]].Refused || c.all[names[1]].Refused || len(l.sink.count) != 7 {
		t.Errorf("%+v, handed in %d", c.all, len(l.sink.count))
	}
	if text, err := os.ReadFile(filepath.Join(dir, "refused", names[0])); err != nil || string(text) != string(lines[0]) {
		t.Errorf("put aside: %v", err)
	}
}

// A suspended reporter's reports wait for it to be resumed.
func TestSuspended(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	o := newOutbox(t, t.TempDir(), 1<<20)
	if _, err := o.Add(line(t, "one")); err != nil {
		t.Fatal(err)
	}
	s := l.sender()
	s.Key = keyOf(2)
	err := o.Flush(t.Context(), s, true, func(remote.Sent) {})
	if refused, ok := errors.AsType[*remote.StatusError](err); !ok || refused.Status != http.StatusForbidden || !refused.Permanent() || waiting(t, o) != 1 {
		t.Errorf("%v, %d wait", err, waiting(t, o))
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	one := line(t, "one")
	o := newOutbox(t, t.TempDir(), int64(2*len(one)))
	if _, err := o.Add(one, one); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Add(one); !errors.Is(err, remote.ErrFull) || waiting(t, o) != 2 {
		t.Errorf("%v, %d wait", err, waiting(t, o))
	}
}

// Many put reports in and send at a time: each report is handed in once, and none
// is left behind by the one that found another sending.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) { o.Limits.Rate = 10_000 })
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			o, err := remote.OpenOutbox(dir, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := o.Add(line(t, fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
			if err := o.Flush(t.Context(), l.sender(), false, func(remote.Sent) {}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := waiting(t, newOutbox(t, dir, 1)); n != 0 || len(l.sink.count) != 20 {
		t.Errorf("%d wait, %d were handed in", n, len(l.sink.count))
	}
	for message, n := range l.sink.count {
		if n != 1 {
			t.Errorf("%q was handed in %d times", message, n)
		}
	}
}

// What is no list must not empty the queue.
func TestNoList(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a page": "<html>", "too few": "", "too many": `{"index":0}` + "\n" + `{"index":1}`, "others": `{"index":1}`,
	} {
		page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
		t.Cleanup(page.Close)
		u, err := remote.ParseURL(page.URL)
		if err != nil {
			t.Fatal(err)
		}
		o := newOutbox(t, t.TempDir(), 1<<20)
		if _, err := o.Add(line(t, "one")); err != nil {
			t.Fatal(err)
		}
		s := &remote.Sender{URL: u, Key: keyOf(1), Limits: remote.DefaultLimits(), Client: page.Client()}
		if err := o.Flush(t.Context(), s, true, func(remote.Sent) {}); err == nil || waiting(t, o) != 1 {
			t.Errorf("%s: %v, %d wait", name, err, waiting(t, o))
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://bl.example.org":            "https://bl.example.org/v1/reports",
		"https://bl.example.org:8443/x":     "https://bl.example.org:8443/x",
		"http://127.0.0.1:8080":             "http://127.0.0.1:8080/v1/reports",
		"http://[::1]:8080/v1/reports":      "http://[::1]:8080/v1/reports",
		"http://bl.example.org":             "",
		"http://127.0.0.1.example.org":      "",
		"ftp://bl.example.org":              "",
		"bl.example.org":                    "",
		"https://user:x@bl.example.org":     "",
		"https://bl.example.org/?x=1":       "",
		"https://":                          "",
		"https://bl.example.org/#x":         "",
		"https://bl.example.org/v1/reports": "https://bl.example.org/v1/reports",
	} {
		u, err := remote.ParseURL(text)
		if got := fmt.Sprint(u); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%s: %s %v, want %q", text, got, err, want)
		}
	}
}
