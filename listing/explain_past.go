package listing

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrFuture says that a past was asked for that has not come yet.
var ErrFuture = errors.New("that is not past yet")

// ExplainAt tells what was known of an address at a moment of the past: whether
// it was listed then, which observations had been received, and what the rule of
// then said of them. What is not kept so long is told in [Explanation.Unsure].
//
// What was published comes from the journal as far as it reaches back, and else
// from the record; the rule and its decisions from the audit.
func (s *Store) ExplainAt(addr netip.Addr, at time.Time) (Explanation, error) {
	k, err := HostKey(addr)
	if err != nil {
		return Explanation{}, fmt.Errorf("explain: %w", err)
	}
	addr = addr.Unmap().WithZone("")
	return s.explainAt(k, addr, netip.PrefixFrom(addr, addr.BitLen()), at)
}

// ExplainKeyAt does so for a key, which may be a prefix that an operator listed.
func (s *Store) ExplainKeyAt(k Key, at time.Time) (Explanation, error) {
	if !k.IsValid() {
		return Explanation{}, fmt.Errorf("explain: %w", ErrKey)
	}
	return s.explainAt(k, netip.Addr{}, k.Prefix(), at)
}

func (s *Store) explainAt(k Key, addr netip.Addr, p netip.Prefix, at time.Time) (x Explanation, err error) {
	x = Explanation{
		At: at.UTC().Truncate(time.Second), Address: addr, Key: k, Classes: []Class{}, Events: []Event{}, History: []Past{},
		traps: s.settings.Load().Traps,
	}
	err = s.view(func(tx *bolt.Tx, now time.Time) error {
		if x.At.After(now) {
			return fmt.Errorf("explain %s at %s: %w", k, x.At.Format(time.RFC3339), ErrFuture)
		}
		r, err := readRecord(tx, k)
		if err != nil {
			return err
		}
		r = cmp.Or(r, &record{Key: k})
		h := hindsight{Explanation: &x, log: s.log, tx: tx, prefix: p, settings: *s.settings.Load()}
		h.record = h.recordThen(r)
		if err := h.state.readReporters(tx); err != nil {
			return err
		}
		if err := h.state.readExemptions(tx); err != nil {
			return err
		}
		h.readAudit()
		h.published(s.Snapshot())
		h.evidence(r)
		return nil
	})
	return x, err
}

// hindsight finds out what was at a moment of the past.
type hindsight struct {
	*Explanation
	log      *slog.Logger
	tx       *bolt.Tx
	prefix   netip.Prefix
	settings Settings // those of then, as far as they are known
	record   *record  // as it was
	state    state    // the exemptions and reporters of now
	either   bool     // both parts of the record ended at once, and one may have begun later
	lifted   bool     // an exemption was lifted since
}

func (h *hindsight) unsure(format string, args ...any) {
	h.Unsure = append(h.Unsure, fmt.Sprintf(format, args...))
}

// recordThen returns the record as it was, as far as it tells of that itself.
func (h *hindsight) recordThen(r *record) *record {
	then := &record{Key: r.Key}
	if r.Evidence != nil && !r.Evidence.Since.After(h.At) {
		part := *r.Evidence
		then.Evidence = &part
	}
	if r.Manual != nil && !r.Manual.At.After(h.At) {
		part := *r.Manual
		then.Manual = &part
	}
	for _, past := range r.Past {
		if !past.Removed.After(h.At) {
			then.Past = append(then.Past, past)
			if past.How == Delisted {
				then.CountFrom = past.Removed
			}
		} else if !past.Listed.After(h.At) {
			h.restore(then, past)
		}
	}
	if len(r.Past) == maxPast && h.At.Before(r.Past[0].Listed) {
		h.unsure("listings that ended before %s are in the audit alone", r.Past[0].Listed.Format(time.RFC3339))
	}
	if !r.CountFrom.IsZero() && !r.CountFrom.After(h.At) {
		then.CountFrom, then.Hold = r.CountFrom, r.Hold
	}
	return then
}

// restore puts a listing back that has ended since.
func (h *hindsight) restore(then *record, past Past) {
	if past.By&ByEvidence != 0 {
		then.Evidence = &evidencePart{Since: past.Listed, Until: past.Removed}
	}
	if past.By&ByOperator != 0 {
		then.Manual = &manualPart{At: past.Listed, Until: past.Removed}
	}
	h.either = h.either || past.By == ByEvidence|ByOperator
	if h.Ended == nil || past.Removed.After(h.Ended.Removed) {
		h.Ended = &past
	}
}

// readAudit walks back to the settings that were in force, and to what began the
// listing.
func (h *hindsight) readAudit() {
	begun := h.At
	if since := h.record.since(); h.record.listed() && since.Before(begun) {
		begun = since
	}
	ruled, decided, ordered := false, h.record.Evidence == nil, h.record.Manual == nil
	defer func() { h.sort(ruled, decided, ordered) }()
	cursor := bucketOf(h.tx, bucketAudit).Cursor()
	for key, value := cursor.Last(); key != nil; key, value = cursor.Prev() {
		a, err := decodeAudit(key, value)
		if err != nil {
			h.log.Error("an audit entry is damaged and passed over", slog.Any("err", err))
			continue
		}
		if ruled && a.Time.Before(begun) {
			return
		}
		about := slices.ContainsFunc(a.Prefixes, func(p netip.Prefix) bool { return covers(p, h.prefix) || covers(h.Key.Prefix(), p) })
		switch {
		case a.Time.After(h.At):
			h.lookAhead(&a, about)
		case a.Action == ActionApply && !ruled:
			ruled = h.rule(&a)
		case a.Time.Before(begun): // it is of an earlier listing
		case a.Action == ActionEvidence && about && !decided:
			var d Decision
			if decided = json.Unmarshal(a.Detail, &d) == nil; decided {
				h.Decision = &d
			}
		case a.Action == ActionList && about && !ordered:
			ordered = true
			h.Reason, h.Operator = a.Reason, a.By.String()
		}
	}
}

// lookAhead looks at what was done after the moment: of exemptions the oldest such has
// the last word.
func (h *hindsight) lookAhead(a *AuditEntry, about bool) {
	if about && (a.Action == ActionExempt || a.Action == ActionUnexempt) {
		h.lifted = a.Action == ActionUnexempt
	}
}

// sort draws the conclusions from what the audit has and has not.
func (h *hindsight) sort(ruled, decided, ordered bool) {
	switch {
	case h.either && decided && !ordered:
		h.record.Manual = nil
	case h.either && ordered && !decided:
		h.record.Evidence, decided = nil, true
	}
	if !ruled {
		h.unsure("the rule that was in force is not in the audit any more; this is what that of now says")
	}
	if !decided {
		h.unsure("the decision that listed it is not in the audit any more")
	}
}

// rule takes over the settings that an audit entry put in force.
func (h *hindsight) rule(a *AuditEntry) bool {
	then := applied{Policy: Community()} // what older programs did not write was as there
	if json.Unmarshal(a.Detail, &then) != nil || then.Validate() != nil {
		return false
	}
	h.settings.Policy = then.Policy
	if then.Reporters != nil {
		h.settings.Reporters = then.Reporters
	}
	return true
}

// published finds out what the zone answered, from the journal or, where that
// does not reach, from the record.
func (h *hindsight) published(snap *Snapshot) {
	entry, sequence, known := h.fromJournal(snap)
	h.Sequence = sequence
	h.exemptThen()
	switch r := h.record; {
	case known:
		h.Listed = entry != Entry{}
		h.Classes, h.Class = entry.Classes.Slice(), entry.Class
		if wide, err := PrefixKey(entry.Prefix); err == nil && h.Listed && wide != h.Key && wide.Covers(h.Key) {
			h.CoveredBy = &wide
		}
	case h.Exempt == nil && r.listed():
		h.Listed = true
		if r.Manual != nil {
			h.Classes, h.Class = []Class{ClassManual}, ClassManual
		}
	}
	if !known {
		h.unsure("what was published then is not in the journal any more; whether it was listed is from its record")
	}
	if h.lifted && !h.Listed && h.record.listed() {
		h.unsure("an exemption that was lifted since may have hidden it; see the audit")
	}
}

// exemptThen looks for an exemption that held then and holds now.
func (h *hindsight) exemptThen() {
	for _, x := range h.state.exempt {
		if covers(x.Prefix, h.prefix) && (x.BuiltIn || !x.At.After(h.At)) {
			h.Exempt = &x
			return
		}
	}
}

// fromJournal undoes what was published since then in the neighbourhood of the
// prefix.
func (h *hindsight) fromJournal(snap *Snapshot) (entry Entry, sequence uint64, known bool) {
	entries := make(map[netip.Prefix]Entry)
	if e, ok := snap.Lookup(h.prefix.Addr()); ok {
		entries[e.Prefix] = e
	}
	for e := range snap.Within(h.prefix) {
		entries[e.Prefix] = e
	}
	sequence, known = snap.Sequence(), !snap.Time().After(h.At)
	cursor := bucketOf(h.tx, bucketJournal).Cursor()
	for key, value := cursor.Last(); key != nil && !known; key, value = cursor.Prev() {
		c, err := decodeChange(key, value)
		if err != nil {
			h.log.Error("the journal is damaged", slog.Any("err", err))
			return Entry{}, 0, false
		}
		if c.Sequence > snap.Sequence() {
			continue // committed a moment ago, and not published yet
		}
		if sequence, known = c.Sequence, !c.Time.After(h.At); known {
			break
		}
		for _, e := range c.Added {
			delete(entries, e.Prefix)
		}
		for _, e := range c.Removed {
			if e.Prefix.Overlaps(h.prefix) {
				entries[e.Prefix] = e
			}
		}
	}
	if !known {
		return Entry{}, 0, false
	}
	// Of several that an exemption left of it, any tells the same.
	if first := slices.SortedFunc(maps.Values(entries), compareEntries); len(first) > 0 {
		entry = first[0]
	}
	return entry, sequence, true
}

// evidence tells what had been observed, and what the rule said of it.
func (h *hindsight) evidence(now *record) {
	r := h.record
	h.By, h.Since = r.source(), r.since()
	h.HoldUntil, h.Delisted = r.Hold, r.CountFrom
	h.History = append(h.History, r.Past...)
	slices.Reverse(h.History)
	weigh := h.state.weigher(&h.settings, h.At)
	exempt := h.state.exemptHosts(r.Key)
	var counted []Evidence
	var oldest time.Time
	observations(h.tx, h.log, r.Key, time.Time{}, decodeObservation, func(o Observation) bool {
		oldest = o.At
		if o.At.After(h.At) {
			return true
		}
		if o.Revoked != 0 && h.after(o.Revoked) {
			o.Revoked = 0 // it counted then
		}
		if h.Observations++; h.Last.IsZero() {
			h.Last = o.At
		}
		h.First = o.At
		if len(h.Events) < explainLimit {
			h.Events = append(h.Events, eventOf(o))
		}
		if !exempt(o.Addr) {
			counted = append(counted, o.Evidence(weigh(o.Reporter)))
		}
		return true
	})
	if !now.First.IsZero() && !now.First.After(h.At) && (oldest.IsZero() || now.First.Before(oldest)) {
		h.unsure("some of the observations are not kept any more; the first was received at %s", now.First.Format(time.RFC3339))
	}
	h.decide(counted)
}

// decide asks the rule of then, and fills in what follows from its answer.
func (h *hindsight) decide(counted []Evidence) {
	r := h.record
	if r.Evidence != nil || len(counted) > 0 {
		d := h.settings.Policy.Decide(r.history(counted), h.At)
		if h.Decision == nil {
			h.Decision = &d
		} else {
			h.Current = &d
		}
		if r.Evidence != nil && d.Until.After(h.At) {
			r.Evidence.Until = d.Until
		}
		if r.Evidence != nil && h.Listed && len(h.Classes) == 0 { // the journal could not tell
			set := d.Classes
			if r.Manual != nil {
				set |= ClassSetOf(ClassManual)
			}
			h.Classes, h.Class = set.Slice(), cmp.Or(d.Class, h.Class)
		}
	}
	if h.Ended == nil || r.Manual == nil {
		h.Until = r.until() // an operator's listing that is over does not tell until when it was to be
		h.Permanent = r.Manual != nil && r.Manual.Until.IsZero()
	}
	if h.Listed && h.Class != ClassOther {
		h.Code = fmt.Sprintf("127.0.0.%d", uint8(h.Class))
	}
}

// after reports whether an audit entry was written after the moment.
func (h *hindsight) after(number uint64) bool {
	key := numberKey(number)
	value := bucketOf(h.tx, bucketAudit).Get(key)
	if value == nil {
		return false
	}
	a, err := decodeAudit(key, value)
	return err == nil && a.Time.After(h.At)
}
