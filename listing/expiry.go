package listing

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// stepLimit bounds what one transaction ends or prunes, so that a report
	// never waits long for it.
	stepLimit = 1000
	// endingsLimit bounds the table of endings: what ends beside so many others
	// may be answered with a TTL that outlives it.
	endingsLimit = 1 << 16
	// keepJournal is how long the journal tells what was published.
	keepJournal = 30 * 24 * time.Hour
	// keepSeen is how long the identity of an observation is known, at least
	// the longest window that a policy should have.
	keepSeen = 365 * 24 * time.Hour
	// pruneEvery is how often a step of pruning is made. It takes what a busy day
	// adds.
	pruneEvery = 10 * time.Minute
	// retryDamaged is when a record that could not be read is tried again.
	retryDamaged = time.Hour
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
	steps := []task{{"end listings", w.expire}}
	at := now()
	if !at.Before(w.prune) {
		steps = append(steps, task{"prune the journal", w.pruneJournal}, task{"prune identities", w.pruneSeen})
		w.prune = at.Add(pruneEvery)
	}
	for _, step := range steps {
		if _, err := w.transact(step.fn); err != nil {
			w.busy = false
			if !errors.Is(err, ErrUnavailable) { // that was told by who closed the file
				w.log.Error("a regular task of the store failed", slog.String("task", step.name), slog.Any("err", err))
			}
		}
	}
	if w.db == nil {
		return
	}
	if !at.Before(w.refresh) {
		w.renewEndings()
		w.refresh = at.Add(max(w.settings.Load().Horizon/2, time.Second))
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
	at := clock()
	sooner := func(t time.Time) { wait = min(wait, max(t.Sub(at), 0)) }
	if !w.refresh.IsZero() {
		sooner(w.refresh)
	}
	_ = w.db.View(func(tx *bolt.Tx) error {
		if key, _ := tx.Bucket(bucketExpiry).Cursor().First(); len(key) > timeBytes {
			sooner(timeOf(key[:timeBytes]))
		}
		return nil
	})
	return wait
}

// expire looks at what the index says is due.
func (w *writer) expire(c *change) error {
	var due [][]byte
	cursor := c.bucket(bucketExpiry).Cursor()
	for key, value := cursor.First(); key != nil && len(due) < stepLimit; key, value = cursor.Next() {
		if len(key) != timeBytes+keyBytes+1 {
			return fmt.Errorf("expiry index %x: key has %d bytes: %w", key, len(key), ErrDamaged)
		}
		if err := openValue(key, value, indexVersion).finish(); err != nil {
			return fmt.Errorf("expiry index %x: %w", key, err)
		}
		if timeOf(key[:timeBytes]).After(c.now) {
			break
		}
		due = append(due, bytes.Clone(key))
	}
	w.busy = len(due) == stepLimit
	var ended []netip.Prefix
	for _, key := range due {
		if err := c.bucket(bucketExpiry).Delete(key); err != nil {
			return fmt.Errorf("expiry index %x: %w", key, err)
		}
		c.wrote = true
		over, err := c.wake(key)
		if errors.Is(err, ErrDamaged) {
			w.log.Error("a record whose time has come is damaged", slog.Any("err", err))
			err = c.bucket(bucketExpiry).Put(later(key, c.now))
		}
		if err != nil {
			return err
		}
		if over.IsValid() {
			ended = append(ended, over)
		}
	}
	if len(ended) > 0 {
		c.note(AuditEntry{Action: ActionExpire, By: Actor{UID: -1, Name: actorExpiry}, Reason: "their time was over", Prefixes: ended})
	}
	return nil
}

// later returns the index entry for another try.
func later(key []byte, now time.Time) (moved, value []byte) {
	moved = append(appendTime(nil, now.Add(retryDamaged)), key[timeBytes:]...)
	return moved, newEncoder(indexVersion).seal(moved)
}

// wake looks at one record or exemption whose moment has come, and returns its
// prefix if a listing or exemption ended.
func (c *change) wake(key []byte) (netip.Prefix, error) {
	at := timeOf(key[:timeBytes])
	p, ok := prefixOf(key[timeBytes:])
	if !ok {
		return netip.Prefix{}, fmt.Errorf("expiry index %x: no prefix: %w", key, ErrDamaged)
	}
	if key[len(key)-1] == wakeExemption {
		return p, c.endExemption(p)
	}
	k, err := PrefixKey(p)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("expiry index %x: %w: %w", key, err, ErrDamaged)
	}
	r, err := c.record(k)
	if err != nil || !r.Wake.Equal(at) { // else a leftover of a record that moved
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
		c.decide(r)
	}
	r.refresh()
	if err := c.save(r); err != nil {
		return netip.Prefix{}, err
	}
	if before&^r.source() != 0 {
		return p, nil
	}
	return netip.Prefix{}, nil
}

// renewEndings makes the table of what ends soon anew, for answers whose TTL
// must not outlive the listing. It reaches twice as far as the longest TTL, so
// that it is whole until it is made again.
func (s *Store) renewEndings() {
	settings := s.settings.Load()
	current := s.snapshot.Load()
	soon := now().Add(2 * settings.Horizon)
	var endings []Ending
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) (err error) {
			endings, err = endingsUntil(tx, current, soon)
			return err
		})
	})
	if err != nil {
		s.log.Error("find the listings that end soon", slog.Any("err", err))
		return
	}
	s.state.soon = soon
	if len(endings) == 0 && len(s.state.endings) == 0 {
		return
	}
	s.state.endings = endings
	s.swap(current.Next(Next{
		Sequence: current.Sequence(), Time: current.Time(), NewestEvidence: current.NewestEvidence(), Endings: endings,
	}))
}

func endingsUntil(tx *bolt.Tx, current *Snapshot, soon time.Time) (endings []Ending, err error) {
	cursor := tx.Bucket(bucketExpiry).Cursor()
	for key, _ := cursor.First(); key != nil && len(endings) < endingsLimit; key, _ = cursor.Next() {
		if timeOf(key[:timeBytes]).After(soon) {
			break
		}
		r, err := indexed(tx, key)
		if err != nil {
			return nil, err
		}
		if r == nil || r.until().IsZero() || r.until().After(soon) {
			continue
		}
		for e := range current.Within(r.Key.Prefix()) {
			endings = append(endings, Ending{Prefix: e.Prefix, Until: r.until()})
		}
	}
	return endings, nil
}

// indexed returns the record that an entry of the expiry index is about, and
// nil when it is about something else.
func indexed(tx *bolt.Tx, key []byte) (*record, error) {
	p, ok := prefixOf(key[timeBytes:])
	if !ok || key[len(key)-1] != wakeRecord {
		return nil, nil //nolint:nilnil // no record is no error
	}
	k, err := PrefixKey(p)
	if err != nil {
		return nil, err
	}
	return readRecord(tx, k)
}

// pruneSeen forgets identities that are too old to come again: a few at a time,
// round and round.
func (w *writer) pruneSeen(c *change) error {
	cursor := c.bucket(bucketSeen).Cursor()
	key, value := cursor.Seek(w.sweep)
	var old [][]byte
	for n := 0; key != nil && n < stepLimit; n++ {
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
