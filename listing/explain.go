package listing

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"
)

// explainLimit bounds the events that an explanation tells one by one.
const explainLimit = 100

// Explanation is all that the store knows of an address or a key, as `show`
// and the page tell it. What the public may see of it is [Explanation.Public].
type Explanation struct {
	At           time.Time  `json:"at,omitzero"`      // it is about this moment; zero: now
	Unsure       []string   `json:"unsure,omitempty"` // what is not known any more of that moment
	Ended        *Past      `json:"ended,omitempty"`  // how the listing of that moment ended since
	Address      netip.Addr `json:"address,omitzero"`
	Key          Key        `json:"key"`
	Listed       bool       `json:"listed"` // published, under this key or a wider one
	Classes      []Class    `json:"classes"`
	Class        Class      `json:"class"`
	Code         string     `json:"code,omitempty"` // what the zone answers
	By           Source     `json:"by"`
	Reason       string     `json:"reason,omitempty"`   // an operator's
	Operator     string     `json:"operator,omitempty"` // who listed it
	Since        time.Time  `json:"since,omitzero"`
	Until        time.Time  `json:"until,omitzero"`
	Permanent    bool       `json:"permanent"`
	Extends      string     `json:"extends,omitempty"`       // what would put the end off
	Exempt       *Exemption `json:"exempt,omitempty"`        // what keeps it from being published
	TestPoint    Class      `json:"test_point,omitempty"`    // every zone that carries it lists the address always, for clients to test with
	Retired      time.Time  `json:"decommissioned,omitzero"` // since when nothing at all is published
	HeldBack     bool       `json:"held_back,omitempty"`     // evidence would list it; a brake waits for an operator
	CoveredBy    *Key       `json:"covered_by,omitempty"`    // the wider listing that holds it
	HoldUntil    time.Time  `json:"hold_until,omitzero"`     // evidence does not list it before
	Delisted     time.Time  `json:"delisted,omitzero"`       // evidence that is not newer never counts
	Decision     *Decision  `json:"decision,omitempty"`      // the one that listed it; without a listing, as of now
	Current      *Decision  `json:"current,omitempty"`       // as of now, for what evidence listed
	First        time.Time  `json:"first,omitzero"`          // oldest evidence ever
	Last         time.Time  `json:"last,omitzero"`           // newest evidence ever
	Observations int        `json:"observations"`            // kept
	Events       []Event    `json:"events"`                  // the newest of them, newest first
	History      []Past     `json:"history"`                 // listings that ended, newest first
	Sequence     uint64     `json:"sequence"`                // of what is published

	traps []string // addresses and domains, see [Settings]
}

// Event is one observation as an explanation tells it.
type Event struct {
	ID           ID        `json:"id,omitzero"`
	At           time.Time `json:"at"`
	Class        Class     `json:"class"`
	Level        Level     `json:"level"`
	Proofs       []string  `json:"proofs"`
	SPFFailed    bool      `json:"spf_failed"`
	Delivered    bool      `json:"delivered,omitempty"`
	Traces       Traces    `json:"traces"`
	Reporter     string    `json:"reporter,omitempty"`
	Organisation string    `json:"organisation,omitempty"`
	Sensor       string    `json:"sensor,omitempty"`
	TrapDomain   string    `json:"trap_domain,omitempty"`
	Recipient    ID        `json:"recipient,omitzero"`
	Revoked      uint64    `json:"revoked,omitempty"` // the audit entry that withdrew it; it does not count
	Original     ID        `json:"original,omitzero"`
}

// Explain tells all that is known of an address.
func (s *Store) Explain(addr netip.Addr) (Explanation, error) {
	k, err := HostKey(addr)
	if err != nil {
		return Explanation{}, fmt.Errorf("explain: %w", err)
	}
	addr = addr.Unmap().WithZone("")
	x, err := s.explain(k, addr, netip.PrefixFrom(addr, addr.BitLen()))
	if x.Retired.IsZero() { // a list that has ended has none
		x.TestPoint = testPoint(addr)
	}
	return x, err
}

// testPoint returns the class whose code the address is (RFC 5782 §5), or ClassOther.
func testPoint(addr netip.Addr) Class {
	for _, c := range Classes {
		if addr == netip.AddrFrom4([4]byte{127, 0, 0, byte(c)}) {
			return c
		}
	}
	return ClassOther
}

// ExplainKey tells all that is known of a key, which may be a prefix that an
// operator listed.
func (s *Store) ExplainKey(k Key) (Explanation, error) {
	if !k.IsValid() {
		return Explanation{}, fmt.Errorf("explain: %w", ErrKey)
	}
	return s.explain(k, netip.Addr{}, k.Prefix())
}

func (s *Store) explain(k Key, addr netip.Addr, p netip.Prefix) (x Explanation, err error) {
	x = Explanation{Address: addr, Key: k, Classes: []Class{}, Events: []Event{}, History: []Past{}}
	err = s.view(func(tx *bolt.Tx, now time.Time) error {
		snap := s.Snapshot()
		x.Sequence, x.Retired, x.traps = snap.Sequence(), snap.Decommissioned(), s.settings.Load().Traps
		entry, listed := snap.Lookup(p.Addr())
		x.Listed = listed && (covers(entry.Prefix, p) || covers(p, entry.Prefix))
		if !x.Listed {
			for entry = range snap.Within(p) {
				x.Listed = true
				break
			}
		}
		if x.Listed {
			x.Classes, x.Class = entry.Classes.Slice(), entry.Class
			x.Code = fmt.Sprintf("127.0.0.%d", uint8(entry.Class))
		}
		r, err := readRecord(tx, k)
		if err != nil {
			return err
		}
		r = cmp.Or(r, &record{Key: k})
		if err := x.explainListing(tx, r); err != nil {
			return err
		}
		var st state
		if err := errors.Join(st.readExemptions(tx), st.readReporters(tx)); err != nil {
			return err
		}
		if exemption, ok := st.exemption(p); ok {
			x.Exempt = &exemption
		}
		x.explainEvidence(s, &st, tx, r, now)
		return nil
	})
	return x, err
}

// explainListing tells of the record, or of the wider one that stands for it.
func (x *Explanation) explainListing(tx *bolt.Tx, r *record) error {
	wider, err := covering(tx, nil, r.Key.Prefix())
	if err != nil {
		return err
	}
	shown := r
	if wider != nil && wider.Key != r.Key {
		x.CoveredBy = &wider.Key
		if !r.listed() {
			shown = wider
		}
	}
	x.By, x.Since, x.Until = shown.source(), shown.since(), shown.until()
	if shown.Manual != nil {
		x.Reason, x.Operator = shown.Manual.Reason, shown.Manual.By
		x.Permanent = shown.Manual.Until.IsZero()
	}
	x.HoldUntil, x.Delisted = r.Hold, r.CountFrom
	x.HeldBack = tx.Bucket(bucketExpiry).Get(heldKey(r.Key.Prefix())) != nil
	x.First, x.Last, x.Observations = r.First, r.Last, r.Kept
	x.History = append(x.History, r.Past...)
	slices.Reverse(x.History)
	return nil
}

// explainEvidence tells what was observed and what the listing rule says of
// it.
func (x *Explanation) explainEvidence(s *Store, st *state, tx *bolt.Tx, r *record, now time.Time) {
	settings := s.settings.Load()
	observations(tx, s.log, r.Key, time.Time{}, decodeObservation, func(o Observation) bool {
		x.Events = append(x.Events, eventOf(o))
		return len(x.Events) < explainLimit
	})
	if r.Kept == 0 {
		return
	}
	d := st.judge(tx, newLexicon(tx), s.log, r, settings.Policy, st.weigher(settings, now), now)
	x.Decision = &d
	if r.Evidence == nil {
		return
	}
	// Not that of the decision: what listed it may be too old to count by now.
	lifetime := settings.Policy.lifetime(r.history(nil), now)
	x.Extends = fmt.Sprintf("each further one that counts puts the end off to %s after it", words(lifetime))
	if fired, ok := decisionOf(tx, r.Evidence.Audit); ok {
		x.Decision, x.Current = &fired, &d
	}
}

func eventOf(o Observation) Event {
	return Event{
		ID: o.ID, At: o.At, Class: o.Class, Level: o.Level, Proofs: o.Proofs.Names(), SPFFailed: o.SPFFailed,
		Delivered: o.Delivered, Traces: o.Traces, Reporter: o.Reporter, Organisation: o.Organisation, Sensor: o.Sensor,
		TrapDomain: o.TrapDomain, Recipient: o.Recipient, Original: o.Original, Revoked: o.Revoked,
	}
}

// decisionOf reads the decision that listed a key from the audit.
func decisionOf(tx *bolt.Tx, number uint64) (Decision, bool) {
	var d Decision
	key := numberKey(number)
	value := bucketOf(tx, bucketAudit).Get(key)
	if value == nil {
		return d, false
	}
	a, err := decodeAudit(key, value)
	if err != nil || json.Unmarshal(a.Detail, &d) != nil {
		return d, false
	}
	return d, true
}

// Public returns the explanation without what would give away a trap, a
// recipient, a reporter or an operator. What an operator gave for a reason is meant
// for the audit, and may name any of them.
func (x Explanation) Public() Explanation {
	x.Operator, x.Reason = "", ""
	if was := x.Exempt; was != nil {
		x.Exempt = &Exemption{Prefix: was.Prefix, Until: was.Until}
		inSpecial := func(s Special) bool { return was.Reason == s.Name && covers(s.Prefix, was.Prefix) }
		if was.BuiltIn && slices.ContainsFunc(Specials, inSpecial) { // nobody's secret
			x.Exempt.Reason, x.Exempt.BuiltIn = was.Reason, true
		}
	}
	if x.Ended != nil {
		ended := *x.Ended
		ended.Why = ""
		x.Ended = &ended
	}
	x.History = slices.Clone(x.History)
	for i := range x.History {
		x.History[i].Why = ""
	}
	events := make([]Event, 0, len(x.Events))
	traps := x.quoted()
	for _, e := range x.Events {
		t := e.Traces
		public := Event{
			At: e.At, Class: e.Class, Level: e.Level, Proofs: e.Proofs, SPFFailed: e.SPFFailed, Delivered: e.Delivered, Revoked: e.Revoked,
			Traces: Traces{
				MessageID: t.MessageID, QueueID: t.QueueID, ReportingMTA: t.ReportingMTA, Status: t.Status,
				Diagnostic: t.Diagnostic, HELO: t.HELO, PTR: t.PTR, Origin: t.Origin, Product: t.Product,
			},
		}
		for _, text := range []*string{
			&public.Traces.MessageID, &public.Traces.QueueID, &public.Traces.ReportingMTA,
			&public.Traces.Status, &public.Traces.Diagnostic, &public.Traces.HELO, &public.Traces.PTR,
		} {
			for _, trap := range append(traps, e.TrapDomain) {
				*text = withhold(*text, trap)
			}
		}
		events = append(events, public)
	}
	x.Events = events
	return x
}

// quoted returns the traps that the events name anywhere. There may be very many
// traps, and hosts name few of them.
func (x *Explanation) quoted() (traps []string) {
	var all strings.Builder
	for _, e := range x.Events {
		t := e.Traces
		for _, text := range []string{t.MessageID, t.QueueID, t.ReportingMTA, t.Status, t.Diagnostic, t.HELO, t.PTR} {
			all.WriteString(strings.ToLower(text))
			all.WriteByte('\n')
		}
	}
	for _, trap := range x.traps {
		if strings.Contains(all.String(), strings.ToLower(trap)) {
			traps = append(traps, trap)
		}
	}
	return slices.Clip(traps)
}

// withheld stands where an address of a trap stood: hosts like to quote in
// their diagnostics whom they answer.
const withheld = "[withheld]"

// aroundAddress are the characters that do not belong to an address.
const aroundAddress = " \t<>()[]\"',;"

// withhold takes a domain out of a text, with what stands before it in an
// address. Of a text that was cut to its bound, the last word may be an address
// without its end, and is not shown either.
func withhold(text, domain string) string {
	if domain == "" {
		return text
	}
	if len(text) > MaxTrace-utf8.UTFMax {
		text = text[:strings.LastIndexAny(text, aroundAddress)+1] + withheld
	}
	lower, domain := strings.ToLower(text), strings.ToLower(domain)
	if len(lower) != len(text) {
		text = lower // letters whose small form is longer: then the small form will do
	}
	var b strings.Builder
	for {
		at := strings.Index(lower, domain)
		if at < 0 {
			b.WriteString(text)
			return b.String()
		}
		start := strings.LastIndexAny(text[:at], aroundAddress) + 1
		b.WriteString(text[:start])
		b.WriteString(withheld)
		text, lower = text[at+len(domain):], lower[at+len(domain):]
	}
}
