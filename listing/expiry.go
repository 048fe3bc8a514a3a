package listing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// stepLimit bounds what one transaction ends or prunes, so that a report
	// never waits long for it.
	stepLimit = 1000
	// keepJournal is how long the journal tells what was published.
	keepJournal = 30 * 24 * time.Hour
	// keepSeen is how long the identity of an observation is known, at least
	// the longest window that a policy should have.
	keepSeen = 365 * 24 * time.Hour
	// pruneEvery is how often a step of pruning is made.
	pruneEvery = 10 * time.Minute
	// pruneSoon is when the next is made after a step that found more than it may
	// do at once.
	pruneSoon = time.Second
	// sweepLimit bounds how many identities such a step looks at: nearly three
	// million a day, so that of what a flood of 100 000 a day leaves in a year, all is
	// looked at in a fortnight.
	sweepLimit = 20_000
	// retryDamaged is when a record that could not be read is tried again.
	retryDamaged = time.Hour
	// restAfterFailure is how long nothing is ended when even putting off what
	// cannot be ended failed.
	restAfterFailure = time.Minute
)

// task is what the writer does without being asked.
type task struct {
	name string
	fn   func(*change) error
}

// tick does what time alone asks for, in one bounded step.
func (w *writer) tick() {
	w.busy = false
	if w.db == nil {
		return
	}
	at := w.now()
	w.watchClock(at)
	if due(at, w.rested, restAfterFailure) {
		w.end(at)
	}
	// A clock by which half the list is over is not believed in what is old
	// either.
	if !w.busy && w.state.brakes.Stalled.IsZero() && due(at, w.pruned, pruneEvery) {
		w.more = false
		w.prune("the journal", w.pruneJournal)
		w.prune("identities", w.pruneSeen)
		w.prune("observations", w.pruneObservations)
		w.prune("headers", w.pruneHeaders)
		w.prune("the audit", w.pruneAudit)
		if w.pruned = at; w.more {
			w.pruned = at.Add(pruneSoon - pruneEvery)
		}
	}
	if due(at, w.pictured, imageEvery) {
		snap := w.snapshot.Load()
		w.background.Go(func() { w.writeImage(snap) })
		w.pictured = at
	}
	if !w.bulky.IsZero() && due(at, w.bulky, giveBack) {
		w.background.Go(debug.FreeOSMemory)
		w.bulky = time.Time{}
	}
	if w.db != nil && w.renewed == nil && due(at, w.refreshed, w.refreshEvery()) {
		if wakes := w.state.wakes; len(w.state.endings) > 0 || !wakes.IsZero() && !wakes.After(w.endingsReach()) { // else it is empty, and stays so
			w.renewBeside()
		}
		w.refreshed = at
	}
}

// due reports whether it is time to do again what was last done at last; it is
// when the clock was set back, too.
func due(now, last time.Time, every time.Duration) bool {
	return now.Before(last) || now.Sub(last) >= every
}

func (w *writer) refreshEvery() time.Duration { return max(w.settings.Load().Horizon/2, time.Second) }

// regular does a task and reports whether it was done.
func (w *writer) regular(step task) bool {
	w.dropped = make(map[string]int)
	_, err := w.transact(step.fn)
	if err != nil && !errors.Is(err, ErrUnavailable) { // that was told by who closed the file
		w.log.Error("a regular task of the store failed", slog.String("task", step.name), slog.Any("err", err))
	}
	for what, n := range w.dropped {
		if err == nil {
			w.metrics.pruned.WithLabelValues(what).Add(float64(n))
		}
	}
	return err == nil
}

// end ends what has had its time. When that fails, which a damaged record in
// the neighbourhood is enough for, each is tried alone, and the one that fails
// is put off, so that it keeps no other.
func (w *writer) end(at time.Time) {
	switch {
	case !w.mayEnd(at):
	case w.survey.idle:
		w.alone = false
	case w.regular(task{"end listings", w.expire}):
		w.ending.took(w.due, w.held)
	case w.db == nil:
	case !w.alone:
		w.alone, w.busy = true, true
	case w.regular(task{"put off an ending", w.postpone}):
		w.alone, w.busy = false, true
	default:
		w.alone, w.busy = false, false
		w.rested = at
	}
}

// pause returns how long the writer may sleep.
func (w *writer) pause() time.Duration {
	switch {
	case w.db == nil:
		return sleepLimit
	case w.busy:
		return 0
	}
	wait := sleepLimit
	at := w.clock()
	sooner := func(t time.Time) { wait = min(wait, max(t.Sub(at), 0)) }
	if !w.bulky.IsZero() {
		sooner(w.bulky.Add(giveBack))
	}
	if w.more && w.state.brakes.Stalled.IsZero() {
		sooner(w.pruned.Add(pruneEvery))
	}
	if w.renewed == nil {
		sooner(w.refreshed.Add(w.refreshEvery()))
	}
	if !w.state.wakes.IsZero() && w.state.brakes.Stalled.IsZero() && due(at, w.rested, restAfterFailure) {
		sooner(w.state.wakes)
	}
	return wait
}

// expire looks at what the index says is due.
func (w *writer) expire(c *change) error {
	limit := w.ending.next()
	if w.alone {
		limit = 1
	}
	var keys, exempt [][]byte
	cursor := c.bucket(bucketExpiry).Cursor()
	for key, value := cursor.First(); key != nil && len(keys)+len(exempt) < limit; key, value = cursor.Next() {
		if !isDue(key, c.now) || !isDue(key, w.cleared) {
			break
		}
		// The key alone tells what to look at, and the record whether its time has
		// come: a damaged entry is as good as another.
		if err := openValue(key, value, indexVersion).finish(); err != nil {
			w.log.Error("an entry of the expiry index is damaged", slog.String("key", hex.EncodeToString(key)), slog.Any("err", err))
		}
		if entry, ok := wakeOf(key); ok && entry.kind == wakeExemption {
			exempt = append(exempt, bytes.Clone(key))
		} else {
			keys = append(keys, bytes.Clone(key))
		}
	}
	c.ending = true
	w.due = len(keys) + len(exempt)
	w.busy = w.due == limit
	w.alone = w.alone && w.busy
	// Exemptions first: what one of them hid may be decided on by what follows.
	ended, err := w.wakeAll(c, exempt)
	if err != nil {
		return err
	}
	c.lifted(ended)
	over, err := w.wakeAll(c, keys)
	if err != nil {
		return err
	}
	if ended = append(ended, over...); len(ended) > 0 {
		c.note(AuditEntry{Action: ActionExpire, By: Actor{UID: -1, Name: actorExpiry}, Reason: "their time was over", Prefixes: ended})
	}
	return nil
}

// wakeAll looks at what entries of the index are about, and returns what ended.
func (w *writer) wakeAll(c *change, keys [][]byte) (ended []netip.Prefix, err error) {
	for _, key := range keys {
		if err := c.bucket(bucketExpiry).Delete(key); err != nil {
			return nil, fmt.Errorf("expiry index %x: %w", key, err)
		}
		c.wrote = true
		over, err := c.wake(key)
		if errors.Is(err, ErrDamaged) {
			w.log.Error("a record whose time has come is damaged", slog.Any("err", err))
			err = c.bucket(bucketExpiry).Put(later(key, c.now))
		}
		if err != nil {
			return nil, err
		}
		if over.IsValid() {
			ended = append(ended, over)
		}
	}
	return ended, nil
}

// postpone has the first entry of the index tried again later.
func (w *writer) postpone(c *change) error {
	key, _ := c.bucket(bucketExpiry).Cursor().First()
	if len(key) < timeBytes || !isDue(key, c.now) {
		return nil
	}
	moved, value := later(key, c.now)
	if err := c.bucket(bucketExpiry).Delete(key); err != nil {
		return fmt.Errorf("expiry index %x: %w", key, err)
	}
	c.wrote = true
	return c.bucket(bucketExpiry).Put(moved, value)
}

// later returns the index entry for another try.
func later(key []byte, now time.Time) (moved, value []byte) {
	moved = append(appendTime(nil, now.Add(retryDamaged)), key[timeBytes:]...)
	return moved, indexValue(moved)
}

// wake looks at one record or exemption whose moment has come, and returns its
// prefix if a listing or exemption ended. What the entry is about may have moved:
// then it has an entry of its own, or needs none.
func (c *change) wake(key []byte) (netip.Prefix, error) {
	w, ok := wakeOf(key)
	if !ok {
		return netip.Prefix{}, nil // damaged, as was told; there is nothing to look at
	}
	if w.kind == wakeExemption {
		return c.endExemption(w.p)
	}
	k, err := PrefixKey(w.p)
	if err != nil {
		return netip.Prefix{}, nil //nolint:nilerr // no record has such a key
	}
	r, err := c.record(k)
	if err != nil || r.Wake.IsZero() || r.Wake.After(c.now) {
		return netip.Prefix{}, err
	}
	r.Wake = time.Time{}
	before := r.source()
	if r.Manual != nil && !r.Manual.Until.IsZero() && !r.Manual.Until.After(c.now) {
		r.end(ByOperator, c.now, Ended, "")
	}
	if r.Evidence != nil && !r.Evidence.Until.After(c.now) {
		r.end(ByEvidence, c.now, Expired, "")
	}
	if !r.Hold.IsZero() && !r.Hold.After(c.now) {
		r.Hold = time.Time{}
		if _, err := c.decide(r); err != nil {
			return netip.Prefix{}, err
		}
	}
	r.refresh()
	if err := c.save(r); err != nil {
		return netip.Prefix{}, err
	}
	if before&^r.source() != 0 {
		return w.p, nil
	}
	return netip.Prefix{}, nil
}

// indexed returns the record that an entry of the expiry index is about, and
// nil when it is about something else.
func indexed(tx *bolt.Tx, lex *lexicon, w wake) (*record, error) {
	if w.kind != wakeRecord {
		return nil, nil //nolint:nilnil // no record is no error
	}
	k, err := PrefixKey(w.p)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // no record has such a key
	}
	return findRecord(tx, lex, k)
}

// pruneSeen forgets identities that are too old to come again: a few at a time,
// round and round.
func (w *writer) pruneSeen(c *change) error {
	cursor := c.bucket(bucketSeen).Cursor()
	key, value := cursor.Seek(w.sweep)
	var old [][]byte
	for n := 0; key != nil && n < sweepLimit; n++ {
		at, err := decodeStamp(key, value)
		// What cannot be read would let its observation count twice; it goes
		// when its observation is too old to be handed in again.
		if err == nil && c.now.Sub(at) > keepSeen {
			old = append(old, bytes.Clone(key))
		}
		key, value = cursor.Next()
	}
	w.sweep = bytes.Clone(key)
	for _, key := range old {
		if err := c.bucket(bucketSeen).Delete(key); err != nil {
			return fmt.Errorf("forget identity %x: %w", key, err)
		}
		c.wrote = true
	}
	return nil
}
