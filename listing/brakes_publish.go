package listing

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Only what an operator ordered, and so saw the extent of, may make more listings come
// or go at once than the bound on endings. Each of the ways in which they do otherwise
// is counted before it is gone, by listing and not by the pieces that exemptions leave
// of one:
//
//   - What evidence would list beyond its bounds is held back, key by key: see
//     [change.mayList]. What was reported is stored all the same.
//   - What has its time, exemptions included, is looked for ahead: see
//     [writer.mayEnd]. All of it waits, or none.
//   - Exemptions that are imported, or relays, are refused; those of the configuration
//     wait: see [change.exemptionsChanged].
//
// A zone that the configuration has carry other classes is none of these, for what is
// listed stays listed: the daemon asks [Brakes.MayMove] and refuses the reload.

// ErrBrake is why a change that nobody ordered in so many words is not made.
var ErrBrake = errors.New("it waits for an operator")

// heldError is a publication that was not made.
type heldError struct{ gone, come, list int }

// String says how large it would have been.
func (e *heldError) String() string {
	var parts []string
	if e.gone > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d listings would go", e.gone, e.list))
	}
	if e.come > 0 {
		parts = append(parts, fmt.Sprintf("%d would come back", e.come))
	}
	return strings.Join(parts, " and ") + " at once"
}

// Error says so, and who can let it.
func (e *heldError) Error() string { return e.String() + ": " + ErrBrake.Error() }

// Unwrap returns what callers branch on.
func (e *heldError) Unwrap() error { return ErrBrake }

// advice is what to do when that is meant: an operator's own word on exemptions is
// not braked.
func (e *heldError) advice() string {
	const own = "if that is meant, exempt %s by your own word ('backscatter exempt @FILE'), then order this again"
	if e.come > e.gone {
		return fmt.Sprintf(own+", and lift that ('backscatter exempt --remove @FILE')", "what would come back")
	}
	return fmt.Sprintf(own, "the prefixes")
}

// endings is how many listings may come or go at once without an operator's order.
func (b Brakes) endings(list uint64) int { return bound(b.Endings, b.EndingsShare, list) }

// Recarried counts the listings that a zone carries, and how many of them would go and
// how many others come if it carried other classes.
func (s *Snapshot) Recarried(was, is ClassSet) (carried, gone, come int) {
	for e := range s.All() {
		switch before, after := e.ClassIn(was) != ClassOther, e.ClassIn(is) != ClassOther; {
		case before && !after:
			carried, gone = carried+1, gone+1
		case before:
			carried++
		case after:
			come++
		}
	}
	return carried, gone, come
}

// MayMove reports whether so many of a list may come or go at once without an
// operator's order.
func (b Brakes) MayMove(n, list int) bool { return b.Endings == 0 || n <= b.endings(uint64(list)) }

// mayExempt counts what changes by other exemptions in some prefixes, when that was
// not ordered.
func (c *change) mayExempt(prefixes, before []netip.Prefix) error {
	bounds := c.settings.Brakes
	if c.ordered || bounds.Endings == 0 {
		return nil
	}
	var all moves
	for _, region := range Regions(slices.Clone(prefixes), c.widest) {
		if err := all.count(c.tx, c.lex, region, before, c.holes); err != nil {
			return err
		}
	}
	if max(all.gone, all.come) <= bounds.endings(c.meta.Entries) {
		return nil
	}
	return &heldError{gone: all.gone, come: all.come, list: int(c.meta.Entries)}
}

// moves is how many listings go and come: each counts once, however many pieces of
// it are published, and while any is, it is there.
type moves struct {
	gone, come int
	enough     int // that came; 0: all are counted
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// count adds what other exemptions change inside a region.
func (m *moves) count(tx *bolt.Tx, lex *lexicon, region netip.Prefix, before, after []netip.Prefix) error {
	var top netip.Prefix // the newest listing that no other covers
	err := recordsBy(tx, lex, region, func(r *record) error {
		p := r.Key.Prefix()
		if !r.listed() || top.IsValid() && covers(top, p) {
			return nil
		}
		top = p
		switch was, is := hidden(p, before), hidden(p, after); {
		case is && !was:
			m.gone++
		case was && !is:
			if m.come++; m.come == m.enough {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// hidden reports whether holes, sorted and without overlaps, leave nothing of p.
func hidden(p netip.Prefix, holes []netip.Prefix) bool {
	i, exact := slices.BinarySearchFunc(holes, p, ComparePrefix)
	if exact || i > 0 && covers(holes[i-1], p) {
		return true
	}
	n := i
	for n < len(holes) && covers(p, holes[n]) {
		n++
	}
	return n > i && len(subtract(nil, p, holes[i:n])) == 0
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
	why := "what the configuration exempts waits: " + e.String()
	c.log.Error("a brake is on; 'backscatter resume' lifts it", slog.String("why", why))
	c.note(AuditEntry{Action: ActionBrake, By: o.By, Reason: why})
}

// publish lifts the brake on publication.
func (b *brakes) publish() { b.Withheld, b.Gone, b.Come, b.Of = time.Time{}, 0, 0, 0 }

// Withheld is an exemption of the configuration that is not in force yet, or one that
// is in force still, while the brake on publication is on.
type Withheld struct {
	Prefix netip.Prefix `json:"prefix"`
	Reason string       `json:"reason"`
	Lifted bool         `json:"lifted,omitempty"` // it is to end
}

// maxWithheld bounds how many of them are told.
const maxWithheld = 1000

// withheld returns what waits, in the order of the prefixes, and how much there is more.
func (st *state) withheld(settings *Settings) (out []Withheld, more int) {
	inForce := make(map[netip.Prefix]bool)
	for _, x := range st.exempt {
		if x.BuiltIn {
			inForce[x.Prefix] = true
		}
	}
	wanted := make(map[netip.Prefix]bool)
	for _, x := range st.builtIn(settings) {
		if wanted[x.Prefix] = true; !inForce[x.Prefix] {
			out = append(out, Withheld{Prefix: x.Prefix, Reason: x.Reason})
		}
	}
	for _, x := range st.exempt {
		if x.BuiltIn && !wanted[x.Prefix] {
			out = append(out, Withheld{x.Prefix, x.Reason, true})
		}
	}
	slices.SortFunc(out, func(a, b Withheld) int { return ComparePrefix(a.Prefix, b.Prefix) })
	told := min(len(out), maxWithheld)
	return out[:told], len(out) - told
}

// dueBy returns how many listings go or come by what an entry of the index is about,
// and no more than are enough to know.
func (w *writer) dueBy(tx *bolt.Tx, lex *lexicon, key []byte, enough int) (int, error) {
	entry, ok := wakeOf(key)
	if !ok {
		return 0, nil
	}
	n, err := 0, error(nil)
	if entry.kind == wakeExemption {
		n, err = w.comeBack(tx, lex, entry.p, enough)
	} else if wide, _ := widest(tx, &w.state.meta.Widths, entry.p); wide == entry.p && !hidden(entry.p, w.state.holes) { // else it is not published
		n, err = w.goes(tx, lex, entry)
	}
	if errors.Is(err, ErrDamaged) { // that is told when its time has come
		err = nil
	}
	return n, err
}

// goes counts a listing that ends.
func (w *writer) goes(tx *bolt.Tx, lex *lexicon, entry wake) (int, error) {
	r, err := indexed(tx, lex, entry)
	if err != nil || r == nil || !r.listed() || r.until().IsZero() || r.until().After(w.survey.until) {
		return 0, err
	}
	return 1, nil
}

// comeBack counts what an exemption hides that ends, and none of those that do not. What
// ends in a wider one that ends too counts there.
func (w *writer) comeBack(tx *bolt.Tx, lex *lexicon, p netip.Prefix, enough int) (int, error) {
	s := &w.survey
	if !s.sorted {
		s.sorted = true
		var ends, stay []Exemption
		for _, x := range w.state.exempt {
			if x.BuiltIn || x.Active(s.until) {
				stay = append(stay, x)
			} else {
				ends = append(ends, x)
			}
		}
		s.ends, s.left = holesOf(ends), holesOf(stay)
	}
	if _, outermost := slices.BinarySearchFunc(s.ends, p, ComparePrefix); !outermost {
		return 0, nil
	}
	if wide, ok := widest(tx, &w.state.meta.Widths, p); ok {
		p = wide
	}
	m := moves{enough: enough}
	err := m.count(tx, lex, p, w.state.holes, s.left)
	return m.come, err
}
