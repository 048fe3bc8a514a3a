package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"backscatter/listing"
)

// Lookup tells everything about an address; [listing.Store] is one.
type Lookup interface {
	Explain(addr netip.Addr) (listing.Explanation, error)
	ExplainKey(key listing.Key) (listing.Explanation, error)
}

// Options are what the server shows.
type Options struct {
	Lookup  Lookup              // nil: there is no look-up page, and monitors alone are answered
	Policy  func() []string     // the rule in force, in publishable words
	Origins *Origins            // nil: there is no feed of them
	List    *List               // nil: nobody polls the list
	Contact func() string       // mailbox to write to about a listing
	Ready   func() []string     // why the daemon is not ready; none when it is
	Metrics prometheus.Gatherer // what /metrics shows
	Logger  *slog.Logger
}

// Server answers the requests of the public and of monitors. It is an
// [http.Handler].
type Server struct {
	Options
	mux *http.ServeMux
}

// New returns a server that shows o.
func New(o Options) *Server {
	s := &Server{Options: o, mux: http.NewServeMux()}
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelError),
	}))
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	if o.Lookup != nil {
		s.mux.HandleFunc("GET /{$}", s.front)
		s.mux.HandleFunc("GET /{key...}", s.show)
	}
	if o.List != nil && len(o.List.To) > 0 {
		p := &poll{List: o.List}
		s.mux.HandleFunc("GET /changes", p.guarded(p.changes))
		s.mux.HandleFunc("GET /removals", p.guarded(p.removals))
	}
	if o.Origins != nil {
		s.mux.HandleFunc("GET /origins.jsonl", s.feed(newFeed(*o.Origins)))
	}
	return s
}

// HTTP returns an HTTP server with its bounds set; whoever owns the process's
// life serves and stops it.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadTimeout:       10 * time.Second,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.Logger.Error("web request panicked", "panic", p, "stack", string(debug.Stack()))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	s.mux.ServeHTTP(w, r)
}

// healthz says that the process lives and answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// readyz says whether the daemon does all of its work, and if not, why.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	why := s.Ready()
	if len(why) == 0 {
		fmt.Fprintln(w, "ready")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, reason := range why {
		fmt.Fprintln(w, reason)
	}
}

// front shows the form, and leads ?address= to its page.
func (s *Server) front(w http.ResponseWriter, r *http.Request) {
	if text := strings.TrimSpace(r.FormValue("address")); text != "" {
		e, err := s.explain(text)
		s.render(w, r, text, e, err)
		return
	}
	s.page(w, http.StatusOK, view{Policy: s.Policy(), Contact: s.Contact()})
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("key")
	e, err := s.explain(text)
	s.render(w, r, text, e, err)
}

// explain looks up an address, or the prefix that a listing stands under.
func (s *Server) explain(text string) (listing.Explanation, error) {
	if len(text) > maxKeyText {
		return listing.Explanation{}, errNoAddress
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return s.Lookup.Explain(addr)
	}
	key, err := listing.ParseKey(text)
	if err != nil {
		return listing.Explanation{}, errNoAddress
	}
	return s.Lookup.ExplainKey(key)
}

// maxKeyText is longer than any address or prefix in text.
const maxKeyText = 64

var errNoAddress = errors.New("this is no IPv4 or IPv6 address")

func (s *Server) render(w http.ResponseWriter, r *http.Request, text string, e listing.Explanation, err error) {
	status := http.StatusOK
	if len(text) > maxKeyText {
		text = "" // what cannot be an address is not told back
	}
	v := view{Asked: text, Policy: s.Policy(), Contact: s.Contact()}
	switch {
	case errors.Is(err, errNoAddress):
		status, v.Error = http.StatusBadRequest, err.Error()
	case err != nil:
		s.Logger.Error("look-up", "err", err)
		status, v.Error = http.StatusInternalServerError, "the look-up did not work; please try again later"
	default:
		v.Found = found(e)
	}
	w.Header().Set("Vary", "Accept")
	if wantsJSON(r) {
		s.writeJSON(w, status, v)
		return
	}
	s.page(w, status, v)
}

// found returns what the public sees of an explanation. What came from a host is
// shown to the listed alone: whoever sends a bounce of his own to an address would see
// here, at once, whether that is a trap.
func found(e listing.Explanation) *listing.Explanation {
	public := e.Public()
	if !public.Listed {
		public = listing.Explanation{
			Address: public.Address, Key: public.Key, Classes: []listing.Class{}, Exempt: public.Exempt, Retired: public.Retired,
			Events: []listing.Event{}, History: public.History, Sequence: public.Sequence,
		}
	}
	return &public
}

func wantsJSON(r *http.Request) bool {
	return r.FormValue("format") == "json" || strings.HasPrefix(r.Header.Get("Accept"), "application/json")
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, v view) {
	var body any = v.Found
	if v.Found == nil {
		body = map[string]string{"error": v.Error}
	}
	text, err := json.Marshal(body)
	if err != nil {
		s.Logger.Error("answer not made", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client has gone; nobody is there to tell
}
