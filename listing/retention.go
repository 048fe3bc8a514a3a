package listing

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// Retention is how long the store remembers. The zero value is that of
// [DefaultRetention].
type Retention struct {
	// Each observation is kept so long after it came, and after the last listing of its
	// key ended; that there was one is known as long as the policy asks.
	Observations time.Duration `json:"observations"`
	Audit        time.Duration `json:"audit"` // what was done
}

// DefaultRetention returns what a configuration starts from.
func DefaultRetention() Retention {
	return Retention{Observations: 365 * 24 * time.Hour, Audit: 2 * 365 * 24 * time.Hour}
}

func (r Retention) observations() time.Duration {
	return cmp.Or(r.Observations, DefaultRetention().Observations)
}

func (r Retention) audit() time.Duration { return cmp.Or(r.Audit, DefaultRetention().Audit) }

// Validate reports everything that is wrong with it.
func (r Retention) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{"observations": r.Observations, "audit": r.Audit} {
		if d < 0 || d > maxPeriod {
			errs = append(errs, fmt.Errorf("%s %s: want 0 (the default) to %s", name, words(d), words(maxPeriod)))
		}
	}
	return errors.Join(errs...)
}

// What is dropped for its age, as the metric calls it.
const (
	prunedObservations = "observations"
	prunedRecords      = "records"
	prunedAudit        = "audit"
	prunedHeaders      = "headers"
)

// pruneObservations drops the observations of keys that are not listed and have
// not been for long, and then what is known of the keys: of a few keys at a
// time, round and round. It writes only where there is something to drop.
func (w *writer) pruneObservations(c *change) error {
	lex := newLexicon(c.tx)
	cursor := c.bucket(bucketRecords).Cursor()
	key, value := cursor.Seek(w.kept)
	var due []*record
	drops := 0
	for n := 0; key != nil && n < stepLimit && drops < stepLimit; n++ {
		// What cannot be read is told by whoever needs it.
		if r, err := decodeRecord(lex, key, value); err == nil && c.forgettable(r) {
			due = append(due, r)
			drops += 1 + r.Kept
		}
		key, value = cursor.Next()
	}
	w.kept = bytes.Clone(key)
	w.more = w.more || drops >= stepLimit
	for _, r := range due {
		if err := w.forget(c, r.Key); err != nil {
			return err
		}
	}
	return nil
}

// forgettable reports whether there may be something to drop of a record.
func (c *change) forgettable(r *record) bool {
	old := func(t time.Time) bool { return c.now.Sub(t) > c.settings.Retention.observations() }
	return !r.listed() && r.Hold.IsZero() && old(r.ended()) && (r.Kept > 0 && old(r.First) || c.forgotten(r))
}

// forgotten reports whether nothing is left to know of a record: no observation, and
// nothing that the listing rule asks for.
func (c *change) forgotten(r *record) bool {
	policy, keep := c.settings.Policy, c.settings.Retention.observations()
	old := func(t time.Time, keep time.Duration) bool { return c.now.Sub(t) > keep }
	return r.Kept == 0 && old(r.CountFrom, keep) && old(r.Last, keep) && old(r.ended(), max(keep, policy.Memory, policy.Relapse))
}

// ended returns when the last listing of the key ended; zero when there was
// none.
func (r *record) ended() time.Time {
	var last time.Time
	for _, p := range r.Past {
		if p.Removed.After(last) {
			last = p.Removed
		}
	}
	return last
}

// forget drops what is too old of one key.
func (w *writer) forget(c *change, k Key) error {
	r, err := c.record(k)
	if err != nil {
		return err
	}
	prefix, keep := prefixKey(k.Prefix()), c.settings.Retention.observations()
	b := c.bucket(bucketObservations)
	cursor := b.Cursor()
	var old [][]byte
	oldest := time.Time{}
	for key, _ := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		at := timeOf(key[len(prefix):])
		if c.now.Sub(at) <= keep {
			oldest = at
			break // they stand in the order of their times
		}
		old = append(old, bytes.Clone(key))
	}
	for _, key := range old {
		if err := errors.Join(c.dropHeaderOf(key), b.Delete(key)); err != nil {
			return fmt.Errorf("drop an old observation of %s: %w", k, err)
		}
	}
	w.dropped[prunedObservations] += len(old)
	r.Kept -= len(old)
	c.meta.Observations -= uint64(len(old))
	c.wrote = true
	if c.forgotten(r) {
		w.dropped[prunedRecords]++
		return c.forgetRecord(r, prefix)
	}
	if !oldest.IsZero() {
		r.First = oldest
	}
	return c.save(r)
}

// forgetRecord drops a record.
func (c *change) forgetRecord(r *record, key []byte) error {
	if !r.Wake.IsZero() {
		if err := c.bucket(bucketExpiry).Delete(wakeKey(r.Wake, r.Key.Prefix(), wakeRecord)); err != nil {
			return fmt.Errorf("index %s: %w", r.Key, err)
		}
	}
	if err := c.bucket(bucketRecords).Delete(key); err != nil {
		return fmt.Errorf("drop record %s: %w", r.Key, err)
	}
	return nil
}

// pruneAudit drops the oldest entries of the audit. The chain begins then with
// the hash of the last that was dropped.
func (w *writer) pruneAudit(c *change) error {
	b := c.bucket(bucketAudit)
	for range stepLimit {
		key, value := b.Cursor().First()
		if key == nil || !oldAudit(c, key, value) {
			return nil
		}
		c.meta.AuditBase, c.meta.AuditStart = numberOf(key), sha256.Sum256(value)
		if err := b.Delete(key); err != nil {
			return fmt.Errorf("prune audit %d: %w", c.meta.AuditBase, err)
		}
		w.dropped[prunedAudit]++
		c.wrote = true
	}
	w.more = true
	return nil
}

// oldAudit reports whether an entry can go. One that cannot be read, or breaks
// the chain, stays: it is for Verify to name.
func oldAudit(c *change, key, value []byte) bool {
	a, err := decodeAudit(key, value)
	return err == nil && a.Number == c.meta.AuditBase+1 && a.previous == c.meta.AuditStart && c.now.Sub(a.Time) > c.settings.Retention.audit()
}
