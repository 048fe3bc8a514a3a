package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// urlHostLimit bounds what an observation tells of URLs.
const urlHostLimit = 8

// Observe stores an observation and returns what became of it, after the
// commit, and after the swap of the snapshot that shows it. To hand the same
// observation in again is harmless: its ID is known. An observation by a
// reporter who is not among the settings' weighs nothing.
func (s *Store) Observe(ctx context.Context, o Observation) (Outcome, error) {
	if err := o.normalise(); err != nil {
		return Outcome{}, fmt.Errorf("store observation %s: %w", o.ID, err)
	}
	// What can be done here is done here: the writer is one for all who report.
	p, err := s.do(ctx, &request{obs: &o, texts: packTexts(&o)})
	if err != nil {
		return Outcome{}, fmt.Errorf("store observation %s: %w", o.ID, err)
	}
	return p.outcome, nil
}

// normalise brings an observation into the form in which it is stored, within
// bounds, whoever made it.
func (o *Observation) normalise() error {
	o.Addr = o.Addr.Unmap().WithZone("")
	o.Traces.Origin = o.Traces.Origin.Unmap().WithZone("")
	o.At, o.Revoked = o.At.UTC().Truncate(time.Second), 0
	switch {
	case !o.Addr.IsValid():
		return fmt.Errorf("no address: %w", ErrKey)
	case o.ID.IsZero():
		return errors.New("no identity")
	case !slices.Contains(evidenceClasses, o.Class):
		return fmt.Errorf("class %s is no evidence", o.Class)
	case o.Level < LevelA || o.Level > LevelC:
		return fmt.Errorf("level %q: want A, B or C", o.Level.String())
	case o.At.Unix() <= 0:
		return fmt.Errorf("received at %s", o.At.Format(time.RFC3339))
	}
	for _, name := range observationNames(o) {
		*name = clip(*name)
	}
	// The address of a trap, which hosts like to quote, must not even be in the
	// file: backups of it go elsewhere.
	for _, text := range observationTexts(o) {
		*text = clip(withhold(clip(*text), o.TrapDomain))
	}
	for _, id := range []*ID{&o.Recipient, &o.Original, &o.Traces.Subject} {
		*id = id.short()
	}
	o.Headers = clipHeader(o.Headers)
	o.Former = slices.Clone(o.Former)
	for i := range o.Former {
		f := &o.Former[i]
		f.Recipient, f.Original, f.Subject = f.Recipient.short(), f.Original.short(), f.Subject.short()
	}
	o.Traces.URLHosts = slices.Clone(o.Traces.URLHosts[:min(len(o.Traces.URLHosts), urlHostLimit)])
	for i, host := range o.Traces.URLHosts {
		o.Traces.URLHosts[i] = clip(withhold(clip(host), o.TrapDomain))
	}
	return nil
}

// clip cuts a text to [MaxTrace] bytes of whole characters.
func clip(text string) string {
	if len(text) <= MaxTrace {
		return text
	}
	return strings.ToValidUTF8(text[:MaxTrace], "")
}

// observeAll stores observations, those of one key together.
func (c *change) observeAll(group []*request, replies []reply) error {
	byKey := make(map[Key][]int, len(group))
	keys := make([]Key, 0, len(group))
	for i, r := range group {
		if r.ctx.Err() != nil {
			replies[i].err = context.Cause(r.ctx)
			continue
		}
		k, err := HostKey(r.obs.Addr)
		if err != nil {
			replies[i].err = err
			continue
		}
		if _, ok := byKey[k]; !ok {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], i)
	}
	for _, k := range keys {
		if err := c.observe(k, byKey[k], group, replies); err != nil {
			return err
		}
	}
	return nil
}

// observe stores the observations of one key that share a transaction, and
// then decides once for all of them.
func (c *change) observe(k Key, members []int, group []*request, replies []reply) error {
	r, err := c.record(k)
	if errors.Is(err, ErrDamaged) {
		for _, i := range members {
			replies[i].err = err
		}
		return nil
	}
	if err != nil {
		return err
	}
	kept, counts, err := c.keepAll(r, members, group, replies)
	if err != nil {
		return err
	}
	if err := c.trim(r); err != nil {
		return err
	}
	d, err := c.decideOn(r, counts)
	if err != nil {
		return err
	}
	if kept {
		if err := c.save(r); err != nil {
			return err
		}
	}
	_, hidden := c.exemption(k.Prefix())
	hidden = hidden || !c.ended.At.IsZero()
	for _, i := range members {
		out := &replies[i].outcome
		out.Decision, out.Listed = d, r.Evidence != nil && !hidden && !out.Exempt
	}
	return nil
}

// keepAll stores the observations of one key, and tells whether any was kept, and
// any counts.
func (c *change) keepAll(r *record, members []int, group []*request, replies []reply) (kept, counts bool, err error) {
	known := c.known(r, members, group)
	for _, i := range members {
		out := &replies[i].outcome
		o := *group[i].obs
		out.Key = r.Key
		for id := range o.identities() {
			out.Duplicate = out.Duplicate || known[id]
		}
		if len(o.Former) > 0 && !out.Duplicate {
			c.recall(r, &o)
		}
		if err := c.keep(r, o, group[i].texts, out); err != nil {
			return kept, counts, err
		}
		known[group[i].obs.ID] = known[group[i].obs.ID] || !out.Stale
		if !out.Duplicate && !out.Stale {
			kept = true
			counts = counts || !out.Exempt && group[i].obs.Level != LevelC
		}
	}
	return kept, counts, nil
}

// decideOn decides on a key that something new is known of, if that counts.
func (c *change) decideOn(r *record, counts bool) (Decision, error) {
	if !counts {
		return c.judge(r), nil
	}
	if err := c.agree(r); err != nil {
		return Decision{}, err
	}
	return c.decide(r)
}

// known tells which of the observations the key has, or had.
func (c *change) known(r *record, members []int, group []*request) map[ID]bool {
	seen := c.bucket(bucketSeen)
	known := make(map[ID]bool, len(members))
	for _, i := range members {
		for id := range group[i].obs.identities() {
			known[id] = seen.Get(id[:]) != nil
		}
	}
	if r.Kept == 0 {
		return known
	}
	prefix := prefixKey(r.Key.Prefix())
	cursor := c.bucket(bucketObservations).Cursor()
	for key, _ := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		if id, ok := identityOf(key); ok {
			if _, asked := known[id]; asked {
				known[id] = true
			}
		}
	}
	return known
}

// identities yields what an observation is known by, under this key and those of
// before.
func (o *Observation) identities() iter.Seq[ID] {
	return func(yield func(ID) bool) {
		if !yield(o.ID) {
			return
		}
		for _, f := range o.Former {
			if !yield(f.ID) {
				return
			}
		}
	}
}

// recall gives recipient, original and subject the hashes under which the key
// knows them, so that none counts twice because the key was changed meanwhile.
func (c *change) recall(r *record, o *Observation) {
	was := func(of func(*Identities) ID, is *ID, kept ID) {
		for i := range o.Former {
			if f := of(&o.Former[i]); f == kept && !f.IsZero() {
				*is = f
			}
		}
	}
	observations(c.tx, c.log, r.Key, time.Time{}, decodeObservation, func(kept Observation) bool {
		was(func(f *Identities) ID { return f.Recipient }, &o.Recipient, kept.Recipient)
		was(func(f *Identities) ID { return f.Original }, &o.Original, kept.Original)
		was(func(f *Identities) ID { return f.Subject }, &o.Traces.Subject, kept.Traces.Subject)
		return true
	})
}

// keep stores one observation, unless it is a duplicate or stale.
func (c *change) keep(r *record, o Observation, texts packedTexts, out *Outcome) error {
	if o.At.After(c.now) {
		o.At = c.now // we cannot have received it later than now
	}
	switch {
	case out.Duplicate:
		return nil
	case c.now.Sub(o.At) > c.settings.Policy.Window:
		out.Stale = true
		return nil
	}
	_, out.Exempt = c.exemption(netip.PrefixFrom(o.Addr, o.Addr.BitLen()))
	key := observationKey(r.Key, o.At, o.ID)
	value, err := o.encode(c.lex, key, texts)
	if err == nil {
		err = c.bucket(bucketObservations).Put(key, value)
	}
	if err != nil {
		return fmt.Errorf("write observation %s: %w", o.ID, err)
	}
	c.wrote = true
	c.meta.Observations++
	r.Kept++
	if r.First.IsZero() || o.At.Before(r.First) {
		r.First = o.At
	}
	if o.At.After(r.Last) {
		r.Last = o.At
	}
	if !out.Exempt && o.Level != LevelC && o.At.After(c.meta.Newest) {
		c.meta.Newest = o.At
	}
	return c.keepHeader(r.Key, &o)
}

// decide asks the listing rule about a key and does what it says: begin a
// listing, or renew it. Only time and operators end one.
func (c *change) decide(r *record) (Decision, error) {
	d := c.judge(r)
	if _, exempt := c.exemption(r.Key.Prefix()); exempt || d.Events == 0 || !d.Until.After(c.now) {
		return d, nil
	}
	before := r.entry()
	switch {
	case r.Evidence != nil:
		if d.Until.After(r.Evidence.Until) {
			r.Evidence.Until = d.Until
		}
	case d.List && !c.now.Before(r.Hold):
		if may, err := c.mayList(r.Key); err != nil || !may {
			return d, err
		}
		r.Evidence = &evidencePart{Since: c.now, Until: d.Until}
		r.Evidence.Audit = c.noteListed(r, d, "the listing rule was met")
	default:
		return d, nil
	}
	r.Evidence.Last, r.Evidence.Events = d.Last, d.Events
	r.Evidence.Classes, r.Evidence.Class = d.Classes, d.Class
	if r.entry() != before {
		r.refresh()
	}
	return d, nil
}

// noteListed leaves the decision in the audit, where it can be read for as
// long as anybody may ask why.
func (c *change) noteListed(r *record, d Decision, why string) uint64 {
	return c.note(AuditEntry{
		Action: ActionEvidence, By: Actor{UID: -1, Name: actorEvidence}, Reason: why,
		Prefixes: []netip.Prefix{r.Key.Prefix()}, decision: &d,
	})
}
