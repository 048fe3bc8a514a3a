package listing

import (
	"fmt"
	"time"
)

// record is all that the store knows of one key, beside the observations.
type record struct {
	Key       Key
	Manual    *manualPart   // nil: no operator lists it
	Evidence  *evidencePart // nil: evidence does not list it
	Published Summary       // as published; it lags behind, see [Summary]
	CountFrom time.Time     // evidence that is not newer never counts again
	Hold      time.Time     // evidence does not list before; zero: no hold
	First     time.Time     // oldest evidence ever
	Last      time.Time     // newest evidence ever
	Kept      int           // observations kept
	Wake      time.Time     // when the expiry index has it looked at; zero: never
	Past      []Past        // listings that ended, oldest first

	// As it was when it was read, to see what a change of it changes.
	was      Entry
	wasUntil time.Time
	manual   bool
}

// manualPart is an operator's listing.
type manualPart struct {
	At     time.Time
	Until  time.Time // zero: permanent
	Reason string
	By     string
}

// evidencePart is a listing that evidence made.
type evidencePart struct {
	Since   time.Time
	Until   time.Time
	Last    time.Time // newest counted observation
	Events  int       // observations counted when it was last renewed
	Classes ClassSet
	Class   Class
	Audit   uint64 // number of the audit entry with the decision that listed it
}

// Past is a listing that ended.
type Past struct {
	Listed  time.Time `json:"listed"`
	Removed time.Time `json:"removed"`
	By      Source    `json:"by"`
	How     Removal   `json:"how"`
	Why     string    `json:"why,omitempty"` // the operator's reason, if one removed it
}

// maxPast bounds the history that a record carries; the audit has all of it.
const maxPast = 16

// Source is what listed a key.
type Source byte

// The sources of a listing.
const (
	ByEvidence Source = 1 << iota
	ByOperator
)

var sourceNames = map[Source]string{0: "", ByEvidence: "evidence", ByOperator: "operator", ByEvidence | ByOperator: "both"}

// String returns evidence, operator, both, or nothing for a key that is not
// listed.
func (s Source) String() string { return sourceNames[s] }

// MarshalText writes the source as String does.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Source) UnmarshalText(text []byte) error {
	for source, name := range sourceNames {
		if name == string(text) {
			*s = source
			return nil
		}
	}
	return fmt.Errorf("source %q: want evidence, operator or both", text)
}

// Removal is the way in which a listing ended.
type Removal byte

// The ways in which a listing ends.
const (
	Expired  Removal = iota // evidence did not come again in time
	Ended                   // the time that the operator had set was over
	Delisted                // an operator removed it
	Revoked                 // it leaned on evidence that was withdrawn
	removals
)

var removalNames = [...]string{"expired", "ended", "delisted", "revoked"}

// String returns expired, ended, delisted or revoked.
func (r Removal) String() string {
	if int(r) < len(removalNames) {
		return removalNames[r]
	}
	return fmt.Sprintf("removal(%d)", byte(r))
}

// MarshalText writes the way as String does.
func (r Removal) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (r *Removal) UnmarshalText(text []byte) error {
	for i, name := range removalNames {
		if name == string(text) {
			*r = Removal(i)
			return nil
		}
	}
	return fmt.Errorf("removal %q: want expired, ended, delisted or revoked", text)
}

func (r *record) source() Source {
	var s Source
	if r.Evidence != nil {
		s |= ByEvidence
	}
	if r.Manual != nil {
		s |= ByOperator
	}
	return s
}

func (r *record) listed() bool { return r.Manual != nil || r.Evidence != nil }

// since returns when the listing began, by whichever part was first.
func (r *record) since() time.Time {
	switch {
	case r.Manual == nil && r.Evidence == nil:
		return time.Time{}
	case r.Manual == nil:
		return r.Evidence.Since
	case r.Evidence == nil || r.Manual.At.Before(r.Evidence.Since):
		return r.Manual.At
	default:
		return r.Evidence.Since
	}
}

// until returns when the whole listing ends, by whichever part is last; zero
// when it is permanent or there is none.
func (r *record) until() time.Time {
	var until time.Time
	if r.Evidence != nil {
		until = r.Evidence.Until
	}
	if r.Manual != nil && (r.Manual.Until.IsZero() || r.Manual.Until.After(until)) {
		until = r.Manual.Until
	}
	return until
}

func (r *record) classes() ClassSet {
	var set ClassSet
	if r.Evidence != nil {
		set = r.Evidence.Classes
	}
	if r.Manual != nil {
		set |= ClassSetOf(ClassManual)
	}
	return set
}

// class returns the class that decides the answer. What evidence found weighs
// more than an operator's word, which has no weight.
func (r *record) class() Class {
	switch {
	case r.Evidence != nil:
		return r.Evidence.Class
	case r.Manual != nil:
		return ClassManual
	default:
		return ClassOther
	}
}

// refresh brings what is published up to the state of now.
func (r *record) refresh() { r.Published = r.current() }

// current returns what would be published if it were refreshed.
func (r *record) current() Summary {
	if !r.listed() {
		return Summary{}
	}
	s := Summary{Since: DateOf(r.since()), Until: DateOf(r.until())}
	if r.Evidence != nil {
		s.Events = RoundEvents(r.Evidence.Events)
		s.Last = DateOf(r.Evidence.Last)
	}
	return s
}

// entry returns what is published of the record when nothing hides it.
func (r *record) entry() Entry {
	if !r.listed() {
		return Entry{}
	}
	return Entry{Prefix: r.Key.Prefix(), Classes: r.classes(), Class: r.class(), Summary: r.Published}
}

// next returns the first moment at which time alone changes the record; zero:
// none.
func (r *record) next() time.Time {
	var next time.Time
	consider := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	consider(r.Hold)
	if r.Evidence != nil {
		consider(r.Evidence.Until)
	}
	if r.Manual != nil {
		consider(r.Manual.Until)
	}
	return next
}

// end notes that the given parts of the listing are over.
func (r *record) end(parts Source, now time.Time, how Removal, why string) {
	parts &= r.source()
	if parts == 0 {
		return
	}
	past := Past{Removed: now, By: parts, How: how, Why: why}
	if parts&ByEvidence != 0 {
		past.Listed = r.Evidence.Since
	}
	if parts&ByOperator != 0 && (past.Listed.IsZero() || r.Manual.At.Before(past.Listed)) {
		past.Listed = r.Manual.At
	}
	if parts&ByEvidence != 0 {
		r.Evidence = nil
	}
	if parts&ByOperator != 0 {
		r.Manual = nil
	}
	r.Past = append(r.Past, past)
	if len(r.Past) > maxPast {
		r.Past = r.Past[len(r.Past)-maxPast:]
	}
}

// history returns what the listing rule looks at. Only listings that evidence
// made lengthen the next one.
func (r *record) history(evidence []Evidence) History {
	h := History{Evidence: evidence, CountFrom: r.CountFrom}
	for _, p := range r.Past {
		if p.How == Delisted {
			h.Delisted = p.Removed
		}
		if p.By&ByEvidence == 0 || p.How == Revoked {
			continue // it says nothing against the key
		}
		h.Earlier = append(h.Earlier, p.Removed)
		if p.How == Expired {
			h.Expired = p.Removed
		}
	}
	return h
}
