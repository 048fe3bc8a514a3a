package control

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/zonefile"
)

// SocketName is the name of the control socket in the state folder.
const SocketName = "control.sock"

// Bounds of what is taken in one request.
const (
	MaxOrderBytes  = 64 << 20 // an order or a list to import
	MaxReportBytes = 1 << 20  // a message; a longer one is cut by the client and marked so
	MaxPage        = 1000     // listings or audit entries in one answer
	maxKeys        = 1_000_000
	maxReason      = 1000 // bytes
	maxTold        = 1000 // keys that an order was refused for
	maxShown       = 100  // changed entries told in the answer to an order that was carried out
)

// Codes of errors, which the client's caller branches on.
const (
	CodeBadRequest  = "bad_request"
	CodeNotFound    = "not_found"
	CodeNotListed   = "not_listed"
	CodeConflict    = "conflict"
	CodeTryAgain    = "try_again"
	CodeUnavailable = "unavailable"
	CodeInternal    = "internal"
)

// ErrUnreachable is wrapped by the client's errors when nobody answers at the
// socket.
var ErrUnreachable = errors.New("the daemon is not reachable")

// Error is an error that the daemon answered with.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Status  int    `json:"-"` // of HTTP

	Problems []listing.Problem `json:"problems,omitempty"` // of an order: the first 1000 keys that it was refused for
}

// Error returns the daemon's words.
func (e *Error) Error() string { return e.Message }

// errorBody is how an error goes over the socket.
type errorBody struct {
	Error *Error `json:"error"`
}

// Order is what every change carries: why it is made, and whether it is only to
// be shown.
type Order struct {
	Reason string `json:"reason"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// ListRequest lists keys by hand.
type ListRequest struct {
	Order
	Entries []listing.Manual `json:"entries"`
	Wide    []netip.Prefix   `json:"wide,omitempty"` // that are too wide to be listed: the order is refused, and that is counted
}

// DelistRequest takes keys off the list.
type DelistRequest struct {
	Order
	Keys []listing.Key `json:"keys"`
	Hold Duration      `json:"hold,omitempty"` // keeps automatic listing away for so long
}

// ExemptRequest exempts prefixes.
type ExemptRequest struct {
	Order
	Exemptions []listing.Exemption `json:"exemptions"`
}

// UnexemptRequest ends exemptions.
type UnexemptRequest struct {
	Order
	Prefixes []netip.Prefix `json:"prefixes"`
}

// What an import makes of a list.
const (
	AsListings   = "listings"
	AsExemptions = "exemptions"
)

// ImportRequest describes the list that the request's body holds.
type ImportRequest struct {
	Order
	Format  string    // one that zonefile.Read knows
	Until   time.Time // when the listings end; zero for permanent ones
	As      string    // AsListings, also when empty, or AsExemptions
	SkipBad bool      // leave out lines that cannot be taken, and tell of them
}

// ReportRequest is the envelope of the message that the request's body holds,
// as far as the caller knows it.
type ReportRequest struct {
	Reporter   string // empty for the first one
	Client     netip.Addr
	HELO, PTR  string  // of the client; empty when not known
	MailFrom   *string // nil when not known; "" is the null sender
	Recipients []string
	Truncated  bool
	Received   time.Time // zero for now
	Hearsay    bool      // the client is known by a complainer's word: level C
}

// HasEnvelope reports whether the request says how the message came.
func (r ReportRequest) HasEnvelope() bool {
	return r.Client.IsValid() || r.MailFrom != nil || len(r.Recipients) > 0
}

// Report returns the report without its message, received at now unless the
// request says when.
func (r ReportRequest) Report(now time.Time) evidence.Report {
	out := evidence.Report{
		Truncated: r.Truncated, Hearsay: r.Hearsay, Received: now, Reporter: r.Reporter, Sensor: evidence.SensorReport,
		Envelope: evidence.Envelope{Client: r.Client, HELO: r.HELO, PTR: r.PTR, Recipients: r.Recipients, MailFromKnown: r.MailFrom != nil},
	}
	if r.MailFrom != nil {
		out.Envelope.MailFrom = *r.MailFrom
	}
	if !r.Received.IsZero() {
		out.Received = r.Received
	}
	return out
}

// ExportRequest names what to write.
type ExportRequest struct {
	Format string
	Zone   string // empty for the only or first zone
}

// Change is one published entry that came or went.
type Change struct {
	Prefix netip.Prefix  `json:"prefix"`
	Class  listing.Class `json:"class"`
	Code   string        `json:"code"`
	Until  string        `json:"until,omitempty"` // a day
}

func changeOf(e listing.Entry) Change {
	return Change{Prefix: e.Prefix, Class: e.Class, Code: CodeOf(e.Class), Until: e.Summary.Until.String()}
}

// CodeOf returns the address that a class answers with.
func CodeOf(c listing.Class) string { return fmt.Sprintf("127.0.0.%d", uint8(c)) }

// OrderResult tells what an order changed, or with DryRun would change.
type OrderResult struct {
	Serial   uint32            `json:"serial"`
	DryRun   bool              `json:"dry_run,omitempty"`
	Taken    int               `json:"taken"` // keys of the order
	NAdded   int               `json:"added_count"`
	NRemoved int               `json:"removed_count"`
	Added    []Change          `json:"added,omitempty"`   // the first 100, or all with DryRun
	Removed  []Change          `json:"removed,omitempty"` // the first 100, or all with DryRun
	Problems []listing.Problem `json:"problems,omitempty"`

	Withdrawn *Withdrawn `json:"withdrawn,omitempty"` // by a revocation

	Skipped []zonefile.Problem `json:"skipped,omitempty"` // lines that an import left out
}

func orderResult(taken int, r listing.Result) OrderResult {
	out := OrderResult{
		Serial: listing.SerialOf(r.Sequence), DryRun: r.DryRun, Taken: taken,
		NAdded: len(r.Added), NRemoved: len(r.Removed), Problems: r.Skipped,
	}
	out.Added = changes(r.Added, r.DryRun)
	out.Removed = changes(r.Removed, r.DryRun)
	return out
}

func changes(entries []listing.Entry, all bool) []Change {
	if !all && len(entries) > maxShown {
		entries = entries[:maxShown]
	}
	out := make([]Change, len(entries))
	for i, e := range entries {
		out[i] = changeOf(e)
	}
	return out
}

// Listing page, audit page and the like are answered as one object with the
// page in a field of its own, so that fields can be added.
type (
	// ListingsPage is one page of the listings.
	ListingsPage struct {
		Listings []listing.Listing `json:"listings"`
		Next     *listing.Key      `json:"next,omitempty"` // pass as After for the following page
	}
	// AuditPage is one page of the audit, oldest first.
	AuditPage struct {
		Entries []listing.AuditEntry `json:"entries"`
		Next    uint64               `json:"next,omitempty"` // pass as After for the following page
	}
	// ExemptionsPage holds all exemptions, built-in ones included.
	ExemptionsPage struct {
		Exemptions []listing.Exemption `json:"exemptions"`
	}
	// PolicyPage is the rule in force.
	PolicyPage struct {
		Profile string         `json:"profile"`
		Text    []string       `json:"text"`
		Policy  listing.Policy `json:"policy"`

		Brakes    listing.Brakes    `json:"brakes"`
		Probation listing.Probation `json:"probation"`
		Retention listing.Retention `json:"retention"`
	}
	// ReloadResult tells what a reload did.
	ReloadResult struct {
		File    string   `json:"file"`
		Changed []string `json:"changed"`
		Held    []string `json:"held,omitempty"` // what a brake keeps from taking effect
	}
)

// ListingsRequest filters and pages the listings.
type ListingsRequest struct {
	Class  listing.Class
	Within netip.Prefix
	By     listing.Source // zero for both
	After  listing.Key
	Limit  int
}

// AuditRequest filters and pages the audit.
type AuditRequest struct {
	After  uint64
	Within netip.Prefix
	Limit  int
}

// Status is what the daemon is doing.
type Status struct {
	Version  string         `json:"version"`
	Running  bool           `json:"running"` // false when read from the file, with no daemon
	Started  time.Time      `json:"started,omitzero"`
	Ready    bool           `json:"ready"`
	NotReady []string       `json:"not_ready,omitempty"` // why not
	Warnings []string       `json:"warnings,omitempty"`  // of the configuration
	Listen   []Listener     `json:"listen,omitempty"`
	Store    listing.Status `json:"store"`
	Exports  []Export       `json:"exports,omitempty"`

	Secondaries []Secondary `json:"secondaries,omitempty"`
	Mirror      *Mirror     `json:"mirror,omitempty"` // of a daemon that has no store
}

// Listener is a socket of the daemon.
type Listener struct {
	Service string `json:"service"` // dns, smtp, http, control
	Network string `json:"network"`
	Address string `json:"address"`
}

// Export is the state of one scheduled export.
type Export struct {
	Zone      string    `json:"zone"`
	Dir       string    `json:"dir"`
	Published time.Time `json:"published,omitzero"`
	Serial    uint32    `json:"serial"`
	Error     string    `json:"error,omitempty"`
	Held      bool      `json:"held,omitempty"` // refused, until an operator accepts it
}

// Duration is a time.Duration that JSON writes as Go does: 168h0m0s.
type Duration time.Duration

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration with its unit.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// statusOf maps an error of the rooms below to what is answered.
func statusOf(err error) (int, string) {
	var refused *listing.RefusedError
	var own *Error
	switch {
	case errors.As(err, &own): // such as a reload that needs a restart
		return cmp.Or(own.Status, http.StatusConflict), own.Code
	case errors.Is(err, errTryAgain): // whatever kept a report from being stored
		return http.StatusServiceUnavailable, CodeTryAgain
	case errors.Is(err, listing.ErrNotListed):
		return http.StatusNotFound, CodeNotListed
	case errors.Is(err, listing.ErrNotExempt), errors.Is(err, listing.ErrReporter), errors.Is(err, listing.ErrNoObservation):
		return http.StatusNotFound, CodeNotFound
	case errors.Is(err, listing.ErrOverlap), errors.Is(err, listing.ErrExempt), errors.Is(err, listing.ErrBrake):
		return http.StatusConflict, CodeConflict
	case errors.Is(err, listing.ErrNoReason), errors.Is(err, listing.ErrKey), errors.Is(err, listing.ErrPrefix), errors.Is(err, listing.ErrFuture), errors.Is(err, errBadRequest):
		return http.StatusBadRequest, CodeBadRequest
	case errors.Is(err, listing.ErrUnavailable), errors.Is(err, listing.ErrClosed):
		return http.StatusServiceUnavailable, CodeTryAgain
	case errors.As(err, &refused): // for another reason, such as an end that is past
		return http.StatusConflict, CodeConflict
	default:
		return http.StatusInternalServerError, CodeInternal
	}
}
