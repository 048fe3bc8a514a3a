package listing

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What is published passes one place, whatever makes it: time, evidence, an
// exemption that begins or ends, a configuration at a start or a reload, or an
// order. Only what an operator ordered, and so saw the extent of, may make more
// listings come or go than the bound on endings.
//
// What would, and was not ordered, is not done. What has its time waits for the
// brake on expiry, which looks ahead so that no part of it is done either; what
// the configuration exempts stays as it was, and waits for the brake on
// publication; imports of exemptions and relays are refused.

// ErrBrake is why a change that nobody ordered in so many words is not made.
var ErrBrake = errors.New("it waits for an operator")

// heldError is a publication that was not made.
type heldError struct{ gone, come, list int }

// Error says how large it would have been.
func (e *heldError) Error() string {
	return fmt.Sprintf("%d of %d listings would go and %d come, all at once: %s", e.gone, e.list, e.come, ErrBrake)
}

// Unwrap returns what callers branch on.
func (e *heldError) Unwrap() error { return ErrBrake }

// endings is how many listings may come or go at once without an operator's order.
func (b Brakes) endings(list uint64) int { return bound(b.Endings, b.EndingsShare, list) }

// mayPublish is the place that every publication passes, before the list is as it
// says.
func (c *change) mayPublish() error {
	bounds := c.settings.Brakes
	limit := bounds.endings(c.meta.Entries)
	if c.ordered || bounds.Endings == 0 || max(len(c.removed), len(c.added)) <= limit {
		return nil
	}
	// What an exemption left of a prefix has not come, nor has what is whole again gone.
	held := &heldError{gone: len(c.removed) - inside(c.removed, c.added), come: len(c.added) - inside(c.added, c.removed), list: int(c.meta.Entries)}
	if max(held.gone, held.come) <= limit {
		return nil
	}
	return held
}

// inside counts the entries of a list that lie in one of another, both sorted and
// without overlaps.
func inside(inner, outer []Entry) (n int) {
	var last Entry // that begins no later
	for _, e := range inner {
		for len(outer) > 0 && compareEntries(outer[0], e) <= 0 {
			last, outer = outer[0], outer[1:]
		}
		if last.Prefix.IsValid() && covers(last.Prefix, e.Prefix) {
			n++
		}
	}
	return n
}

// stall puts the brake on expiry, for what would have come or gone.
func (e *heldError) stall(c *change) error {
	c.brakes.Stalled, c.brakes.Due, c.brakes.List = c.now, max(e.gone, e.come), e.list
	c.stale = true
	why := fmt.Sprintf("expiry waits: %d or more listings would come or go at once, of %d", c.brakes.Due, c.brakes.List)
	c.log.Error("a brake is on; check the clock, then 'backscatter resume' lets them", slog.String("why", why), slog.Time("clock", c.now))
	c.note(AuditEntry{Action: ActionBrake, By: Actor{UID: -1, Name: actorExpiry}, Reason: why})
	return nil
}

// withhold puts the brake on publication: what the configuration exempts, and what
// it does not any more, waits.
func (e *heldError) withhold(c *change, o Order) {
	b := &c.brakes
	first := b.Withheld.IsZero()
	b.Gone, b.Come, b.Of = e.gone, e.come, e.list
	if !first {
		return
	}
	b.Withheld = c.now
	why := fmt.Sprintf("what the configuration exempts waits: %d of %d listings would go and %d come at once", e.gone, e.list, e.come)
	c.log.Error("a brake is on; 'backscatter resume' lifts it", slog.String("why", why))
	c.note(AuditEntry{Action: ActionBrake, By: o.By, Reason: why})
}

// publish lifts the brake on publication.
func (b *brakes) publish() { b.Withheld, b.Gone, b.Come, b.Of = time.Time{}, 0, 0, 0 }

// moves returns how many listings go or come by what an entry of the index is
// about, and no more than it takes to know that they are more than most.
func (w *writer) moves(tx *bolt.Tx, lex *lexicon, key []byte, most int) (int, error) {
	entry, ok := wakeOf(key)
	if ok && entry.kind == wakeExemption {
		return w.comeBack(tx, lex, entry.p, most)
	}
	if !ok {
		return 0, nil
	}
	r, err := indexed(tx, lex, entry)
	switch {
	case errors.Is(err, ErrDamaged): // that is told when its time has come
		return 0, nil
	case err != nil || r == nil:
		return 0, err
	}
	if at := w.survey.until; r.listed() && !r.until().IsZero() && !r.until().After(at) {
		return 1, nil
	}
	return 0, nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// comeBack counts what an exemption hides that ends, and none of those that do not.
func (w *writer) comeBack(tx *bolt.Tx, lex *lexicon, p netip.Prefix, most int) (n int, err error) {
	if w.survey.left == nil {
		w.survey.left = new(state)
		for _, x := range w.state.exempt {
			if x.BuiltIn || x.Active(w.survey.until) {
				w.survey.left.exempt = append(w.survey.left.exempt, x)
			}
		}
		w.survey.left.findHoles()
	}
	err = recordsBy(tx, lex, p, func(r *record) error {
		if _, exempt := w.survey.left.exemption(r.Key.Prefix()); exempt || !r.listed() {
			return nil
		}
		if n++; n > most {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || errors.Is(err, ErrDamaged) { // that is told when its time has come
		err = nil
	}
	return n, err
}
