package control

import (
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
// status, reloads and restarts, and refuses what needs one.
func NewMirrorServer(o Options) *Server {
	s := &Server{Options: o, mux: http.NewServeMux()}
	s.get("/v1/ping", func(*http.Request) (any, error) { return struct{}{}, nil })
	s.get("/v1/status", func(*http.Request) (any, error) { return s.Status(), nil })
	s.post("/v1/reload", s.reload)
	s.post("/v1/restart", s.restart)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &Error{Code: CodeConflict, Message: "this daemon is a mirror and has no store; ask the publisher of the list"})
	})
	return s
}
