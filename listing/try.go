package listing

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Fate is what another configuration would do to a key.
type Fate string

// The fates. A key that is listed neither now nor then has none.
const (
	Comes Fate = "come"
	Goes  Fate = "go"
	Stays Fate = "stay"
)

// Trial is the fate of one key under another configuration, and why. An operator's
// own listing comes and goes with exemptions alone.
type Trial struct {
	Key      Key       `json:"key"`
	Fate     Fate      `json:"fate"`
	By       Source    `json:"by"` // what lists it: now, or with Comes then
	Class    Class     `json:"class"`
	Until    time.Time `json:"until,omitzero"`   // as it is now; zero when permanent or not listed
	Instead  time.Time `json:"instead,omitzero"` // as it would be; likewise
	Why      string    `json:"why"`
	Decision *Decision `json:"decision,omitempty"` // of the other rule: the one that lists it, or the last that does not
}

// TrialSummary counts the fates.
type TrialSummary struct {
	Keys         uint64 `json:"keys"` // looked at
	Observations uint64 `json:"observations"`
	Come         uint64 `json:"come"`
	Go           uint64 `json:"go"`
	Stay         uint64 `json:"stay"`
}

// tryPage bounds the observations and the keys that one read transaction of a
// trial looks at: a long one would keep old pages of the file in use, and let it
// grow.
const tryPage = 20_000

// Try replays the observations that are kept under other settings, as if each
// had come at the moment when it was received, and tells the fate of each key that
// is listed, or would be. Real removals by operators, and holds in force, count in
// the replay too. It changes nothing and keeps nobody from writing; while it goes
// on the list may change under it, page by page.
//
// Reporters count for what they would count for now, and operators' exemptions are
// those of now: how both were in the past is not kept.
//
// Progress is told in observations of all that there are, as far as it is known.
func (s *Store) Try(ctx context.Context, settings Settings, visit func(Trial) error, progress func(done, total uint64)) (TrialSummary, error) {
	if err := settings.Validate(); err != nil {
		return TrialSummary{}, fmt.Errorf("try a policy: %w", err)
	}
	t := trial{store: s, settings: settings}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return t.sum, fmt.Errorf("try a policy: %w", context.Cause(ctx))
		}
		t.found = t.found[:0]
		err := s.view(func(tx *bolt.Tx, now time.Time) (err error) {
			more, err = t.page(tx, now)
			return err
		})
		if err != nil {
			return t.sum, fmt.Errorf("try a policy: %w", err)
		}
		for _, one := range t.found {
			if err := visit(one); err != nil {
				return t.sum, err
			}
		}
		progress(t.sum.Observations, max(t.total, t.sum.Observations))
	}
	return t.sum, nil
}

// trial is a trial under way.
type trial struct {
	store    *Store
	settings Settings
	total    uint64
	after    []byte // the key of the last record of the page before
	found    []Trial
	sum      TrialSummary
}

// page looks at the next few records, and reports whether there are more.
func (t *trial) page(tx *bolt.Tx, now time.Time) (more bool, err error) {
	st, err := readState(tx)
	if err != nil {
		return false, err
	}
	t.total = st.meta.Observations
	other := st.under(&t.settings)
	weigh := other.weigher(&t.settings, now)
	lex := newLexicon(tx)
	cursor := tx.Bucket(bucketRecords).Cursor()
	key, value := cursor.Seek(append(bytes.Clone(t.after), 0)) // right behind it
	for first := t.sum.Observations + t.sum.Keys; key != nil; key, value = cursor.Next() {
		if t.sum.Observations+t.sum.Keys-first >= tryPage {
			return true, nil
		}
		r, err := loadRecord(lex, key, value)
		if err != nil {
			return false, err
		}
		t.after = bytes.Clone(key)
		t.sum.Keys++
		t.try(&st, &other, r, t.evidence(tx, &other, r, weigh, now), now)
	}
	return false, nil
}

// under returns the state with the exemptions that other settings would make.
func (st *state) under(settings *Settings) state {
	other := *st
	other.exempt = slices.DeleteFunc(slices.Clone(st.exempt), func(x Exemption) bool { return x.BuiltIn })
	other.exempt = append(other.exempt, st.builtIn(settings)...)
	slices.SortStableFunc(other.exempt, func(a, b Exemption) int { return ComparePrefix(a.Prefix, b.Prefix) })
	other.findHoles()
	return other
}

// evidence returns what is kept of a key, oldest first.
func (t *trial) evidence(tx *bolt.Tx, st *state, r *record, weigh weigher, now time.Time) []Evidence {
	if r.Kept == 0 {
		return nil
	}
	out, looked := evidenceOf(tx, t.store.log, r.Key, time.Time{}, now, st.exemptHosts(r.Key), weigh)
	t.sum.Observations += uint64(looked)
	return out
}

// try finds out the fate of one key.
func (t *trial) try(st, other *state, r *record, evidence []Evidence, now time.Time) {
	was, wasExempt := st.exemption(r.Key.Prefix())
	will, willExempt := other.exemption(r.Key.Prefix())
	p := replay{policy: t.settings.Policy, evidence: evidence, resets: r.resets(), hold: r.Hold}
	p.run(now)
	before := r.listed() && !wasExempt
	after := (p.listed() || r.Manual != nil) && !willExempt
	one := Trial{Key: r.Key, By: r.source(), Class: r.class()}
	if before {
		one.Until = r.until()
	}
	if after {
		one.Instead = p.until
		if r.Manual != nil && (r.Manual.Until.IsZero() || r.Manual.Until.After(p.until)) {
			one.Instead = r.Manual.Until
		}
	}
	switch {
	case before && after:
		t.sum.Stay++
		one.Fate, one.Decision, one.Why = Stays, p.decision, staysBecause(r, one)
	case before:
		t.sum.Go++
		one.Fate = Goes
		one.Decision, one.Why = p.goesBecause(r, will, willExempt, now)
	case after:
		t.sum.Come++
		one.Fate, one.Decision = Comes, p.decision
		if p.listed() {
			one.By, one.Class = one.By|ByEvidence, p.decision.Class
		}
		one.Why = comesBecause(r, p.decision, was, wasExempt)
	default:
		return
	}
	t.found = append(t.found, one)
}

// resets are the moments at which an operator said that what there was shall not
// count, oldest first.
func (r *record) resets() []reset {
	var out []reset
	for _, past := range r.Past {
		if past.How == Delisted {
			out = append(out, reset{past.Removed, true})
		}
	}
	if !r.CountFrom.IsZero() && (len(out) == 0 || out[len(out)-1].at.Before(r.CountFrom)) {
		out = append(out, reset{r.CountFrom, false})
	}
	return out
}

func staysBecause(r *record, one Trial) string {
	switch {
	case r.Evidence == nil:
		return "an operator lists it"
	case one.Instead.Equal(one.Until):
		return "the rule is met"
	case one.Instead.IsZero():
		return "an operator lists it"
	default:
		return "the rule is met, until " + one.Instead.Format(time.RFC3339)
	}
}

func comesBecause(r *record, d *Decision, was Exemption, exempt bool) string {
	if exempt && r.listed() {
		return fmt.Sprintf("no longer exempt with %s: %s", was.Prefix, was.Reason)
	}
	if d == nil {
		return "an operator lists it"
	}
	return "the rule is met: " + d.found()
}

// goesBecause also returns the decision that says no.
func (p *replay) goesBecause(r *record, x Exemption, exempt bool, now time.Time) (*Decision, string) {
	switch {
	case exempt:
		return nil, fmt.Sprintf("exempt with %s: %s", x.Prefix, x.Reason)
	case p.decision != nil && p.ended:
		return p.decision, "would have ended at " + p.until.Format(time.RFC3339)
	}
	// What the rule said when it had most to go by.
	at := now
	for _, e := range slices.Backward(p.evidence) {
		if p.policy.counts(e, p.history, e.At) {
			at = e.At
			break
		}
	}
	h := p.history
	h.Evidence = p.evidence
	d := p.policy.Decide(upTo(h, at), at)
	if why := d.missing(); why != "" {
		return &d, "the rule is not met: " + why
	}
	if r.Hold.After(now) {
		return &d, "held until " + r.Hold.Format(time.RFC3339)
	}
	return &d, "would have ended at " + d.Until.Format(time.RFC3339)
}

// upTo returns the history without the evidence of after a moment.
func upTo(h History, at time.Time) History {
	n := len(h.Evidence)
	for n > 0 && h.Evidence[n-1].At.After(at) {
		n--
	}
	h.Evidence = h.Evidence[:n]
	return h
}

// missing says which thresholds are not met, with what was wanted and found.
func (d Decision) missing() string {
	return d.words(func(t Threshold) bool { return !t.Met })
}

// found says of each threshold what was wanted and found.
func (d Decision) found() string { return d.words(func(Threshold) bool { return true }) }

func (d Decision) words(which func(Threshold) bool) string {
	var parts []string
	for _, t := range d.Thresholds {
		if which(t) {
			parts = append(parts, fmt.Sprintf("%s wanted %s, found %s", t.Name, t.Wanted, t.Found))
		}
	}
	return strings.Join(parts, "; ")
}
