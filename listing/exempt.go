package listing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// exemptKey is the key of an exemption. What is built in and what an operator
// set stand beside each other.
func exemptKey(p netip.Prefix, builtIn bool) []byte {
	key := prefixKey(p)
	kind := byte(0)
	if builtIn {
		kind = 1
	}
	return append(key, kind)
}

// allExemptions reads every exemption in the order of their prefixes.
func allExemptions(tx *bolt.Tx) ([]Exemption, error) {
	var broken []error
	out, err := exemptions(tx, func(_ Exemption, err error) { broken = append(broken, err) })
	return out, errors.Join(append(broken, err)...)
}

// exemptions reads every exemption that can be read, and tells of the others.
func exemptions(tx *bolt.Tx, broken func(Exemption, error)) ([]Exemption, error) {
	out := []Exemption{}
	err := tx.Bucket(bucketExempt).ForEach(func(key, value []byte) error {
		x, err := decodeExemption(key, value)
		if err != nil {
			broken(x, err)
			return nil
		}
		out = append(out, x)
		return nil
	})
	slices.SortStableFunc(out, func(a, b Exemption) int { return ComparePrefix(a.Prefix, b.Prefix) })
	return out, err
}

// readExemptions brings the state in line with the bucket.
func (st *state) readExemptions(tx *bolt.Tx) error {
	var err error
	if st.exempt, err = allExemptions(tx); err != nil {
		return err
	}
	st.findHoles()
	return nil
}

// findHoles brings what is searched in line with the exemptions. Of a list that
// has ended, nothing is published.
func (st *state) findHoles() {
	if !st.ended.At.IsZero() {
		st.holes = []netip.Prefix{all4, all6}
		return
	}
	st.holes = holesOf(st.exempt)
}

// holesOf returns what is exempt, without overlaps.
func holesOf(exempt []Exemption) []netip.Prefix {
	holes := make([]netip.Prefix, 0, len(exempt))
	for _, x := range exempt {
		holes = append(holes, x.Prefix)
	}
	return disjoint(holes)
}

// exemption returns what exempts the whole of p, the narrowest of several. An
// exemption whose end has come holds until the writer takes it out.
func (st *state) exemption(p netip.Prefix) (Exemption, bool) {
	// Of disjoint prefixes only the last that begins at or before p can hold it.
	i, exact := slices.BinarySearchFunc(st.holes, p, ComparePrefix)
	if !exact {
		i--
	}
	if i < 0 || !covers(st.holes[i], p) {
		return Exemption{}, false
	}
	var found Exemption
	for _, x := range st.exempt {
		if x.Prefix.Addr().Compare(p.Addr()) > 0 {
			break
		}
		if covers(x.Prefix, p) && (!found.Prefix.IsValid() || x.Prefix.Bits() > found.Prefix.Bits()) {
			found = x
		}
	}
	return found, found.Prefix.IsValid()
}

// Exemptions returns all exemptions in the order of their prefixes, the
// built-in ones included.
func (s *Store) Exemptions() (out []Exemption, err error) {
	err = s.view(func(tx *bolt.Tx, _ time.Time) error {
		out, err = allExemptions(tx)
		return err
	})
	return out, err
}

// Exempt sets exemptions, or replaces those of the same prefixes: all of them
// or, with a [RefusedError], none. They hide what is listed at once.
func (s *Store) Exempt(ctx context.Context, o Order, list []Exemption) (Result, error) {
	list = slices.Clone(list)
	return s.order(ctx, "exempt", o, len(list), func(c *change) ([]Problem, error) {
		// What others put into a file is not an operator's own word.
		c.ordered = !slices.ContainsFunc(list, func(x Exemption) bool { return x.Observe })
		var refused refusals
		prefixes := make([]netip.Prefix, 0, len(list))
		for i := range list {
			x := &list[i]
			x.Reason = cmp.Or(strings.TrimSpace(x.Reason), o.Reason)
			x.By, x.At, x.BuiltIn = o.By.String(), c.now, false
			if !x.Until.IsZero() {
				x.Until = x.Until.UTC().Truncate(time.Second)
			}
			switch err := x.Validate(); {
			case err != nil:
				refused.add(x.Prefix, ErrPrefix, "%s", err)
			case x.Prefix.Bits() == 0:
				refused.add(x.Prefix, ErrPrefix, "is the whole Internet")
			case len(x.Reason) > maxReason:
				refused.add(x.Prefix, nil, "the reason has %d bytes, want at most %d", len(x.Reason), maxReason)
			case !x.Active(c.now):
				refused.add(x.Prefix, nil, "is to end at %s, which is past", x.Until.Format(time.RFC3339))
			}
			prefixes = append(prefixes, x.Prefix)
		}
		if err := refused.err("exempt"); err != nil {
			return nil, err
		}
		skipped, err := c.exemptAll(list)
		if err != nil || len(skipped) == len(list) {
			return skipped, err
		}
		c.note(AuditEntry{Action: ActionExempt, By: o.By, Reason: o.Reason, Prefixes: prefixes})
		return skipped, c.exemptionsChanged(prefixes)
	})
}

// exemptAll sets exemptions. One that was imported takes the place of no
// operator's own word.
func (c *change) exemptAll(list []Exemption) (skipped []Problem, err error) {
	own := make(map[netip.Prefix]string)
	for _, x := range c.exempt {
		if !x.BuiltIn && !x.Observe {
			own[x.Prefix] = x.Reason
		}
	}
	for i := range list {
		x := &list[i]
		if why, ok := own[x.Prefix]; ok && x.Observe {
			skipped = append(skipped, Problem{Key: x.Prefix.String(), Why: "is exempt by an operator's own word: " + why})
			continue
		}
		if err := c.putExemption(x); err != nil {
			return nil, err
		}
	}
	return skipped, nil
}

// exemptionsChanged has what is published in the prefixes looked at again, if no more
// changes by that than may.
func (c *change) exemptionsChanged(prefixes []netip.Prefix) error {
	c.wrote, c.stale = true, true
	c.dirty = append(c.dirty, prefixes...)
	before := c.holes
	if err := c.readExemptions(c.tx); err != nil {
		return err
	}
	return c.mayExempt(prefixes, before)
}

func (c *change) putExemption(x *Exemption) error {
	if err := c.dropExemption(x.Prefix, x.BuiltIn); err != nil {
		return err
	}
	key := exemptKey(x.Prefix, x.BuiltIn)
	if err := c.bucket(bucketExempt).Put(key, encodeExemption(key, x)); err != nil {
		return fmt.Errorf("write exemption %s: %w", x.Prefix, err)
	}
	if x.Until.IsZero() || x.BuiltIn {
		return nil
	}
	return c.wakeAt(x.Until, x.Prefix, wakeExemption)
}

// dropExemption takes out an exemption, if there is one, and its place in the
// expiry index.
func (c *change) dropExemption(p netip.Prefix, builtIn bool) error {
	b := c.bucket(bucketExempt)
	key := exemptKey(p, builtIn)
	value := b.Get(key)
	if value == nil {
		return nil
	}
	old, err := decodeExemption(key, value)
	if err != nil {
		return err
	}
	if !old.Until.IsZero() {
		if err := c.bucket(bucketExpiry).Delete(wakeKey(old.Until, p, wakeExemption)); err != nil {
			return fmt.Errorf("index exemption %s: %w", p, err)
		}
	}
	if err := b.Delete(key); err != nil {
		return fmt.Errorf("drop exemption %s: %w", p, err)
	}
	return nil
}

// endExemption takes out an exemption whose end has come, and returns its
// prefix if there is such a one. What it hid is up to [change.lifted].
func (c *change) endExemption(p netip.Prefix) (netip.Prefix, error) {
	key := exemptKey(p, false)
	value := c.bucket(bucketExempt).Get(key)
	if value == nil {
		return netip.Prefix{}, nil
	}
	x, err := decodeExemption(key, value)
	if err != nil || x.Active(c.now) {
		return netip.Prefix{}, err
	}
	return p, c.dropExemption(p, false)
}

// lifted has what operators' exemptions hid that were taken out looked at again. It
// reads none of the others: there may be very many.
func (c *change) lifted(gone []netip.Prefix) {
	if len(gone) == 0 {
		return
	}
	c.wrote, c.stale = true, true
	c.dirty = append(c.dirty, gone...)
	lifted := make(map[netip.Prefix]bool, len(gone))
	for _, p := range gone {
		lifted[p] = true
	}
	// The former is that of the state in force.
	c.exempt = slices.DeleteFunc(slices.Clone(c.exempt), func(x Exemption) bool { return !x.BuiltIn && lifted[x.Prefix] })
	c.findHoles()
}

// Unexempt lifts exemptions, all of them or none. What is listed still is
// published again.
func (s *Store) Unexempt(ctx context.Context, o Order, list []netip.Prefix) (Result, error) {
	list = slices.Clone(list)
	slices.SortFunc(list, ComparePrefix)
	list = slices.Compact(list)
	return s.order(ctx, "unexempt", o, len(list), func(c *change) ([]Problem, error) {
		var refused refusals
		b := c.bucket(bucketExempt)
		for _, p := range list {
			switch {
			case !p.IsValid():
				refused.add(p, ErrPrefix, "%s", ErrPrefix)
			case b.Get(exemptKey(p, false)) != nil:
			case b.Get(exemptKey(p, true)) != nil:
				refused.add(p, ErrNotExempt, "is exempt by the program, its configuration or a reporter's relays, not by an operator")
			default:
				refused.add(p, ErrNotExempt, "%s; 'backscatter exempt' prints those that there are", ErrNotExempt)
			}
		}
		if err := refused.err("exempt --remove"); err != nil {
			return nil, err
		}
		for _, p := range list {
			if err := c.dropExemption(p, false); err != nil {
				return nil, err
			}
		}
		c.note(AuditEntry{Action: ActionUnexempt, By: o.By, Reason: o.Reason, Prefixes: list})
		return nil, c.exemptionsChanged(list)
	})
}

// Apply puts other settings in force. What is listed stays listed: another
// policy decides on what comes from now on; exemptions, the horizon and the
// published settings take effect at once. But exemptions that more listings would
// come or go by than the brakes allow wait for [Store.Resume], and are told as
// skipped.
func (s *Store) Apply(ctx context.Context, o Order, settings Settings) (Result, error) {
	if err := settings.Validate(); err != nil {
		return Result{}, fmt.Errorf("apply settings: %w", err)
	}
	apply := func(held *heldError) (Result, error) {
		return s.order(ctx, "apply settings", o, 1, func(c *change) ([]Problem, error) {
			c.ordered = false // who asked may not know what follows from it
			return nil, c.apply(o, settings, held)
		})
	}
	done, err := apply(nil)
	held, ok := errors.AsType[*heldError](err)
	if !ok {
		return done, err
	}
	if done, err = apply(held); err == nil {
		done.Skipped = append(done.Skipped, Problem{Key: "what is exempt now", Why: held.Error()})
	}
	return done, err
}

// applied is what the audit keeps of settings: the rule that decided from then on.
type applied struct {
	Policy
	Reporters []Reporter `json:"reporters"`
}

// apply leaves the database alone when nothing differs from what was applied
// last. With what a brake held of it, what is published stays as it is.
func (c *change) apply(o Order, settings Settings, held *heldError) error {
	c.settings = &settings
	c.weigh = c.weigher(c.settings, c.now)
	text, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("apply settings: %w", err)
	}
	digest := sha256.Sum256(text)
	if digest != c.meta.Settings || settings.Published != c.meta.Published {
		c.cut = settings.Published != c.meta.Published
		c.meta.Settings, c.meta.Published = digest, settings.Published
		rule, err := detail(applied{settings.Policy, settings.Reporters})
		if err != nil {
			return err
		}
		c.note(AuditEntry{Action: ActionApply, By: o.By, Reason: o.Reason, Detail: rule})
	}
	if held != nil {
		held.withhold(c, o)
	} else {
		c.brakes.publish()
	}
	return c.applyBuiltIn()
}

// builtIn returns the exemptions that no command lifts: special-purpose space, what
// the settings name, and the relays of the reporters that are enrolled by command.
// Those of configured reporters are among the settings'.
func (st *state) builtIn(settings *Settings) []Exemption {
	all := slices.Concat(SpecialExemptions(settings.Listable), settings.BuiltIn)
	for _, name := range slices.Sorted(maps.Keys(st.reporters)) {
		if _, configured := settings.Reporter(name); configured {
			continue
		}
		for _, p := range st.reporters[name].Relays {
			all = append(all, Exemption{Prefix: p, Reason: "relay of reporter " + name, By: st.reporters[name].By})
		}
	}
	// Where a prefix has several reasons the first is told.
	told := make(map[netip.Prefix]bool, len(all))
	out := make([]Exemption, 0, len(all))
	for _, x := range all {
		if !told[x.Prefix] {
			told[x.Prefix] = true
			x.BuiltIn, x.Until, x.At = true, time.Time{}, time.Time{}
			out = append(out, x)
		}
	}
	return out
}

// applyBuiltIn makes the stored built-in exemptions those that there should be. While
// the brake on publication is on, those that hide or hid something wait: nobody new is
// to be listed meanwhile.
func (c *change) applyBuiltIn() error {
	wait := !c.brakes.Withheld.IsZero()
	wanted := make(map[netip.Prefix]*Exemption)
	for _, x := range c.builtIn(c.settings) {
		wanted[x.Prefix] = &x
	}
	var changed []netip.Prefix
	for _, old := range c.exempt {
		if old.BuiltIn && wanted[old.Prefix] == nil && !wait {
			changed = append(changed, old.Prefix)
			if err := c.dropExemption(old.Prefix, true); err != nil {
				return err
			}
		}
	}
	b := c.bucket(bucketExempt)
	for p, x := range wanted {
		key := exemptKey(p, true)
		value := encodeExemption(key, x)
		old := b.Get(key)
		if bytes.Equal(old, value) || wait && old == nil && c.current.overlaps(p) {
			continue
		}
		changed = append(changed, p)
		if err := c.putExemption(x); err != nil {
			return err
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return c.exemptionsChanged(changed)
}
