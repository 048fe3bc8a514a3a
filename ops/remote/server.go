package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/listing"
)

// Path is where reports are sent.
const Path = "/v1/reports"

// ContentType is that of the body.
const ContentType = "application/jsonl"

// Reporters finds who has a key; [listing.Store] does.
type Reporters interface {
	ReporterByKey(id listing.ID) (listing.Enrolment, listing.ReporterKey, error)
}

// Limits bound what reporters can make the server spend. A zero field means the
// default.
type Limits struct {
	Body     int           // octets of a body
	Reports  int           // in one request
	Rate     int           // requests of one reporter within a minute
	Bodies   int           // requests whose bodies are held at a time
	Window   time.Duration // how far the clocks may differ, and how long nonces are remembered
	Stall    time.Duration // for the body of a request, and a second more for each [leastPace] octets of it
	Deadline time.Duration // for one request
}

// leastPace is how many octets of a body have to come in a second.
const leastPace = 128 << 10

// DefaultLimits returns the limits that are in force unless others are set.
func DefaultLimits() Limits {
	return Limits{Body: 8 << 20, Reports: 1000, Rate: 60, Bodies: 4, Window: 5 * time.Minute, Stall: 15 * time.Second, Deadline: 2 * time.Minute}
}

func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	return Limits{
		Body: cmp.Or(l.Body, d.Body), Reports: cmp.Or(l.Reports, d.Reports), Rate: cmp.Or(l.Rate, d.Rate),
		Bodies: cmp.Or(l.Bodies, d.Bodies), Window: cmp.Or(l.Window, d.Window), Stall: cmp.Or(l.Stall, d.Stall), Deadline: cmp.Or(l.Deadline, d.Deadline),
	}
}

// ServerOptions are what a [Server] is made of. All but Certificate, Names and
// Proxies are needed.
type ServerOptions struct {
	Reporters Reporters
	Sink      intake.Sink
	Nonces    *Nonces
	Limits    Limits
	Logger    *slog.Logger
	Metrics   *Metrics

	Certificate func() *tls.Certificate // nil, or returns nil: plain HTTP
	Names       func() []string         // of this list's host, beside those of the certificate
	Proxies     func() []netip.Prefix   // that speak plain HTTP for others, beside loopback
}

// Server takes reports over the network. It is an [http.Handler].
type Server struct {
	ServerOptions
	bodies chan struct{} // a token for each body that is held

	mu    sync.Mutex // guards all below; as many of each as are enrolled
	rates map[string]*rate.Limiter
	turns map[string]chan struct{} // a token for the request of a reporter that is under way
}

// NewServer returns a server.
func NewServer(o ServerOptions) *Server {
	o.Limits = o.Limits.orDefaults()
	return &Server{ServerOptions: o, bodies: make(chan struct{}, o.Limits.Bodies), rates: map[string]*rate.Limiter{}, turns: map[string]chan struct{}{}}
}

// HTTP returns an HTTP server with its bounds set, and TLS where there is a
// certificate; whoever owns the process's life serves and stops it.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadTimeout:       s.Limits.Deadline,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      s.Limits.Deadline + time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
}

// TLS returns the configuration of TLS, nil where plain HTTP is spoken.
func (s *Server) TLS() *tls.Config {
	if s.certificate() == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate(), nil },
	}
}

func (s *Server) certificate() *tls.Certificate {
	if s.Certificate == nil {
		return nil
	}
	return s.Certificate()
}

// refusal is the answer to a request that is not taken.
type refusal struct {
	status int
	result string // for the metrics, and the answer's code
	after  time.Duration
	err    error
}

func refuse(status int, result, format string, args ...any) *refusal {
	return &refusal{status: status, result: result, err: fmt.Errorf(format, args...)}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) // the way to break off an answer that has begun
		}
		s.Logger.Error("a reporter's request panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		http.Error(w, "internal error", http.StatusInternalServerError)
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.URL.Path != Path:
		w.Header().Set("Connection", "close")
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		w.Header().Set("Connection", "close")
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Deadline)
	defer cancel()
	answers, no := s.take(ctx, w, r)
	if no != nil {
		s.refuse(w, r, no)
		return
	}
	s.Metrics.requests.WithLabelValues(resultTaken).Inc()
	s.Metrics.reports.Add(float64(len(answers)))
	w.Header().Set("Content-Type", ContentType)
	e := json.NewEncoder(w)
	for _, a := range answers {
		if err := e.Encode(a); err != nil {
			s.Logger.Debug("answer to a reporter not delivered", "err", err)
			return
		}
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	s.Metrics.requests.WithLabelValues(no.result).Inc()
	s.Logger.Debug("a reporter's request is refused", "client", r.RemoteAddr, "status", no.status, "err", no.err)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Connection", "close") // what still comes of the body is not read
	switch no.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Signature realm="backscatter reports"`) // RFC 9110 §15.5.2
		h.Set("Accept-Signature", acceptSignature)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(no.after.Seconds()))))
	}
	w.WriteHeader(no.status)
	var body Refusal
	body.Error.Code, body.Error.Message = no.result, no.err.Error()
	_ = json.NewEncoder(w).Encode(body) // the client has gone; nobody is there to tell
}

// take takes one request, all of it, or says why not.
func (s *Server) take(ctx context.Context, w http.ResponseWriter, r *http.Request) ([]Answer, *refusal) {
	if no := s.addressed(r); no != nil {
		return nil, no
	}
	sig, reporter, no := s.authenticate(r)
	if no != nil {
		return nil, no
	}
	if no := s.admit(r, sig, reporter.Name); no != nil {
		return nil, no
	}
	// One request of a reporter at a time, so that no reporter keeps the others out.
	for _, slots := range []chan struct{}{s.turn(reporter.Name), s.bodies} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, &refusal{http.StatusServiceUnavailable, resultBusy, 10 * time.Second, errors.New("too many requests are under way")}
		}
	}
	body, no := s.read(w, r)
	if no != nil {
		return nil, no
	}
	return s.submit(ctx, body, reporter)
}

// addressed refuses what came over a way, or for a host, that it must not.
func (s *Server) addressed(r *http.Request) *refusal {
	if r.TLS == nil && !s.nearby(r.RemoteAddr) {
		return refuse(http.StatusForbidden, resultPlain, "reports come over HTTPS only")
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != ContentType && mediaType != "application/x-ndjson" {
		return refuse(http.StatusUnsupportedMediaType, resultMalformed, "the body is %q, want %s", mediaType, ContentType)
	}
	if r.URL.RawQuery != "" || r.Header.Get("Content-Encoding") != "" {
		return refuse(http.StatusBadRequest, resultMalformed, "a query, or an encoding of the body, is not understood")
	}
	if host := hostOf(authority(r)); !s.named(host) {
		return refuse(http.StatusMisdirectedRequest, resultMisdirected, "this list's host has another name")
	}
	return nil
}

// nearby reports whether plain HTTP from there was seen by nobody else.
func (s *Server) nearby(remote string) bool {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	return nearby(from.Addr(), s.Proxies)
}

// named reports whether the host is this list's: by the certificate, by the
// configuration, or because nobody else is reached by it.
func (s *Server) named(host string) bool {
	if host == "localhost" {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
		return true
	}
	if s.Names != nil {
		if slices.Contains(s.Names(), host) {
			return true
		}
	}
	c := s.certificate()
	return c != nil && c.Leaf != nil && c.Leaf.VerifyHostname(host) == nil
}

// authenticate finds out who signed a request.
func (s *Server) authenticate(r *http.Request) (*signed, *listing.Enrolment, *refusal) {
	sig, err := signatureOf(r.Header)
	if err != nil {
		return nil, nil, refuse(http.StatusUnauthorized, resultSignature, "%w", err)
	}
	reporter, key, err := s.Reporters.ReporterByKey(sig.keyID)
	switch {
	case errors.Is(err, listing.ErrReporter):
		return nil, nil, refuse(http.StatusUnauthorized, resultKey, "nobody is enrolled with the key %s", sig.keyID)
	case err != nil:
		s.Logger.Warn("reporters cannot be looked up", "err", err)
		return nil, nil, &refusal{http.StatusServiceUnavailable, resultBusy, 30 * time.Second, errors.New("try again later")}
	}
	if err := sig.verify(r, ed25519.PublicKey(key.Public)); err != nil {
		return nil, nil, refuse(http.StatusUnauthorized, resultSignature, "%w", err)
	}
	if err := sig.fresh(time.Now(), s.Limits.Window); err != nil {
		return nil, nil, refuse(http.StatusUnauthorized, resultSignature, "%w", err)
	}
	if !reporter.Suspended.IsZero() {
		return nil, nil, refuse(http.StatusForbidden, resultSuspended, "reporter %s is suspended since %s; ask the list's operator", reporter.Name, reporter.Suspended.UTC().Format(time.RFC3339))
	}
	return sig, &reporter, nil
}

// admit bounds what one reporter sends, and lets no request in twice. The bounds
// come first, so that nobody has the disk written to faster than they allow.
func (s *Server) admit(r *http.Request, sig *signed, name string) *refusal {
	if r.ContentLength > int64(s.Limits.Body) {
		return s.large()
	}
	if wait := s.wait(name); wait > 0 {
		return &refusal{http.StatusTooManyRequests, resultRate, wait, fmt.Errorf("more than %d requests within a minute", s.Limits.Rate)}
	}
	fresh, err := s.Nonces.Use(sig.keyID, sig.nonce, sig.created, time.Now())
	switch {
	case err != nil:
		s.Logger.Error("a reporter's request cannot be taken", "err", err)
		return &refusal{http.StatusServiceUnavailable, resultBusy, 30 * time.Second, errors.New("try again later")}
	case !fresh:
		return refuse(http.StatusConflict, resultReplay, "the nonce was used before; sign each request anew")
	}
	return nil
}

// wait returns how long a reporter has to wait for its next request; 0: it has not.
func (s *Server) wait(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.rates[name]
	if l == nil {
		l = rate.NewLimiter(rate.Every(time.Minute/time.Duration(s.Limits.Rate)), s.Limits.Rate)
		s.rates[name] = l
	}
	turn := l.Reserve()
	wait := turn.Delay()
	if wait > 0 {
		turn.Cancel()
	}
	return wait
}

// turn returns what has room for one request of a reporter.
func (s *Server) turn(name string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns[name] == nil {
		s.turns[name] = make(chan struct{}, 1)
	}
	return s.turns[name]
}

func (s *Server) large() *refusal {
	return refuse(http.StatusRequestEntityTooLarge, resultLarge, "want at most %d octets and %d reports in a request; send it in parts", s.Limits.Body, s.Limits.Reports)
}

// read reads the body, and makes sure that it is what was signed.
func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	// Who has no deadline to move is a test's recorder.
	control := http.NewResponseController(w)
	size := max(r.ContentLength, 0)
	if r.ContentLength < 0 {
		size = int64(s.Limits.Body)
	}
	_ = control.SetReadDeadline(time.Now().Add(min(s.Limits.Stall+time.Duration(size)*time.Second/leastPace, s.Limits.Deadline)))
	defer func() { _ = control.SetReadDeadline(time.Now().Add(s.Limits.Deadline)) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.Limits.Body)))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, s.large()
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, resultMalformed, "the body cannot be read: %w", err)
	}
	if err := checkDigest(r.Header, body); err != nil {
		return nil, refuse(http.StatusBadRequest, resultMalformed, "%w", err)
	}
	s.Metrics.octets.Add(float64(len(body)))
	return body, nil
}

// together is how many reports of a request are judged at a time, so that they
// share the store's commits.
const together = 16

// submit hands in the reports of a body.
func (s *Server) submit(ctx context.Context, body []byte, reporter *listing.Enrolment) ([]Answer, *refusal) {
	if bytes.Count(body, []byte{'\n'}) > 2*s.Limits.Reports { // empty lines included
		return nil, s.large()
	}
	enrolled := &evidence.Reporter{Name: reporter.Name, Organisation: reporter.Organisation, Relays: reporter.Relays, Weight: reporter.Weight}
	now := time.Now().UTC()
	answers := make([]Answer, 0, min(s.Limits.Reports, bytes.Count(body, []byte{'\n'})+1))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(together)
	for item, err := range intake.Records("request", bytes.NewReader(body)) {
		index := len(answers)
		if index == cap(answers) {
			_ = g.Wait() // what was handed in already counts once, now or when it is sent again
			return nil, s.large()
		}
		answers = append(answers, Answer{Index: index, Verdict: evidence.Failed, Class: listing.ClassOther, Level: listing.LevelC})
		answer := &answers[index] // stays where it is: there is room for all
		if err != nil {
			answer.Reason = tellable(err.Error())
			continue
		}
		report := reportOf(item, enrolled, now)
		g.Go(func() error {
			finding, err := s.Sink.Submit(ctx, report)
			*answer = answerOf(index, finding)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		s.Logger.Debug("a reporter's request is put off", "reporter", reporter.Name, "err", err)
		return nil, &refusal{http.StatusServiceUnavailable, resultBusy, 30 * time.Second, errors.New("the list cannot store now; try again later")}
	}
	return answers, nil
}

// reportOf returns what is judged of an item. That the reporter's sensor held the
// session is the reporter's word: level B, as is what its relays wrote. Level A is
// for what this list's own sensors saw.
func reportOf(item intake.Item, reporter *evidence.Reporter, now time.Time) evidence.Report {
	r := evidence.Report{
		Raw: item.Raw, Truncated: item.Truncated, Envelope: item.Envelope, Hearsay: item.Hearsay,
		Received: item.Received, Reporter: reporter.Name, Sensor: evidence.SensorHTTPS, Enrolled: reporter,
	}
	if r.Received.IsZero() {
		r.Received = now
	}
	return r
}
