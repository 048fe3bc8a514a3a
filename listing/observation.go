package listing

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ID is a 128-bit identity: of an observation, of an original, or (keyed, so
// that nobody can search for it) of a recipient. In text it is 32 hex digits.
type ID [16]byte

// IsZero reports whether nothing is identified.
func (id ID) IsZero() bool { return id == ID{} }

// String writes the identity as 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the identity as String does, and the zero ID as nothing.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	*id = ID{}
	if len(text) == 0 {
		return nil
	}
	if len(text) != hex.EncodedLen(len(id)) {
		return fmt.Errorf("identity %q: want %d hex digits", text, hex.EncodedLen(len(id)))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Level says how well the source of a report is known: A, the sensor itself
// held the SMTP session; B, a registered relay wrote the line; C, anything else.
type Level byte

// The levels. Only A and B count.
const (
	LevelA Level = 'A'
	LevelB Level = 'B'
	LevelC Level = 'C'
)

// String returns the level's letter, or nothing for the zero level.
func (l Level) String() string {
	if l == 0 {
		return ""
	}
	return string(rune(l))
}

// MarshalText writes the level's letter.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level's letter.
func (l *Level) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "":
		*l = 0
	case "A", "B", "C":
		*l = Level(s[0])
	default:
		return fmt.Errorf("level %q: want A, B or C", text)
	}
	return nil
}

// Proof is one way to show that whoever received an automatic message did not
// send what it answers.
type Proof uint8

// The proofs, in the order in which they are told.
const (
	ProofTrap      Proof = iota // the recipient never sends mail
	ProofBATV                   // the recipient carries no valid tag, though all outgoing mail does
	ProofRelays                 // the original never passed the relays of its alleged sender
	ProofMessageID              // the original's Message-ID is not one of ours
	ProofDKIM                   // the original carries no signature of ours
)

var proofNames = []string{"trap", "batv", "relays", "message-id", "dkim"}

// String returns the proof's name as JSON writes it.
func (p Proof) String() string {
	if int(p) < len(proofNames) {
		return proofNames[p]
	}
	return fmt.Sprintf("proof(%d)", uint8(p))
}

// ProofSet is a set of proofs.
type ProofSet uint8

// ProofSetOf returns the set of the given proofs.
func ProofSetOf(proofs ...Proof) ProofSet {
	var s ProofSet
	for _, p := range proofs {
		s |= 1 << p
	}
	return s
}

// Has reports whether the set holds p.
func (s ProofSet) Has(p Proof) bool { return s&(1<<p) != 0 }

// Names returns the names of the set's proofs; never nil.
func (s ProofSet) Names() []string {
	names := []string{}
	for p := range Proof(len(proofNames)) {
		if s.Has(p) {
			names = append(names, p.String())
		}
	}
	return names
}

// MarshalText writes the names with commas.
func (s ProofSet) MarshalText() ([]byte, error) { return []byte(strings.Join(s.Names(), ",")), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *ProofSet) UnmarshalText(text []byte) error {
	*s = 0
	if len(text) == 0 {
		return nil
	}
	for name := range strings.SplitSeq(string(text), ",") {
		i := slices.Index(proofNames, name)
		if i < 0 {
			return fmt.Errorf("proof %q is not known", name)
		}
		*s |= 1 << i
	}
	return nil
}

// Observation is what the list keeps and counts of one proven report. It holds
// no local part of a recipient, no subject and no body: only keyed hashes of
// the first two. Keyed is the hash of the original, too: who has the message, or
// can guess what it said, must not find the trap by it.
type Observation struct {
	ID           ID         `json:"id"`                  // the same for the same original, source and reporter
	Addr         netip.Addr `json:"address"`             // the source: the accused, unmapped
	Class        Class      `json:"class"`               // what it sent
	At           time.Time  `json:"at"`                  // when we received it, UTC, whole seconds
	Level        Level      `json:"level"`               // A or B; C is kept and never counted
	Proofs       ProofSet   `json:"proofs"`              // why it is misdirected
	Reporter     string     `json:"reporter"`            // who reported it; never shown to the public
	Organisation string     `json:"organisation"`        // whose reporter that is; never shown to the public
	Sensor       string     `json:"sensor"`              // how it came: smtp, report, lmtp, milter
	TrapDomain   string     `json:"trap_domain"`         // domain of the trap, or the guarded one, that was hit; never shown to the public
	Recipient    ID         `json:"recipient"`           // keyed hash of the recipient
	Original     ID         `json:"original"`            // keyed hash of what names the message that it answers
	SPFFailed    bool       `json:"spf_failed"`          // the source could have known: SPF fails for the origin
	Delivered    bool       `json:"delivered,omitempty"` // the report is one of success, which whoever forged the sender asked for
	Revoked      uint64     `json:"revoked,omitempty"`   // number of the audit entry that withdrew it; it never counts again
	Traces       Traces     `json:"traces"`

	Headers string `json:"-"` // of the report, redacted; kept apart, see [KeepHeaders]

	Former []Identities `json:"-"` // what it would be known by under keys of before; not kept
}

// Identities are the keyed hashes of an observation: under another key they are
// others.
type Identities struct{ ID, Recipient, Original, Subject ID }

// Traces are what the listed party can search its own logs for. They come from
// the report, so they are claims of whoever sent it; each is at most
// [MaxTrace] bytes of printable text.
type Traces struct {
	MessageID    string     `json:"message_id,omitempty"`    // of the backscatter
	QueueID      string     `json:"queue_id,omitempty"`      // of the host that sent it
	ReportingMTA string     `json:"reporting_mta,omitempty"` // RFC 3464 §2.2.2
	Status       string     `json:"status,omitempty"`        // RFC 3464 §2.3.4
	Diagnostic   string     `json:"diagnostic,omitempty"`    // RFC 3464 §2.3.6
	HELO         string     `json:"helo,omitempty"`
	PTR          string     `json:"ptr,omitempty"`
	Origin       netip.Addr `json:"origin,omitzero"`         // where the original came from; never listed by this
	FailedDomain string     `json:"failed_domain,omitempty"` // domain of the recipient that the original failed for
	Product      string     `json:"product,omitempty"`       // software that was recognised
	Subject      ID         `json:"subject,omitzero"`        // keyed hash of the original's subject
	URLHosts     []string   `json:"url_hosts,omitempty"`     // hosts of URLs in the original, at most 8
}

// MaxTrace is the size in bytes to which each text of [Traces] is cut.
const MaxTrace = 255
