package listing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of what one order may carry.
const (
	maxReason = 1000
	maxItems  = 1_000_000
)

// RefusedError is an order that was not done, with everything that speaks
// against it. It wraps what each part was refused for.
type RefusedError struct {
	Order    string
	Problems []Problem
	causes   []error
}

// Error names the first few problems.
func (e *RefusedError) Error() string {
	const shown = 3
	var b strings.Builder
	fmt.Fprintf(&b, "%s refused, nothing was changed: ", e.Order)
	for i, p := range e.Problems[:min(len(e.Problems), shown)] {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", p.Key, p.Why)
	}
	if more := len(e.Problems) - shown; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

// Unwrap returns the sentinel errors of the problems, each once.
func (e *RefusedError) Unwrap() []error { return e.causes }

// refusals gathers what is wrong with an order.
type refusals struct{ RefusedError }

func (r *refusals) add(key fmt.Stringer, cause error, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	r.Problems = append(r.Problems, Problem{Key: key.String(), Why: why})
	if cause != nil && !slices.Contains(r.causes, cause) {
		r.causes = append(r.causes, cause)
	}
}

func (r *refusals) err(order string) error {
	if len(r.Problems) == 0 {
		return nil
	}
	r.Order = order
	return &r.RefusedError
}

// order has fn run as a transaction of its own.
func (s *Store) order(ctx context.Context, name string, o Order, items int, fn func(*change) ([]Problem, error)) (Result, error) {
	if err := checkOrder(name, o, items); err != nil {
		return Result{}, err
	}
	var skipped []Problem
	p, err := s.do(ctx, &request{large: items >= bulk, order: func(c *change) (err error) {
		c.ordered = true
		if skipped, err = fn(c); err == nil && o.DryRun {
			return errDryRun
		}
		return err
	}})
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return Result{DryRun: o.DryRun}, err // which says what was refused
	}
	if held, ok := errors.AsType[*heldError](err); ok {
		return Result{DryRun: o.DryRun}, fmt.Errorf("%s: %w; nothing was changed; %s", name, err, held.advice())
	}
	if err != nil {
		return Result{DryRun: o.DryRun}, fmt.Errorf("%s: %w", name, err)
	}
	r := p.change.result(o)
	r.Skipped = skipped
	return r, nil
}

// checkOrder wants what every order has.
func checkOrder(name string, o Order, items int) error {
	switch {
	case strings.TrimSpace(o.Reason) == "":
		return fmt.Errorf("%s: %w", name, ErrNoReason)
	case len(o.Reason) > maxReason:
		return fmt.Errorf("%s: the reason has %d bytes, want at most %d", name, len(o.Reason), maxReason)
	case items > maxItems:
		return fmt.Errorf("%s: %d at once, want at most %d", name, items, maxItems)
	}
	return nil
}

// List lists keys by an operator's word, all of them or, with a
// [RefusedError], none. A key that an operator lists already gets the new end
// and reason.
func (s *Store) List(ctx context.Context, o Order, keys []Manual) (Result, error) {
	byKey := func(a, b Manual) int { return a.Key.Compare(b.Key) }
	if !slices.IsSortedFunc(keys, byKey) {
		keys = slices.Clone(keys)
		slices.SortStableFunc(keys, byKey)
	}
	return s.order(ctx, "list", o, len(keys), func(c *change) ([]Problem, error) { return c.list(o, keys) })
}

func (c *change) list(o Order, keys []Manual) (skipped []Problem, err error) {
	var refused refusals
	var top, last Key
	prefixes := make([]netip.Prefix, 0, len(keys)) // of those to list
	for _, m := range keys {
		if !m.Key.IsValid() {
			refused.add(m.Key, ErrKey, "%s", ErrKey)
			continue
		}
		if m.Key == last {
			skipped = append(skipped, Problem{Key: m.Key.String(), Why: "is there more than once"})
			continue
		}
		last = m.Key
		if top.IsValid() && top.Covers(m.Key) {
			refused.add(m.Key, ErrOverlap, "lies in %s, which is to be listed too", top)
			continue
		}
		top = m.Key
		if err := c.refuseListing(m, &refused); err != nil {
			return nil, err
		}
		prefixes = append(prefixes, m.Key.Prefix())
	}
	if err := refused.err("list"); err != nil {
		return nil, err
	}
	c.dirty = slices.Grow(c.dirty, len(prefixes))
	last = Key{}
	for _, m := range keys {
		if m.Key == last {
			continue
		}
		last = m.Key
		if err := c.listOne(o, m); err != nil {
			return nil, err
		}
	}
	if len(prefixes) > 0 {
		c.note(AuditEntry{Action: ActionList, By: o.By, Reason: o.Reason, Prefixes: prefixes})
	}
	return slices.Compact(skipped), nil
}

// refuseListing notes what speaks against one listing.
func (c *change) refuseListing(m Manual, refused *refusals) error {
	if !m.Until.IsZero() && !m.Until.After(c.now) {
		refused.add(m.Key, nil, "is to end at %s, which is past", m.Until.UTC().Format(time.RFC3339))
		return nil
	}
	if x, exempt := c.exemption(m.Key.Prefix()); exempt {
		refused.add(m.Key, ErrExempt, "is exempt with %s: %s", x.Prefix, x.Reason)
		return nil
	}
	wider, err := c.covering(m.Key.Prefix())
	if err != nil {
		return err
	}
	if wider != nil && wider.Key != m.Key {
		refused.add(m.Key, ErrOverlap, "lies in %s, which is listed: %s", wider.Key, wider.Manual.Reason)
		return nil
	}
	if m.Key.IsHost() {
		return nil
	}
	return records(c.tx, m.Key.Prefix(), func(r *record) error {
		if r.Manual != nil && r.Key != m.Key {
			refused.add(m.Key, ErrOverlap, "holds %s, which is listed: %s", r.Key, r.Manual.Reason)
		}
		return nil
	})
}

func (c *change) listOne(o Order, m Manual) error {
	r, err := c.record(m.Key)
	if err != nil {
		return err
	}
	at := c.now
	if r.Manual != nil {
		at = r.Manual.At
	}
	r.Manual = &manualPart{At: at, Until: m.Until.UTC().Truncate(time.Second), Reason: o.Reason, By: o.By.String()}
	if m.Until.IsZero() {
		r.Manual.Until = time.Time{}
	}
	r.refresh()
	return c.save(r)
}

// String names the actor as a record or an exemption keeps it.
func (a Actor) String() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.UID >= 0:
		return fmt.Sprintf("uid %d", a.UID)
	default:
		return "unknown"
	}
}

// Delist ends listings, whatever made them. What evidence there is until now
// never counts again. With a hold, evidence does not list the keys again before
// it is over. Keys that are not listed are skipped, and an error, [ErrNotListed],
// when there is no other; a hold is set for them all the same.
func (s *Store) Delist(ctx context.Context, o Order, keys []Key, hold time.Duration) (Result, error) {
	if hold < 0 {
		return Result{}, fmt.Errorf("delist: hold of %s: want 0 or more", hold)
	}
	keys = slices.Clone(keys)
	slices.SortFunc(keys, Key.Compare)
	keys = slices.Compact(keys)
	return s.order(ctx, "delist", o, len(keys), func(c *change) ([]Problem, error) { return c.delist(o, keys, hold) })
}

func (c *change) delist(o Order, keys []Key, hold time.Duration) ([]Problem, error) {
	var absent refusals
	var prefixes []netip.Prefix
	for _, k := range keys {
		if !k.IsValid() {
			return nil, ErrKey
		}
		r, err := c.record(k)
		if err != nil {
			return nil, err
		}
		wider, err := c.covering(k.Prefix())
		if err != nil {
			return nil, err
		}
		if wider != nil && wider.Key != k {
			absent.add(k, ErrNotListed, "lies in %s, which is listed and stays so", wider.Key)
		} else if !r.listed() {
			absent.add(k, ErrNotListed, "%s", ErrNotListed)
		}
		if !r.listed() && hold == 0 {
			continue
		}
		if err := c.delistOne(o, r, hold); err != nil {
			return nil, err
		}
		prefixes = append(prefixes, k.Prefix())
	}
	if len(prefixes) == 0 {
		return nil, absent.err("delist")
	}
	c.note(AuditEntry{Action: ActionDelist, By: o.By, Reason: o.Reason, Prefixes: prefixes})
	return absent.Problems, nil
}

func (c *change) delistOne(o Order, r *record, hold time.Duration) error {
	r.end(ByEvidence|ByOperator, c.now, Delisted, o.Reason)
	r.CountFrom = c.now
	if r.Last.After(c.now) { // the clock was ahead
		r.CountFrom = r.Last
	}
	if hold > 0 {
		r.Hold = c.now.Add(hold).Truncate(time.Second)
	}
	r.refresh()
	return c.save(r)
}
