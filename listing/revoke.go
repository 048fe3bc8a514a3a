package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// scanLimit bounds the observations that one read transaction looks at: while
	// it is open the pages that writers replace cannot be used again.
	scanLimit = 100_000
	// revokeLimit bounds what one transaction of a revocation looks at: the
	// observations of its keys, and for each decision that is made anew those that
	// it rests on.
	revokeLimit = 5_000
)

// ErrNoObservation says that nothing is as a revocation wants it.
var ErrNoObservation = errors.New("no observation is like that; 'backscatter show --all ADDRESS' tells of each who reported it, and by what")

// Revocation chooses the observations to withdraw: those that are as all its
// fields say which are set.
type Revocation struct {
	Reporter string    `json:"reporter,omitempty"`
	Sensor   string    `json:"sensor,omitempty"`
	Event    ID        `json:"event,omitzero"`
	Since    time.Time `json:"since,omitzero"` // received then or later
}

// Validate wants something that chooses.
func (v Revocation) Validate() error {
	if v == (Revocation{}) {
		return errors.New("say what to withdraw: by reporter, sensor, event or time")
	}
	return nil
}

// chooses reports whether an observation is to be withdrawn. One that is cannot
// be withdrawn again.
func (v *Revocation) chooses(o *Observation) bool {
	return o.Revoked == 0 &&
		(v.Reporter == "" || v.Reporter == o.Reporter) &&
		(v.Sensor == "" || v.Sensor == o.Sensor) &&
		(v.Event.IsZero() || v.Event == o.ID) &&
		!o.At.Before(v.Since)
}

// mayChoose tells from the key alone that most are not meant.
func (v *Revocation) mayChoose(key []byte) bool {
	_, rest, ok := cutPrefix(key)
	return ok && len(rest) == timeBytes+len(ID{}) &&
		(v.Event.IsZero() || bytes.Equal(rest[timeBytes:], v.Event[:])) &&
		(v.Since.IsZero() || !timeOf(rest).Before(v.Since))
}

// Withdrawal is what a revocation did.
type Withdrawal struct {
	Result
	Observations int // withdrawn
	Keys         int // that they were about
	Ended        int // listings that do not hold without them
}

// Revoke withdraws observations: they stay, marked with the audit entry that
// withdrew them, and never count again. Every listing that leaned on one of them
// is decided anew, by the rule, the weights and the evidence of now: it ends when
// it would not stand without them, and else may have begun later and end sooner,
// never the other way round.
//
// Many are withdrawn in several transactions, so that no report waits for long.
// Each of them is whole, and has its entry in the audit; what a crash between
// them leaves undone, the same order does when it is given again.
func (s *Store) Revoke(ctx context.Context, o Order, v Revocation) (Withdrawal, error) {
	const name = "revoke"
	v.Since = v.Since.UTC()
	if at := v.Since.Truncate(time.Second); at.Before(v.Since) {
		v.Since = at.Add(time.Second) // observations have whole seconds
	}
	if err := errors.Join(checkOrder(name, o, 1), v.Validate()); err != nil {
		return Withdrawal{}, err
	}
	keys, err := s.chosen(ctx, &v)
	if err != nil {
		return Withdrawal{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(keys) == 0 {
		return Withdrawal{}, fmt.Errorf("%s: %w", name, ErrNoObservation)
	}
	out := Withdrawal{Result: Result{DryRun: o.DryRun}}
	for len(keys) > 0 {
		step := revocation{Revocation: v, order: o}
		r, err := s.order(ctx, name, o, 1, func(c *change) ([]Problem, error) { return step.run(c, keys) })
		if err != nil {
			return out, err
		}
		keys = keys[step.done:]
		out.Sequence = r.Sequence
		out.Added, out.Removed, out.Skipped = append(out.Added, r.Added...), append(out.Removed, r.Removed...), append(out.Skipped, r.Skipped...)
		out.Observations += step.observations
		out.Keys += len(step.prefixes)
		out.Ended += len(step.ended)
	}
	return out, nil
}

// chosen returns the keys that have observations to withdraw.
func (s *Store) chosen(ctx context.Context, v *Revocation) (keys []Key, err error) {
	var next []byte
	for first := true; first || next != nil; first = false {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err := s.view(func(tx *bolt.Tx, _ time.Time) error {
			cursor := tx.Bucket(bucketObservations).Cursor()
			key, value := cursor.Seek(next)
			lex := newLexicon(tx)
			for n := 0; key != nil && n < scanLimit; n++ {
				if k, ok := v.keyOf(lex, key, value); ok && (len(keys) == 0 || keys[len(keys)-1] != k) {
					keys = append(keys, k)
				}
				key, value = cursor.Next()
			}
			next = bytes.Clone(key)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// keyOf returns the listing key of a stored observation that is to be withdrawn.
// What is damaged counts for nothing anyway.
func (v *Revocation) keyOf(lex *lexicon, key, value []byte) (Key, bool) {
	if !v.mayChoose(key) {
		return Key{}, false
	}
	o, err := decodeForRule(lex, key, value)
	if err != nil || !v.chooses(&o) {
		return Key{}, false
	}
	k, err := HostKey(o.Addr)
	return k, err == nil
}

// revocation is one transaction of a revocation.
type revocation struct {
	Revocation
	order        Order
	done         int            // of the keys it was given
	observations int            // withdrawn
	prefixes     []netip.Prefix // that they were about
	ended        []netip.Prefix // listings that did not hold
	looked       int            // at so many observations
}

// run withdraws what is chosen of the first of the keys.
func (v *revocation) run(c *change, keys []Key) (skipped []Problem, err error) {
	number := c.note(AuditEntry{Action: ActionRevoke, By: v.order.By, Reason: v.order.Reason})
	entry := len(c.audits) - 1
	for v.done < len(keys) && v.looked < revokeLimit {
		k := keys[v.done]
		v.done++
		r, err := c.record(k)
		if errors.Is(err, ErrDamaged) {
			skipped = append(skipped, Problem{Key: k.String(), Why: err.Error()})
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := v.withdraw(c, r, number); err != nil {
			return nil, err
		}
	}
	if v.observations == 0 {
		c.audits = c.audits[:entry] // somebody else was quicker
		return skipped, nil
	}
	c.audits[entry].Prefixes = v.prefixes
	c.audits[entry].Detail, err = detail(struct {
		Revocation
		Observations int            `json:"observations"`
		Ended        []netip.Prefix `json:"ended,omitempty"`
	}{v.Revocation, v.observations, v.ended})
	return skipped, err
}

// withdraw marks what is chosen of one key.
func (v *revocation) withdraw(c *change, r *record, number uint64) error {
	var marked [][]byte
	leaned := false
	history := r.history(nil)
	observations(c.tx, c.log, r.Key, time.Time{}, decodeForRule, func(o Observation) bool {
		v.looked++
		if v.chooses(&o) {
			marked = append(marked, observationKey(r.Key, o.At, o.ID))
			// Whether its reporter counts for anything now says nothing of then.
			leaned = leaned || r.Evidence != nil && c.settings.Policy.counts(o.Evidence(1), history, o.At) &&
				!o.At.Before(r.Evidence.Since.Add(-c.settings.Policy.Window))
		}
		return true
	})
	b := c.bucket(bucketObservations)
	for _, key := range marked {
		o, err := decodeObservation(c.lex, key, b.Get(key))
		if errors.Is(err, ErrDamaged) {
			continue // what cannot be read counts for nothing
		}
		if err != nil {
			return err
		}
		o.Revoked = number
		value, err := encodeObservation(c.lex, key, &o)
		if err == nil {
			err = b.Put(key, value)
		}
		if err != nil {
			return fmt.Errorf("withdraw observation %s: %w", o.ID, err)
		}
		c.wrote = true
		v.observations++
	}
	v.prefixes = append(v.prefixes, r.Key.Prefix())
	if err := c.disagree(r); err != nil {
		return err
	}
	if !leaned {
		return nil
	}
	stands, d := v.replay(c, r)
	if !stands {
		r.end(ByEvidence, c.now, Revoked, v.order.Reason)
		v.ended = append(v.ended, r.Key.Prefix())
	} else {
		r.Evidence.Audit = c.noteListed(r, d, "the listing rule was met without what was revoked")
	}
	r.refresh()
	return c.save(r)
}

// replay lets the evidence of a listed key that is left come in again, in the
// order of its times, and reports whether the key would be listed, with the
// decision that would have listed it. The record's dates are those of that then.
func (v *revocation) replay(c *change, r *record) (stands bool, listed Decision) {
	p := replay{policy: c.settings.Policy, history: r.history(nil)}
	p.hold = p.history.Expired // by itself what came before lists nothing again
	p.evidence, _ = evidenceOf(c.tx, c.log, r.Key, r.Evidence.Since.Add(-p.policy.Window), c.now, c.exemptHosts(r.Key), c.weigh)
	p.evidence = slices.DeleteFunc(p.evidence, func(e Evidence) bool { return !p.policy.counts(e, p.history, e.At) })
	p.run(c.now)
	v.looked += p.looked
	if !p.listed() {
		return false, Decision{}
	}
	last, now := p.judge(p.evidence[p.end-1].At), r.Evidence
	now.Since = latest(now.Since, p.since)
	if p.until.Before(now.Until) {
		now.Until = p.until
	}
	now.Last, now.Events, now.Classes, now.Class = last.Last, last.Events, last.Classes, last.Class
	return true, *p.decision
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
