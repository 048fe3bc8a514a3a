package evidence

import (
	"net/netip"

	"backscatter/listing"
)

// Verdict says whether a report proves backscatter.
type Verdict string

// The verdicts.
const (
	Proven   Verdict = "proven"   // counts against the source
	Unproven Verdict = "unproven" // Reason says why not
	Failed   Verdict = "error"    // the report could not be judged; Reason says why
)

// The reasons of findings that are not proven. The first six are the guards of
// the evidence policy; the store finds duplicates, the rest is found here.
const (
	ReasonGenuine      = "genuine"      // the original went through the reporter's relays
	ReasonUnattributed = "unattributed" // no line written by a trusted relay names the host outside
	ReasonDouble       = "double"       // the original itself has a null sender
	ReasonExempt       = "exempt"       // the source is exempt: kept, shown, not listed
	ReasonDuplicate    = "duplicate"    // this original, source and reporter were seen
	ReasonStale        = "stale"        // older than the window when it arrived
	ReasonHearsay      = "hearsay"      // level C, the source is known by a complainer's word: kept, shown, not counted

	ReasonOther    = "other"    // no backscatter at all
	ReasonNoProof  = "no-proof" // backscatter, but nothing shows that it is misdirected
	ReasonReporter = "reporter" // the reporter is not enrolled
	ReasonEmpty    = "empty"    // nothing to judge
	ReasonNotMail  = "not-mail" // neither header nor text
)

// Returned says how much of the original came back.
type Returned string

// How much came back.
const (
	ReturnedNone    Returned = "none"
	ReturnedHeaders Returned = "headers"
	ReturnedFull    Returned = "full"
)

// FindingOriginal is what a finding tells of the returned original.
type FindingOriginal struct {
	Returned  Returned   `json:"returned"`
	MessageID string     `json:"message_id"`
	Origin    netip.Addr `json:"origin"` // where the original came from; context, never accused
}

// Finding is the judgement on one report. Path and Index are the caller's:
// which file, and which message in it.
type Finding struct {
	Path          string          `json:"path"`
	Index         int             `json:"index"`
	Class         listing.Class   `json:"class"`
	Verdict       Verdict         `json:"verdict"`
	Reason        string          `json:"reason"` // the guard or the error; empty when proven
	Proofs        []string        `json:"proofs"` // names of the proofs that hold; never nil
	Level         listing.Level   `json:"level"`
	Source        netip.Addr      `json:"source"` // the accused; invalid when unattributed
	RecipientTrap bool            `json:"recipient_trap"`
	Original      FindingOriginal `json:"original"`
	Rules         []string        `json:"rules"`             // names of the rules that decided the class; never nil
	Product       string          `json:"product,omitempty"` // the software that was recognised
	Signs         []string        `json:"signs,omitempty"`   // signs that the original was the reporter's own mail
	Traces        listing.Traces  `json:"traces"`

	observation listing.Observation
	observable  bool
}

// newFinding is what is known of a report before it was looked at.
func newFinding() Finding {
	return Finding{
		Class:    listing.ClassOther,
		Verdict:  Unproven,
		Proofs:   []string{},
		Rules:    []string{},
		Original: FindingOriginal{Returned: ReturnedNone},
	}
}

// Observation returns what the store keeps of the finding. There is something
// to keep when the finding is proven, and when only an exemption or its age
// stands in the way: both are for the store to decide again in its transaction.
func (f Finding) Observation() (listing.Observation, bool) {
	return f.observation, f.observable
}
