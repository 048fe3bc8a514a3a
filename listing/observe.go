package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// keptLimit bounds the observations kept, and so counted, for one key: the
	// newest. A host that sends more is listed anyway.
	keptLimit = 1000
	// urlHostLimit bounds what an observation tells of URLs.
	urlHostLimit = 8
)

// Observe stores an observation and returns what became of it, after the
// commit, and after the swap of the snapshot that shows it. To hand the same
// observation in again is harmless: its ID is known. An observation by a
// reporter who is not among the settings' weighs nothing.
func (s *Store) Observe(ctx context.Context, o Observation) (Outcome, error) {
	if err := o.normalise(); err != nil {
		return Outcome{}, fmt.Errorf("store observation %s: %w", o.ID, err)
	}
	p, err := s.do(ctx, &request{obs: &o})
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
	o.At = o.At.UTC().Truncate(time.Second)
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
	for _, text := range observationTexts(o) {
		*text = clip(*text)
	}
	o.Traces.URLHosts = slices.Clone(o.Traces.URLHosts[:min(len(o.Traces.URLHosts), urlHostLimit)])
	for i, host := range o.Traces.URLHosts {
		o.Traces.URLHosts[i] = clip(host)
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
	kept, counts := false, false
	for _, i := range members {
		out := &replies[i].outcome
		out.Key = k
		if err := c.keep(r, *group[i].obs, out); err != nil {
			return err
		}
		if !out.Duplicate && !out.Stale {
			kept = true
			counts = counts || !out.Exempt && group[i].obs.Level != LevelC
		}
	}
	var d Decision
	if counts {
		d = c.decide(r)
	} else {
		d = c.judge(r)
	}
	if kept {
		if err := c.save(r); err != nil {
			return err
		}
	}
	_, hidden := c.exemption(k.Prefix())
	for _, i := range members {
		out := &replies[i].outcome
		out.Decision, out.Listed = d, r.Evidence != nil && !hidden && !out.Exempt
	}
	return nil
}

// keep stores one observation, unless it was seen or is stale.
func (c *change) keep(r *record, o Observation, out *Outcome) error {
	if o.At.After(c.now) {
		o.At = c.now // we cannot have received it later than now
	}
	seen := c.bucket(bucketSeen)
	switch {
	case seen.Get(o.ID[:]) != nil:
		out.Duplicate = true
		return nil
	case c.now.Sub(o.At) > c.settings.Policy.Window:
		out.Stale = true
		return nil
	}
	_, out.Exempt = c.exemption(netip.PrefixFrom(o.Addr, o.Addr.BitLen()))
	if err := seen.Put(o.ID[:], encodeStamp(o.ID[:], o.At)); err != nil {
		return fmt.Errorf("note identity %s: %w", o.ID, err)
	}
	prefix := prefixKey(r.Key.Prefix())
	key := append(appendTime(prefix[:], o.At), o.ID[:]...)
	if err := c.bucket(bucketObservations).Put(key, encodeObservation(key, &o)); err != nil {
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
	return c.dropOldest(r)
}

// dropOldest keeps a key within its bound.
func (c *change) dropOldest(r *record) error {
	if r.Kept <= keptLimit {
		return nil
	}
	prefix := prefixKey(r.Key.Prefix())
	cursor := c.bucket(bucketObservations).Cursor()
	key, _ := cursor.Seek(prefix[:])
	if !bytes.HasPrefix(key, prefix[:]) {
		return nil
	}
	if err := cursor.Delete(); err != nil {
		return fmt.Errorf("drop the oldest observation of %s: %w", r.Key, err)
	}
	r.Kept--
	c.meta.Observations--
	return nil
}

// observations calls fn with what is kept of a key from the given time on,
// newest first, until it returns false. What is damaged is told and passed over:
// it can prove nothing.
func observations(tx *bolt.Tx, log *slog.Logger, k Key, from time.Time, fn func(Observation) bool) {
	prefix := prefixKey(k.Prefix())
	last := append(bytes.Clone(prefix[:]), 0xff)
	cursor := tx.Bucket(bucketObservations).Cursor()
	step := cursor.Prev
	if after, _ := cursor.Seek(last); after == nil {
		step = cursor.Last
	}
	for key, value := step(); bytes.HasPrefix(key, prefix[:]); key, value = cursor.Prev() {
		if len(key) == observationKeyBytes && timeOf(key[keyBytes:keyBytes+timeBytes]).Before(from) {
			return
		}
		o, err := decodeObservation(key, value)
		if err != nil {
			log.Error("an observation is damaged and not counted", slog.Any("err", err))
			continue
		}
		if !fn(o) {
			return
		}
	}
}

// judge asks the listing rule about a key, and changes nothing.
func (c *change) judge(r *record) Decision {
	return judge(c.tx, c.log, r, c.settings.Policy, c.weights, c.now)
}

func judge(tx *bolt.Tx, log *slog.Logger, r *record, policy Policy, weights map[string]float64, now time.Time) Decision {
	var evidence []Evidence
	observations(tx, log, r.Key, now.Add(-policy.Window), func(o Observation) bool {
		evidence = append(evidence, o.Evidence(weights[o.Reporter]))
		return len(evidence) < keptLimit
	})
	return policy.Decide(r.history(evidence), now)
}

// decide asks the listing rule about a key and does what it says: begin a
// listing, or renew it. Only time and operators end one.
func (c *change) decide(r *record) Decision {
	d := c.judge(r)
	if _, exempt := c.exemption(r.Key.Prefix()); exempt || d.Events == 0 || !d.Until.After(c.now) {
		return d
	}
	before := r.entry()
	switch {
	case r.Evidence != nil:
		if d.Until.After(r.Evidence.Until) {
			r.Evidence.Until = d.Until
		}
	case d.List && !c.now.Before(r.Hold):
		r.Evidence = &evidencePart{Since: c.now, Until: d.Until}
		r.Evidence.Audit = c.noteListed(r, d)
	default:
		return d
	}
	r.Evidence.Last, r.Evidence.Events = d.Last, d.Events
	r.Evidence.Classes, r.Evidence.Class = d.Classes, d.Class
	if r.entry() != before {
		r.refresh()
	}
	return d
}

// noteListed leaves the decision in the audit, where it can be read for as
// long as anybody may ask why.
func (c *change) noteListed(r *record, d Decision) uint64 {
	text, err := detail(d)
	if err != nil {
		c.log.Error("write a decision into the audit", slog.Any("err", err))
	}
	return c.note(AuditEntry{
		Action: ActionEvidence, By: Actor{UID: -1, Name: actorEvidence}, Reason: "the listing rule was met",
		Prefixes: []netip.Prefix{r.Key.Prefix()}, Detail: text,
	})
}
