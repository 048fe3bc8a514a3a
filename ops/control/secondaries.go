package control

import "time"

// Secondary is the state of a server that is told of changes of a zone
// (NOTIFY, RFC 1996).
type Secondary struct {
	Zone         string    `json:"zone"`
	Address      string    `json:"address"`
	Serial       uint32    `json:"serial"`            // told last
	Notified     time.Time `json:"notified,omitzero"` // when
	Acknowledged uint32    `json:"acknowledged"`      // heard last
	Heard        time.Time `json:"heard,omitzero"`    // when; zero: never
	Error        string    `json:"error,omitempty"`   // of the last message
}
