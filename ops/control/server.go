package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/zonefile"
)

var (
	errBadRequest = errors.New("bad request")
	errTryAgain   = errors.New("try again later")
)

// badRequestError is an error of whoever asked; it says so by its code, and
// needs no word for it.
type badRequestError struct{ error }

func (e badRequestError) Unwrap() []error { return []error{e.error, errBadRequest} }

func badRequest(format string, args ...any) error {
	return badRequestError{fmt.Errorf(format, args...)}
}

// Sink takes in a report, judges it and keeps what it proves. An error means
// that the report was not taken in, and that it should be sent again.
type Sink interface {
	Submit(ctx context.Context, r evidence.Report) (evidence.Finding, error)
}

// Options are what the server works on.
type Options struct {
	Store *listing.Store
	Sink  Sink
	Zones func() *zonefile.Set
	// Reporter names the reporter of reports that name none.
	Reporter func() string
	Reload   func(ctx context.Context, by listing.Actor) (ReloadResult, error) // nil: there is nothing to reload
	Restart  func(ctx context.Context, by listing.Actor) error                 // nil: there is nothing to restart
	Status   func() Status                                                     // all but Store
	// Accept publishes what the brakes hold of the exports of a zone, or with no
	// name of all; nil: there are none.
	Accept    func(zone string) ([]zonefile.Publication, error)
	Logger    *slog.Logger
	RotateKey func(ctx context.Context, o listing.Order) error // makes a new key for recipients
	// RollCookies takes the next step of a change of the secret of DNS cookies.
	RollCookies func(ctx context.Context, o listing.Order, now time.Time) (CookieResult, error)
	// Top watches what is asked over DNS; nil: this server answers none.
	Top func(ctx context.Context, length time.Duration, most int) (Top, error)
}

// Server answers the operators' requests. It is an [http.Handler].
type Server struct {
	Options
	mux *http.ServeMux
}

// NewServer returns a server that works on o.
func NewServer(o Options) *Server {
	s := &Server{Options: o, mux: http.NewServeMux()}
	s.get("/v1/ping", func(*http.Request) (any, error) { return struct{}{}, nil })
	s.get("/v1/status", s.status)
	s.get("/v1/show", s.show)
	s.get("/v1/headers", s.headers)
	s.get("/v1/listings", s.listings)
	s.get("/v1/exemptions", s.exemptions)
	s.get("/v1/audit", s.audit)
	s.get("/v1/policy", s.policy)
	s.mux.HandleFunc("GET /v1/export", s.export)
	s.mux.HandleFunc("GET /v1/export/since", s.exportSince)
	s.mux.HandleFunc("GET /v1/backup", s.backup)
	s.get("/v1/verify", s.verify)
	s.mux.HandleFunc("POST /v1/policy/try", s.try)
	s.mux.HandleFunc("POST /v1/compact", s.compact)
	s.post("/v1/list", s.list)
	s.post("/v1/delist", s.delist)
	s.post("/v1/exempt", s.exempt)
	s.post("/v1/unexempt", s.unexempt)
	s.post("/v1/import", s.importList)
	s.post("/v1/report", s.report)
	s.post("/v1/reload", s.reload)
	s.post("/v1/restart", s.restart)
	s.post("/v1/key/rotate", s.rotateKey)
	s.post("/v1/cookie/roll", s.rollCookies)
	s.get("/v1/top", s.top)
	s.get("/v1/origins", s.origins)
	s.handleReporters()
	s.post("/v1/revoke", s.revoke)
	s.post("/v1/resume", s.resume)
	s.post("/v1/export/accept", s.acceptExport)
	s.post("/v1/decommission", s.decommission)
	return s
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
		s.Logger.Error("control request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		writeError(w, fmt.Errorf("%s %s: internal error, see the daemon's log", r.Method, r.URL.Path))
	}()
	s.mux.ServeHTTP(w, r)
}

// HTTP returns an HTTP server for a unix socket, with its bounds set; whoever
// owns the process's life serves and stops it.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withActor(ctx, peerActor(c))
		},
	}
}

type handler func(r *http.Request) (any, error)

func (s *Server) get(path string, h handler)  { s.handle("GET "+path, h) }
func (s *Server) post(path string, h handler) { s.handle("POST "+path, h) }

func (s *Server) handle(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxOrderBytes)
		result, err := h(r)
		if err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(result); err != nil {
			s.Logger.Debug("control answer not delivered", "path", r.URL.Path, "err", err)
		}
	})
}

func writeError(w http.ResponseWriter, err error) {
	status, code := statusOf(err)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		status, code = http.StatusRequestEntityTooLarge, CodeBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	answer := Error{Code: code, Message: err.Error()}
	if refused, ok := errors.AsType[*listing.RefusedError](err); ok {
		answer.Problems = refused.Problems[:min(len(refused.Problems), maxTold)]
	}
	body, _ := json.Marshal(errorBody{&answer}) // strings alone
	_, _ = w.Write(append(body, '\n'))
}

// decode reads the JSON of an order strictly: an unknown field is an error, so
// that a client which is newer than the daemon is not half understood.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest("read the order: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("read the order: more than one JSON value")
	}
	return nil
}

// order checks what every order has, and that its keys are not too many.
func (s *Server) order(r *http.Request, o Order, keys int) (listing.Order, error) {
	switch {
	case strings.TrimSpace(o.Reason) == "": // before what else is wrong, and where there is nothing to do, too
		return listing.Order{}, fmt.Errorf("%s: %w", strings.TrimPrefix(r.URL.Path, "/v1/"), listing.ErrNoReason)
	case len(o.Reason) > maxReason:
		return listing.Order{}, badRequest("the reason has %d bytes, want at most %d", len(o.Reason), maxReason)
	case keys > maxKeys:
		return listing.Order{}, badRequest("%d entries in one order, want at most %d; do it in parts", keys, maxKeys)
	}
	return listing.Order{By: actorOf(r.Context()), Reason: o.Reason, DryRun: o.DryRun}, nil
}

func (s *Server) list(r *http.Request) (any, error) {
	var q ListRequest
	if err := decode(r, &q); err != nil {
		s.Store.Refused(err)
		return nil, err
	}
	if err := s.refuseWide(q.Wide); err != nil {
		return nil, err
	}
	o, err := s.order(r, q.Order, len(q.Entries))
	if err != nil {
		return nil, err
	}
	result, err := s.Store.List(r.Context(), o, q.Entries)
	return orderResult(len(q.Entries), result), err
}

// refuseWide refuses what a client says that it may not send.
func (s *Server) refuseWide(wide []netip.Prefix) error {
	for _, p := range wide {
		if _, err := listing.PrefixKey(p); err != nil {
			s.Store.Refused(err)
			return badRequest("list: %w", err)
		}
	}
	return nil
}

func (s *Server) delist(r *http.Request) (any, error) {
	var q DelistRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Hold < 0 {
		return nil, badRequest("hold of %s: want 0 or more", time.Duration(q.Hold))
	}
	o, err := s.order(r, q.Order, len(q.Keys))
	if err != nil {
		return nil, err
	}
	result, err := s.Store.Delist(r.Context(), o, q.Keys, time.Duration(q.Hold))
	return orderResult(len(q.Keys), result), err
}

func (s *Server) exempt(r *http.Request) (any, error) {
	var q ExemptRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	o, err := s.order(r, q.Order, len(q.Exemptions))
	if err != nil {
		return nil, err
	}
	result, err := s.Store.Exempt(r.Context(), o, q.Exemptions)
	return orderResult(len(q.Exemptions), result), err
}

func (s *Server) unexempt(r *http.Request) (any, error) {
	var q UnexemptRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	o, err := s.order(r, q.Order, len(q.Prefixes))
	if err != nil {
		return nil, err
	}
	result, err := s.Store.Unexempt(r.Context(), o, q.Prefixes)
	return orderResult(len(q.Prefixes), result), err
}

func (s *Server) reload(r *http.Request) (any, error) {
	if s.Reload == nil {
		return nil, badRequest("reload: no daemon is running, so there is nothing to reload")
	}
	return s.Reload(r.Context(), actorOf(r.Context()))
}

// prefixParam reads an optional prefix or address.
func prefixParam(r *http.Request, name string) (netip.Prefix, error) {
	text := r.FormValue(name)
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := listing.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, badRequest("%s: %w", name, err)
	}
	return p, nil
}
