package control

import (
	"log/slog"
	"net/http"
	"time"
)

// Mirror is the state of a daemon that has no store, and answers from what another
// published.
type Mirror struct {
	From    string    `json:"from"`
	Zone    string    `json:"zone,omitempty"` // empty before the first
	Serial  uint32    `json:"serial"`
	Entries int       `json:"entries"`
	Created time.Time `json:"created,omitzero"` // by the publisher
	Expires time.Time `json:"expires,omitzero"`
	Since   time.Time `json:"since,omitzero"`   // in force here
	Checked time.Time `json:"checked,omitzero"` // when there last was nothing else
	Error   string    `json:"error,omitempty"`  // why what there is is not in force
}

// NewMirrorServer returns the server of a daemon that has no store: it tells its
// status, and refuses what needs one.
func NewMirrorServer(status func() Status, logger *slog.Logger) *Server {
	s := &Server{Options: Options{Status: status, Logger: logger}, mux: http.NewServeMux()}
	s.get("/v1/ping", func(*http.Request) (any, error) { return struct{}{}, nil })
	s.get("/v1/status", func(*http.Request) (any, error) { return s.Status(), nil })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &Error{Code: CodeConflict, Message: "this daemon is a mirror and has no store; ask the publisher of the list"})
	})
	return s
}
