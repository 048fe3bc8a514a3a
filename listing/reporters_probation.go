package listing

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Probation is what a reporter that is enrolled by command counts for while nobody
// knows yet how good its word is. It ends by itself, or when others saw what it saw:
// enough organisations that are past theirs, and not its own, reported enough of the
// sources that it reported before anybody could read of them in the list.
type Probation struct {
	Factor        float64       `json:"factor"`        // of its weight
	For           time.Duration `json:"for"`           // 0: there is no probation
	Organisations int           `json:"organisations"` // that must confirm a source
	Sources       int           `json:"sources"`       // that must be confirmed
}

// DefaultProbation returns what a configuration starts from.
func DefaultProbation() Probation {
	return Probation{Factor: 0.25, For: 30 * 24 * time.Hour, Organisations: 2, Sources: 3}
}

// maxConfirmed bounds the sources that a probation can ask for.
const maxConfirmed = 10_000

// Validate reports everything that is wrong with it.
func (p Probation) Validate() error {
	if p == (Probation{}) {
		return nil // none
	}
	var errs []error
	if !(p.Factor >= 0 && p.Factor <= 1) { // NaN is neither
		errs = append(errs, fmt.Errorf("factor %s: want 0 to 1", decimal(p.Factor)))
	}
	if p.For < 0 || p.For > maxPeriod {
		errs = append(errs, fmt.Errorf("for %s: want 0 (none) to %s", words(p.For), words(maxPeriod)))
	}
	if p.Organisations < 1 || p.Organisations > maxCount {
		errs = append(errs, fmt.Errorf("organisations %d: want 1 to %d", p.Organisations, maxCount))
	}
	if p.Sources < 1 || p.Sources > maxConfirmed {
		errs = append(errs, fmt.Errorf("sources %d: want 1 to %d", p.Sources, maxConfirmed))
	}
	return errors.Join(errs...)
}

// testimony is who reported a key, by evidence that counts or did.
type testimony struct {
	first map[string]time.Time // by reporter
	known map[string]bool      // organisations whose word is known
}

// testimonyOf reads what is kept of a key from a moment on.
func (c *change) testimonyOf(r *record, from time.Time) testimony {
	t := testimony{first: make(map[string]time.Time), known: make(map[string]bool)}
	exempt, history, policy := c.exemptHosts(r.Key), r.history(nil), c.settings.Policy
	observations(c.tx, c.log, r.Key, from, decodeForRule, func(o Observation) bool {
		if !exempt(o.Addr) && policy.counts(o.Evidence(1), history, o.At) {
			t.first[o.Reporter] = o.At // newest first: the last is the oldest
		}
		return true
	})
	for name := range t.first {
		if e := c.enrolment(c.settings, name, c.now); e != nil && e.Probation.IsZero() && e.Effective > 0 {
			t.known[e.Organisation] = true
		}
	}
	return t
}

// confirms reports whether enough others reported the source that a reporter did,
// which had not read of it in the list.
func (t testimony) confirms(r *record, e *Enrolment, wanted int) bool {
	first, reported := t.first[e.Name]
	if listed := r.firstListed(); !reported || !listed.IsZero() && first.After(listed) {
		return false
	}
	others := len(t.known)
	if t.known[e.Organisation] {
		others--
	}
	return others >= wanted
}

// firstListed returns when the key was listed first, as far as is known; zero: never.
func (r *record) firstListed() time.Time {
	if len(r.Past) > 0 {
		return r.Past[0].Listed
	}
	return r.since()
}

// agree notes whose reports of a source others confirm, and ends the probation of who
// has enough of them.
func (c *change) agree(r *record) error {
	var fresh []Enrolment
	for name := range c.reporters {
		e := c.enrolment(c.settings, name, c.now)
		if e != nil && !e.Probation.IsZero() && e.Suspended.IsZero() && !slices.Contains(e.Confirmed, r.Key.Prefix()) {
			fresh = append(fresh, *e)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.SortFunc(fresh, func(a, b Enrolment) int { return strings.Compare(a.Name, b.Name) })
	t := c.testimonyOf(r, c.now.Add(-c.settings.Policy.Window))
	for _, e := range fresh {
		if !t.confirms(r, &e, c.settings.Probation.Organisations) {
			continue
		}
		stored := c.reporters[e.Name]
		stored.Confirmed = append(slices.Clone(stored.Confirmed), r.Key.Prefix())
		if len(stored.Confirmed) >= c.settings.Probation.Sources {
			stored.Agreed = c.now
			why := fmt.Sprintf("others reported %d sources that it had reported: its probation is over", len(stored.Confirmed))
			if err := c.noteAgreement(&stored, why); err != nil {
				return err
			}
		}
		if err := c.putReporter(stored); err != nil {
			return err
		}
	}
	return nil
}

// disagree takes back what a source confirmed, where that rested on evidence which was
// withdrawn since.
func (c *change) disagree(r *record) error {
	p := r.Key.Prefix()
	var leaned []Enrolment
	for _, e := range c.reporters {
		if slices.Contains(e.Confirmed, p) {
			leaned = append(leaned, e)
		}
	}
	if len(leaned) == 0 {
		return nil
	}
	slices.SortFunc(leaned, func(a, b Enrolment) int { return strings.Compare(a.Name, b.Name) })
	t := c.testimonyOf(r, time.Time{})
	for _, e := range leaned {
		if t.confirms(r, &e, c.settings.Probation.Organisations) {
			continue
		}
		e.Confirmed = slices.DeleteFunc(slices.Clone(e.Confirmed), func(q netip.Prefix) bool { return q == p })
		if !e.Agreed.IsZero() && len(e.Confirmed) < c.settings.Probation.Sources {
			e.Agreed = time.Time{}
			if err := c.noteAgreement(&e, "what others had reported of "+r.Key.String()+" was withdrawn: its probation goes on"); err != nil {
				return err
			}
		}
		if err := c.putReporter(e); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) noteAgreement(e *Enrolment, why string) error {
	text, err := detail(map[string]any{"reporter": e.Name, "sources": e.Confirmed})
	if err != nil {
		return err
	}
	c.note(AuditEntry{Action: ActionAgree, By: Actor{UID: -1, Name: actorEvidence}, Detail: text, Reason: why})
	return nil
}
