package remote_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/ops/remote"
)

// A request is answered report by report, and what is sent again counts once.
func TestReportsAreTaken(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	body := bytes.Join([][]byte{line(t, "one"), []byte("no JSON"), line(t, "two")}, []byte("\n"))
	response, text := l.do(l.request(1, body))
	got := answers(t, text)
	if response.StatusCode != http.StatusOK || len(got) != 3 {
		t.Fatalf("%d %s", response.StatusCode, text)
	}
	for i, want := range []evidence.Verdict{evidence.Proven, evidence.Failed, evidence.Proven} {
		if got[i].Index != i || got[i].Verdict != want {
			t.Errorf("report %d: %+v", i, got[i])
		}
	}
	r := l.sink.last
	if r.Reporter != "friend" || r.Sensor != "https" || r.Held || r.Enrolled == nil || r.Enrolled.Organisation != "Friends" || len(r.Enrolled.Relays) != 1 ||
		r.Envelope.Client != netip.MustParseAddr("192.0.2.66") || !r.Envelope.MailFromKnown || !r.Received.Equal(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("handed in: %+v", r)
	}
	_, text = l.do(l.request(1, body))
	if got := answers(t, text); len(got) != 3 || got[0].Reason != evidence.ReasonDuplicate || got[2].Reason != evidence.ReasonDuplicate {
		t.Errorf("once more: %s", text)
	}
	if n := l.counted("taken"); n != 2 {
		t.Errorf("%v requests were counted as taken", n)
	}
}

// Every way in which a request is no good has its own answer, and is counted.
func TestRefusals(t *testing.T) {
	t.Parallel()
	body := []byte(nil)
	for name, c := range map[string]struct {
		key    byte
		change func(*http.Request)
		status int
		result string
	}{
		"unknown key":      {9, nil, 401, "unknown_key"},
		"suspended":        {2, nil, 403, "suspended"},
		"no signature":     {1, func(r *http.Request) { r.Header.Del("Signature") }, 401, "bad_signature"},
		"no input":         {1, func(r *http.Request) { r.Header.Del("Signature-Input") }, 401, "bad_signature"},
		"another's":        {1, func(r *http.Request) { edit(r, "Signature-Input", "reports=(", "theirs=(") }, 401, "bad_signature"},
		"other digest":     {1, func(r *http.Request) { edit(r, "Content-Digest", "=:", "=:A") }, 401, "bad_signature"},
		"less covered":     {1, func(r *http.Request) { edit(r, "Signature-Input", ` "content-digest"`, "") }, 401, "bad_signature"},
		"other nonce":      {1, func(r *http.Request) { edit(r, "Signature-Input", `nonce="`, `nonce="X`) }, 401, "bad_signature"},
		"without a nonce":  {1, func(r *http.Request) { edit(r, "Signature-Input", `;nonce=`, `;nunce=`) }, 401, "bad_signature"},
		"other algorithm":  {1, func(r *http.Request) { edit(r, "Signature-Input", `"ed25519"`, `"rsa-v1_5-sha256"`) }, 401, "bad_signature"},
		"other host":       {1, func(r *http.Request) { r.Host = "other.example" }, 421, "misdirected"},
		"another name":     {1, func(r *http.Request) { r.Host = "localhost" }, 401, "bad_signature"},
		"other type":       {1, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "malformed"},
		"query":            {1, func(r *http.Request) { r.URL.RawQuery = "x=1" }, 400, "malformed"},
		"encoded":          {1, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 400, "malformed"},
		"other body":       {1, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 }, 400, "malformed"},
		"too long":         {1, func(r *http.Request) { long(r, 100_001) }, 413, "too_large"},
		"too long, untold": {1, func(r *http.Request) { long(r, -1) }, 413, "too_large"},
		"one field too long": {1, func(r *http.Request) {
			r.Header.Add("Signature-Input", "x="+strings.Repeat("1", 5000))
		}, 401, "bad_signature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newList(t, func(o *remote.ServerOptions) { o.Limits.Body = 100_000 })
			r := l.request(c.key, body)
			if c.change != nil {
				c.change(r)
			}
			response, text := l.do(r)
			if response.StatusCode != c.status || l.counted(c.result) != 1 || !strings.Contains(text, c.result) {
				t.Errorf("%d %s, counted %v", response.StatusCode, text, l.counted(c.result))
			}
			if len(l.sink.count) > 0 {
				t.Errorf("taken: %v", l.sink.count)
			}
			if c.status == http.StatusUnauthorized && (response.Header.Get("WWW-Authenticate") == "" || !strings.HasPrefix(response.Header.Get("Accept-Signature"), "reports=(")) {
				t.Errorf("nothing says what is wanted: %v", response.Header)
			}
		})
	}
}

func edit(r *http.Request, field, from, to string) {
	r.Header.Set(field, strings.Replace(r.Header.Get(field), from, to, 1))
}

func long(r *http.Request, told int64) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, 100_001))), told
}

// The clocks may differ by the window, and no more.
func TestWindow(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	for _, c := range []struct {
		off    time.Duration
		status int
	}{{-4 * time.Minute, 200}, {4 * time.Minute, 200}, {-6 * time.Minute, 401}, {6 * time.Minute, 401}, {-365 * 24 * time.Hour, 401}} {
		r := l.request(1, nil)
		if err := remote.Sign(r, nil, keyOf(1), time.Now().Add(c.off)); err != nil {
			t.Fatal(err)
		}
		if response, text := l.do(r); response.StatusCode != c.status || c.status == 401 && !strings.Contains(text, "set the clock") {
			t.Errorf("%s off: %d %s", c.off, response.StatusCode, text)
		}
	}
}

// A request that was taken is not taken again, not by the next life either.
func TestReplay(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	body := line(t, "one")
	r := l.request(1, body)
	again := func() *http.Request {
		copied := r.Clone(t.Context())
		copied.Body = io.NopCloser(bytes.NewReader(body))
		return copied
	}
	if response, text := l.do(again()); response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", response.StatusCode, text)
	}
	if response, text := l.do(again()); response.StatusCode != http.StatusConflict {
		t.Errorf("%d %s", response.StatusCode, text)
	}
	l.stop()
	l.start()
	moved := again()
	moved.URL.Host = strings.TrimPrefix(l.URL, "http://") // the port is another, and signed as it was
	moved.Host = r.URL.Host
	if response, text := l.do(moved); response.StatusCode != http.StatusConflict {
		t.Errorf("after a restart: %d %s", response.StatusCode, text)
	}
	if n := l.counted("replay"); n != 2 {
		t.Errorf("%v replays were counted", n)
	}
	if n := l.sink.count["Subject: one\r\n\r\n"]; n != 1 {
		t.Errorf("handed in %d times", n)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) { o.Limits.Rate = 3; o.Limits.Reports = 2 })
	body := bytes.Join([][]byte{line(t, "a"), line(t, "b"), line(t, "c")}, []byte("\n"))
	if response, text := l.do(l.request(1, body)); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("three reports: %d %s", response.StatusCode, text)
	}
	if response, text := l.do(l.request(1, bytes.Repeat([]byte("\n"), 10_000))); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("empty lines: %d %s", response.StatusCode, text)
	}
	l.do(l.request(1, nil))
	response, text := l.do(l.request(1, nil))
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" || response.Header.Get("Retry-After") == "0" || l.counted("too_many") != 1 {
		t.Errorf("the fourth: %d %v %s", response.StatusCode, response.Header, text)
	}
	// Another's are not held up.
	if response, text := l.do(l.request(9, nil)); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d %s", response.StatusCode, text)
	}
}

func TestStoreIsDown(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	l.sink.setDown(true)
	response, text := l.do(l.request(1, line(t, "one")))
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || strings.Contains(text, "disk") {
		t.Errorf("%d %v %s", response.StatusCode, response.Header, text)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	for path, want := range map[string]int{"/": 404, "/v1/reports/": 404, remote.Path: 405} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, _ := l.do(r); response.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, response.StatusCode, want)
		}
	}
}

// Plain HTTP is for this machine and stated proxies.
func TestPlain(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) {
		o.Proxies = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("198.51.100.0/28")} }
		o.Names = func() []string { return []string{"bl.example.org"} }
	})
	server := remote.NewServer(l.options)
	for from, want := range map[string]int{
		"127.0.0.1:5": 200, "[::1]:5": 200, "198.51.100.3:5": 200, "[::ffff:198.51.100.3]:5": 200,
		"198.51.100.16:5": 403, "192.0.2.1:5": 403, "@": 403,
	} {
		r := httptest.NewRequest(http.MethodPost, "http://bl.example.org"+remote.Path, nil)
		r.Header.Set("Content-Type", remote.ContentType)
		r.RemoteAddr = from
		if err := remote.Sign(r, nil, keyOf(1), time.Now()); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %s: %d, want %d", from, w.Code, want)
		}
	}
	if n := l.counted("not_encrypted"); n != 3 {
		t.Errorf("%v were counted", n)
	}
}

// FuzzRequest has hostile bodies and signatures sent by one who is enrolled, as
// far as they can be signed, and by one who is not.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"message":"Subject: x\r\n\r\n","client":"192.0.2.66","mail_from":""}`+"\n"), "", "")
	f.Add([]byte("\n\n{}\n[1]\n"), `reports=("@method" "@authority" "@path" "content-type" "content-digest");created=1;nonce="12345678";keyid="00000000000000000000000000000001";tag="backscatter-reports"`, "reports=:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+":")
	f.Add([]byte(`{"message":"////","base64":true,"received":"9999-01-01T00:00:00Z"}`), `reports=();tag="backscatter-reports"`, "reports=1")
	f.Add([]byte(nil), `a=(1 2 "x";q);created=-1, reports=("@method";req)`, "a=?1")
	nonces, err := remote.OpenNonces(f.TempDir()+"/nonces", time.Minute, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = nonces.Close() })
	l := &list{sink: &sink{count: map[string]int{}}}
	server := remote.NewServer(remote.ServerOptions{
		Reporters: enrolled{1: {Name: "friend"}}, Sink: l.sink, Nonces: nonces, Logger: silent(), Metrics: remote.NewMetrics(nil),
		Limits: remote.Limits{Rate: 1 << 30, Body: 1 << 16},
	})
	send := func(t *testing.T, body []byte, change func(*http.Request)) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "http://localhost"+remote.Path, bytes.NewReader(body))
		r.RemoteAddr = "127.0.0.1:9"
		r.Header.Set("Content-Type", remote.ContentType)
		if err := remote.Sign(r, body, keyOf(1), time.Now()); err != nil {
			t.Fatal(err)
		}
		change(r)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w
	}
	f.Fuzz(func(t *testing.T, body []byte, input, signature string) {
		clear(l.sink.count)
		w := send(t, body, func(*http.Request) {})
		switch w.Code {
		case http.StatusOK:
			if got := answers(t, w.Body.String()); len(got) > bytes.Count(body, []byte("\n"))+1 {
				t.Errorf("%d answers to %q", len(got), body)
			}
		case http.StatusRequestEntityTooLarge:
		default:
			t.Errorf("a signed request: %d %s", w.Code, w.Body)
		}
		clear(l.sink.count)
		w = send(t, body, func(r *http.Request) {
			r.Header.Set("Signature-Input", input)
			r.Header.Set("Signature", signature)
		})
		if w.Code != http.StatusUnauthorized || len(l.sink.count) > 0 {
			t.Errorf("signed by nobody: %d %s", w.Code, w.Body)
		}
	})
}

func TestPanic(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) { o.Reporters = broken{} })
	response, text := l.do(l.request(1, nil))
	if response.StatusCode != http.StatusInternalServerError || strings.Contains(text, "secret") {
		t.Errorf("%d %s", response.StatusCode, text)
	}
	if response, _ := l.do(l.request(1, nil)); response.StatusCode != http.StatusInternalServerError {
		t.Errorf("the next: %d", response.StatusCode)
	}
}
