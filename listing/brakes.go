package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Brakes bound what the program does to the list by itself, since a mistake of a
// sensor or a clock that was set can do much at once. When one of them takes
// hold, what is published stays as it is, reports are still taken in, and an
// operator is waited for: see [Store.Resume].
type Brakes struct {
	// More new listings by evidence than this within an hour, and than this part
	// of the list, freeze automatic listing. 0 listings: no bound.
	Listings      int     `json:"listings"`
	ListingsShare float64 `json:"listings_share"`
	// More listings than this that would come or go at once, and than this part of
	// the list, stay as they are, unless an operator ordered it: when their time is
	// over, when exemptions end or are imported, and when the configuration exempts
	// others. 0 endings: no bound.
	Endings      int     `json:"endings"`
	EndingsShare float64 `json:"endings_share"`
}

// DefaultBrakes returns the bounds that a configuration starts from.
func DefaultBrakes() Brakes {
	return Brakes{Listings: 50, ListingsShare: 0.01, Endings: 100, EndingsShare: 0.5}
}

// Validate reports everything that is wrong with the bounds.
func (b Brakes) Validate() error {
	var errs []error
	for _, bound := range []struct {
		name  string
		count int
		share float64
	}{{"listings", b.Listings, b.ListingsShare}, {"endings", b.Endings, b.EndingsShare}} {
		if bound.count < 0 || bound.count > maxItems {
			errs = append(errs, fmt.Errorf("%s %d: want 0 (no bound) to %d", bound.name, bound.count, maxItems))
		}
		if !(bound.share >= 0 && bound.share <= 1) { // NaN is neither
			errs = append(errs, fmt.Errorf("%s_share %s: want 0 to 1", bound.name, decimal(bound.share)))
		}
	}
	return errors.Join(errs...)
}

// bound returns the larger of a count and a part of the list.
func bound(count int, share float64, list uint64) int { return max(count, int(share*float64(list))) }

// brakes is the state of the brakes, one stored value. It has no pointers, so
// that a transaction can change its copy.
type brakes struct {
	Frozen  time.Time // automatic listing since; zero: it is not
	Limit   int       // that was passed then
	Held    int       // keys that evidence would have listed since
	Stalled time.Time // expiry since; zero: it is not
	Due     int       // listings whose time was over then, at least
	List    int       // how long the list was
	Cleared time.Time // what was to end by then may end: an operator said so
	Recent  lastHour  // new listings by evidence

	Withheld       time.Time // what the configuration exempts since; zero: it is in force
	Gone, Come, Of int       // what that would have taken off a list so long, and brought

	Seen     time.Time // what the clock said when that was last noted
	Jumped   time.Time // where the clock jumped to; zero: it is believed
	Believed time.Time // what it said before
}

// lastHour counts by the minute.
type lastHour struct {
	minute int64 // since 1970, of the last count
	counts [60]uint32
}

// at moves the counts on to a moment. When the clock was set back they are
// taken for new ones.
func (h *lastHour) at(now time.Time) {
	minute := max(now.Unix(), 0) / 60
	for n := int64(0); n < int64(len(h.counts)) && h.minute < minute; n++ {
		h.minute++
		h.counts[h.slot()] = 0
	}
	if h.minute == minute {
		return
	}
	sum := h.sum() // after more than an hour nothing
	*h = lastHour{minute: minute}
	h.counts[h.slot()] = sum
}

func (h *lastHour) slot() int { return int(h.minute % int64(len(h.counts))) }

func (h *lastHour) sum() (sum uint32) {
	for _, n := range h.counts {
		sum += n
	}
	return sum
}

func (b *brakes) encode(key []byte) []byte {
	e := newEncoder(brakesVersion)
	e.time(b.Frozen)
	e.uint(uint64(b.Limit))
	e.uint(uint64(b.Held))
	e.time(b.Stalled)
	e.uint(uint64(b.Due))
	e.uint(uint64(b.List))
	e.time(b.Cleared)
	e.uint(uint64(b.Recent.minute))
	for _, n := range b.Recent.counts {
		e.uint(uint64(n))
	}
	e.time(b.Seen)
	e.time(b.Jumped)
	e.time(b.Believed)
	e.time(b.Withheld)
	e.uint(uint64(b.Gone))
	e.uint(uint64(b.Come))
	e.uint(uint64(b.Of))
	return e.seal(key)
}

// readBrakes reads the state of the brakes; none was stored before it was first
// noted.
func (st *state) readBrakes(tx *bolt.Tx) error {
	value := tx.Bucket(bucketMeta).Get(keyBrakes)
	if value == nil {
		st.brakes = brakes{}
		return nil
	}
	d := openValue(keyBrakes, value, brakesVersion, brakesVersion2, brakesVersion1)
	b := brakes{
		Frozen: d.time(), Limit: d.small(), Held: d.small(),
		Stalled: d.time(), Due: d.small(), List: d.small(), Cleared: d.time(),
	}
	b.Recent.minute = int64(d.uint())
	if b.Recent.minute < 0 {
		d.fail("counts in minute %d", b.Recent.minute)
	}
	for i := range b.Recent.counts {
		b.Recent.counts[i] = uint32(d.small())
	}
	if d.err == nil && value[0] != brakesVersion1 {
		b.Seen, b.Jumped, b.Believed = d.time(), d.time(), d.time()
	}
	if d.err == nil && value[0] == brakesVersion {
		b.Withheld, b.Gone, b.Come, b.Of = d.time(), d.small(), d.small(), d.small()
	}
	st.brakes = b
	if err := d.finish(); err != nil {
		return fmt.Errorf("the state of the brakes: %w", err)
	}
	return nil
}

// heldKey is where the index notes a key that evidence would list: at a moment
// that never comes, since an operator decides when.
func heldKey(p netip.Prefix) []byte { return wakeKey(time.Unix(maxUnix, 0), p, wakeHeld) }

// heldKeys returns the entries of the index that say what is held back.
func heldKeys(tx *bolt.Tx) (keys [][]byte) {
	cursor := tx.Bucket(bucketExpiry).Cursor()
	for key, value := cursor.Seek(appendTime(nil, time.Unix(maxUnix, 0))); key != nil; key, value = cursor.Next() {
		w, ok := wakeOf(key)
		if ok && w.kind == wakeHeld && openValue(key, value, indexVersion).finish() == nil {
			keys = append(keys, bytes.Clone(key))
		}
	}
	return keys
}

// mayList reports whether evidence may begin a listing now. If not, the key is
// looked at again when an operator lifts the brake.
func (c *change) mayList(k Key) (bool, error) {
	b := &c.brakes
	if c.released {
		return true, nil
	}
	if b.Frozen.IsZero() {
		limit, within := c.beginOne()
		if within == "" {
			return true, nil
		}
		b.Frozen, b.Limit = c.now, limit
		why := fmt.Sprintf("automatic listing is frozen: more than %d new listings by evidence %s", limit, within)
		c.log.Error("a brake is on; 'backscatter resume' lifts it", slog.String("why", why))
		c.note(AuditEntry{Action: ActionBrake, By: Actor{UID: -1, Name: actorEvidence}, Reason: why})
	}
	key, index := heldKey(k.Prefix()), c.bucket(bucketExpiry)
	if index.Get(key) != nil {
		return false, nil
	}
	b.Held++
	c.wrote = true
	if err := index.Put(key, indexValue(key)); err != nil {
		return false, fmt.Errorf("hold %s back: %w", k, err)
	}
	return false, nil
}

// beginOne counts a listing by evidence that begins, or tells which bound it would
// pass: that for an hour, or that for what is published at once.
func (c *change) beginOne() (limit int, within string) {
	bounds, recent := c.settings.Brakes, &c.brakes.Recent
	recent.at(c.now)
	if limit = bound(bounds.Listings, bounds.ListingsShare, c.meta.Entries); bounds.Listings > 0 && int(recent.sum()) >= limit {
		return limit, "within an hour"
	}
	if limit = bounds.endings(c.meta.Entries); bounds.Endings > 0 && c.begun >= limit {
		return limit, "at once"
	}
	if bounds.Listings > 0 {
		recent.counts[recent.slot()]++
	}
	c.begun++
	return 0, ""
}

// surveyLimit bounds the entries of the index that one step of a survey looks
// at.
const surveyLimit = 2000

// survey counts what is due before any of it is ended.
type survey struct {
	next  []byte    // where it goes on; nil: it begins
	until time.Time // it counts what is due by then
	due   int       // listings found that would come or go
	idle  bool      // nothing at all is due

	sorted     bool           // the others are known
	ends, left []netip.Prefix // what is exempt, by whether that ends by then; without overlaps
}

// mayEnd reports whether what is due may be ended, up to w.cleared. It looks
// first: in bounded steps, since all of a large list can be due.
func (w *writer) mayEnd(at time.Time) bool {
	bounds := w.settings.Load().Brakes
	if bounds.Endings == 0 || !w.state.ended.At.IsZero() { // of what is not published nothing can go
		w.cleared, w.survey = at, survey{}
		return true
	}
	if !w.state.brakes.Stalled.IsZero() {
		w.survey = survey{}
		return false
	}
	if w.state.brakes.Cleared.After(w.cleared) {
		w.cleared = w.state.brakes.Cleared
	}
	if w.cleared.After(at) { // the clock was set back, and what was looked at by it is another thing
		w.cleared = time.Time{}
	}
	if w.survey.next == nil || w.survey.until.After(at) {
		w.survey = survey{until: at}
	}
	limit := bounds.endings(w.state.meta.Entries)
	err := w.view(func(tx *bolt.Tx, _ time.Time) error { return w.look(tx, bounds.Endings, limit) })
	switch {
	case err != nil:
		w.log.Error("find out how much ends", slog.Any("err", err))
		w.survey, w.rested = survey{}, at
		return false
	case w.survey.due > limit:
		over := heldError{gone: w.survey.due, list: int(w.state.meta.Entries)}
		w.regular(task{"put the brake on expiry", over.stall})
		w.survey = survey{}
		return false
	case w.survey.next != nil:
		w.busy = true
		return false
	}
	return true
}

// look does a step of the survey. Where no more is due than may always end, or
// an operator let it end, it looks no closer.
func (w *writer) look(tx *bolt.Tx, few, limit int) error {
	cursor := tx.Bucket(bucketExpiry).Cursor()
	if w.survey.next == nil {
		key, _ := cursor.First()
		if w.survey.idle = !isDue(key, w.survey.until); w.survey.idle || isDue(key, w.cleared) {
			return nil
		}
		n := 0
		for ; isDue(key, w.survey.until) && n <= few; n++ {
			if entry, ok := wakeOf(key); ok && entry.kind == wakeExemption {
				n = few // it may hide any number
			}
			key, _ = cursor.Next()
		}
		if n <= few {
			w.cleared = w.survey.until
			return nil
		}
	}
	lex := newLexicon(tx)
	key, _ := cursor.Seek(w.survey.next)
	for n := 0; isDue(key, w.survey.until) && w.survey.due <= limit; n++ {
		if n == surveyLimit {
			w.survey.next = bytes.Clone(key)
			return nil
		}
		found, err := w.dueBy(tx, lex, key, limit-w.survey.due+1)
		if err != nil {
			return err
		}
		w.survey.due += found
		key, _ = cursor.Next()
	}
	w.survey.next = nil
	if w.survey.due <= limit {
		w.cleared = w.survey.until
	}
	return nil
}

// isDue reports whether the time of an entry of the index has come. One that is
// too short for a time is damaged, and to be looked at.
func isDue(key []byte, at time.Time) bool {
	return key != nil && (len(key) < timeBytes || !timeOf(key).After(at))
}

// BrakeStatus tells which brakes are on.
type BrakeStatus struct {
	Frozen  time.Time `json:"frozen,omitzero"`  // automatic listing, since
	Limit   int       `json:"limit,omitempty"`  // of new listings within an hour that was passed
	Held    int       `json:"held,omitempty"`   // keys that evidence would list
	Stalled time.Time `json:"stalled,omitzero"` // expiry, since
	Due     int       `json:"due,omitempty"`    // listings that would have come or gone, at least
	List    int       `json:"list,omitempty"`   // how long the list was then

	Withheld time.Time `json:"withheld,omitzero"` // what the configuration exempts, since
	Gone     int       `json:"gone,omitempty"`    // listings that it would take off
	Come     int       `json:"come,omitempty"`    // listings that it would bring back
	Of       int       `json:"of,omitempty"`      // how long the list was then

	Jumped     time.Time `json:"clock_jumped,omitzero"` // where the clock jumped to: nothing is dropped for its age
	JumpedFrom time.Time `json:"clock_jumped_from,omitzero"`
	Believed   time.Time `json:"clock_believed,omitzero"` // when the clock is believed without an operator's word
}

// Extent says how much would change by what the configuration exempts.
func (b *BrakeStatus) Extent() string { return (&heldError{b.Gone, b.Come, b.Of}).String() }

func (b *brakes) status() BrakeStatus {
	out := BrakeStatus{
		Frozen: b.Frozen, Limit: b.Limit, Held: b.Held, Stalled: b.Stalled, Due: b.Due, List: b.List,
		Withheld: b.Withheld, Gone: b.Gone, Come: b.Come, Of: b.Of,
	}
	if !b.Jumped.IsZero() {
		out.Jumped, out.JumpedFrom, out.Believed = b.Jumped, b.Believed, b.Jumped.Add(doubtTime)
	}
	return out
}

// resumeLimit bounds the keys that one transaction of a resumption decides on.
const resumeLimit = 100

// Resume lifts the brakes. What evidence would have listed meanwhile is decided
// now, by what it says now, in several transactions if it is much, and is told in
// the result; what was to end by now ends after it. With no brake on and nothing
// held back it does nothing. A brake that comes on before the last of them was not
// meant by the order: it stays on, and what is held back still is told as skipped.
func (s *Store) Resume(ctx context.Context, o Order) (Result, error) {
	out := Result{DryRun: o.DryRun}
	var next []byte
	for first := true; first || next != nil; first = false {
		from := next
		r, err := s.order(ctx, "resume", o, 1, func(c *change) (skipped []Problem, err error) {
			if from != nil && !o.DryRun && !c.brakes.Frozen.IsZero() {
				next = nil
				why := fmt.Sprintf("%d are held back still: automatic listing is frozen again since %s",
					c.brakes.Held, c.brakes.Frozen.Format(time.RFC3339))
				return []Problem{{Key: "the brake on listing", Why: why}}, nil
			}
			next, err = c.resume(o, from)
			return nil, err
		})
		if err != nil {
			return out, err
		}
		out.Sequence = r.Sequence
		out.Added, out.Removed, out.Skipped = append(out.Added, r.Added...), append(out.Removed, r.Removed...), append(out.Skipped, r.Skipped...)
		_ = s.at(stageResumed)
	}
	return out, nil
}

// resume does one step from an entry of the index on, and returns the next.
func (c *change) resume(o Order, from []byte) (next []byte, err error) {
	if from == nil {
		if err := c.liftBrakes(o); err != nil {
			return nil, err
		}
	}
	c.released = true
	keys, next := c.heldFrom(from)
	for _, key := range keys {
		if err := c.release(key); err != nil {
			return nil, err
		}
	}
	if next == nil && !o.DryRun {
		c.brakes.Held = 0
	}
	return next, nil
}

// liftBrakes lifts all brakes that are on.
func (c *change) liftBrakes(o Order) error {
	b := &c.brakes
	if b.Frozen.IsZero() && b.Stalled.IsZero() && b.Jumped.IsZero() && b.Withheld.IsZero() {
		return nil
	}
	text, err := detail(b.status())
	if err != nil {
		return err
	}
	c.note(AuditEntry{Action: ActionResume, By: o.By, Reason: o.Reason, Detail: text})
	if !b.Stalled.IsZero() {
		b.Cleared, c.stale = c.now, true
	}
	withheld := !b.Withheld.IsZero()
	*b = brakes{Held: b.Held, Cleared: b.Cleared, Seen: c.now}
	if withheld {
		return c.applyBuiltIn()
	}
	return nil
}

// heldFrom returns the entries of the keys that are held back, and the first
// that is too many for one transaction.
func (c *change) heldFrom(from []byte) (keys [][]byte, next []byte) {
	if from == nil {
		from = appendTime(nil, time.Unix(maxUnix, 0))
	}
	cursor := c.bucket(bucketExpiry).Cursor()
	for key, _ := cursor.Seek(from); key != nil; key, _ = cursor.Next() {
		if len(keys) == resumeLimit {
			return keys, bytes.Clone(key)
		}
		keys = append(keys, bytes.Clone(key))
	}
	return keys, nil
}

// release decides on a key that was held back.
func (c *change) release(key []byte) error {
	if err := c.bucket(bucketExpiry).Delete(key); err != nil {
		return fmt.Errorf("expiry index %x: %w", key, err)
	}
	c.wrote = true
	c.brakes.Held = max(c.brakes.Held-1, 0)
	w, ok := wakeOf(key)
	if !ok {
		return nil
	}
	k, err := PrefixKey(w.p)
	if err != nil {
		return nil //nolint:nilerr // no record has such a key
	}
	r, err := c.record(k)
	if errors.Is(err, ErrDamaged) {
		c.log.Error("a record that was held back is damaged", slog.Any("err", err))
		return nil
	}
	if err != nil || r.Evidence != nil {
		return err
	}
	if _, err := c.decide(r); err != nil || r.Evidence == nil {
		return err
	}
	return c.save(r)
}
