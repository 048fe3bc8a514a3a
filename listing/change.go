package listing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
)

// state is what the writer keeps beside the database: all of it can be read
// back from there. A change works on a copy, which takes the place of the state
// after the commit.
type state struct {
	meta    meta
	exempt  []Exemption    // in force, sorted by prefix; replaced, never changed
	holes   []netip.Prefix // the same without overlaps
	endings []Ending       // listings that end soon
	soon    time.Time      // how far the table of endings reaches
	wakes   time.Time      // the first moment in the expiry index; zero: there is none

	reporters map[string]Enrolment // as stored; replaced, never changed
	brakes    brakes
	ended     Decommission // zero: the list is in use
}

// change is one transaction under way.
type change struct {
	state
	tx       *bolt.Tx
	now      time.Time
	log      *slog.Logger
	settings *Settings
	current  *Snapshot
	buckets  map[string]bucket // of the transaction
	lex      *lexicon
	weigh    weigher  // reporters, as of now
	touched  *touched // of a compaction under way

	dirty  []netip.Prefix         // where what is published may differ
	fresh  map[netip.Prefix]Entry // of the first of these that are hosts, what was saved; the zero entry of one not listed
	audits []AuditEntry
	wrote  bool // there is something to commit
	cut    bool // the published settings changed: new sequence, journal begins anew
	stale  bool // the table of endings must be made anew

	ordered  bool   // an operator asked for what it exempts, and so knows how much that is
	ending   bool   // what has had its time, which waits for no damaged record beside it
	released bool   // an operator lets evidence list, whatever the brakes say
	begun    int    // listings by evidence
	braked   brakes // as they were
	removed  []Entry
	added    []Entry
}

func (s *Store) newChange(tx *bolt.Tx) *change {
	c := &change{state: s.state, tx: tx, now: s.now(), log: s.log, settings: s.settings.Load(), current: s.snapshot.Load(), touched: s.touched}
	c.lex = &lexicon{b: c.bucket(bucketTexts)}
	c.weigh, c.braked = c.weigher(c.settings, c.now), c.brakes
	if reach := s.endingsReach(); reach.After(c.soon) { // while nothing ends, the table is left alone
		c.soon = reach
	}
	return c
}

func (c *change) bucket(name []byte) bucket {
	if b, ok := c.buckets[string(name)]; ok {
		return b
	}
	b := bucketOf(c.tx, name)
	if b.touched = c.touched; b.Bucket != nil {
		b.reads = b.Bucket.Cursor()
	}
	if b.Bucket != nil && growsAtEnd(name) {
		b.FillPercent = 1
	}
	if c.buckets == nil {
		c.buckets = make(map[string]bucket, len(buckets))
	}
	c.buckets[b.name] = b
	return b
}

// record reads the record of a key, or begins one.
func (c *change) record(k Key) (*record, error) {
	key := prefixKey(k.Prefix())
	if value := c.bucket(bucketRecords).Get(key); value != nil {
		return loadRecord(c.lex, key, value)
	}
	return &record{Key: k}, nil
}

// readRecord returns nil when there is none.
func readRecord(tx *bolt.Tx, k Key) (*record, error) { return findRecord(tx, newLexicon(tx), k) }

// findRecord is readRecord for who reads many.
func findRecord(tx *bolt.Tx, lex *lexicon, k Key) (*record, error) {
	key := prefixKey(k.Prefix())
	value := tx.Bucket(bucketRecords).Get(key)
	if value == nil {
		return nil, nil //nolint:nilnil // no record is no error
	}
	return loadRecord(lex, key, value)
}

func loadRecord(lex *lexicon, key, value []byte) (*record, error) {
	r, err := decodeRecord(lex, key, value)
	if err != nil {
		return nil, err
	}
	r.was, r.wasUntil, r.manual = r.entry(), r.until(), r.Manual != nil
	return r, nil
}

// save writes the record, keeps the expiry index in step, and notes what it
// changed in what is published.
func (c *change) save(r *record) error {
	c.wrote = true
	key := prefixKey(r.Key.Prefix())
	if err := c.index(r); err != nil {
		return err
	}
	value, err := r.encode(c.lex, key)
	if err == nil {
		err = c.bucket(bucketRecords).Put(key, value)
	}
	if err != nil {
		return fmt.Errorf("write record %s: %w", r.Key, err)
	}
	if manual := r.Manual != nil; manual != r.manual && !r.Key.IsHost() {
		if manual {
			c.meta.Widths[spread(r.Key.Prefix())]++
		} else {
			c.meta.Widths[spread(r.Key.Prefix())]--
		}
	}
	until, changed := r.until(), r.entry() != r.was
	if changed {
		c.dirty = append(c.dirty, r.Key.Prefix())
		c.remember(r)
	}
	// A renewal makes an entry of the table wrong only on the safe side.
	if (changed || until.Before(r.wasUntil)) && !until.IsZero() && !until.After(c.soon) {
		c.stale = true
	}
	return nil
}

// remember spares [change.publish] to read a host's record again. Of a large change
// only the beginning is remembered, for it would take too much memory.
func (c *change) remember(r *record) {
	p := r.Key.Prefix()
	if _, known := c.fresh[p]; !r.Key.IsHost() || !known && len(c.fresh) >= groupLimit {
		return
	}
	if c.fresh == nil {
		c.fresh = make(map[netip.Prefix]Entry)
	}
	c.fresh[p] = r.entry()
}

// What the last byte of a key of the expiry index says the rest is about.
const (
	wakeRecord byte = iota
	wakeExemption
	wakeHeld // back by a brake
)

// wake is what a key of the expiry index says.
type wake struct {
	at   time.Time
	p    netip.Prefix
	kind byte
}

func wakeKey(at time.Time, p netip.Prefix, kind byte) []byte {
	return append(append(appendTime(make([]byte, 0, timeBytes+keyBytes6+1), at), prefixKey(p)...), kind)
}

// wakeOf reads a key of the expiry index.
func wakeOf(key []byte) (w wake, ok bool) {
	if len(key) <= timeBytes {
		return w, false
	}
	p, kind, ok := cutPrefix(key[timeBytes:])
	if !ok || len(kind) != 1 {
		return w, false
	}
	return wake{timeOf(key), p, kind[0]}, true
}

// firstWake returns the first moment in the index; zero when there is none. An entry
// that is too short for a time is damaged, and looked at when another's has come.
func firstWake(tx *bolt.Tx) time.Time {
	if key, _ := tx.Bucket(bucketExpiry).Cursor().First(); len(key) >= timeBytes {
		return timeOf(key)
	}
	return time.Time{}
}

// index keeps the record's place in the expiry index. A renewal, which only
// puts the end off, leaves it where it is: when that moment comes the record is
// looked at, published anew, and indexed under its new end.
func (c *change) index(r *record) error {
	next := r.next()
	if !r.Wake.IsZero() && !next.IsZero() && !next.Before(r.Wake) {
		return nil
	}
	if next.Equal(r.Wake) {
		return nil
	}
	if !r.Wake.IsZero() {
		if err := c.bucket(bucketExpiry).Delete(wakeKey(r.Wake, r.Key.Prefix(), wakeRecord)); err != nil {
			return fmt.Errorf("index %s: %w", r.Key, err)
		}
	}
	r.Wake = next
	if next.IsZero() {
		return nil
	}
	return c.wakeAt(next, r.Key.Prefix(), wakeRecord)
}

func (c *change) wakeAt(at time.Time, p netip.Prefix, kind byte) error {
	key := wakeKey(at, p, kind)
	if err := c.bucket(bucketExpiry).Put(key, indexValue(key)); err != nil {
		return fmt.Errorf("index %s: %w", p, err)
	}
	return nil
}

// indexValue is what stands under a key of the expiry index: nothing but its checksum.
func indexValue(key []byte) []byte { return newEncoderFor(indexVersion, 1+sumBytes).seal(key) }

// covering returns the record of the operator's prefix that holds p and is
// wider than a host, if there is one.
func (c *change) covering(p netip.Prefix) (*record, error) { return covering(c.tx, &c.meta.Widths, p) }

func covering(tx *bolt.Tx, widths *widths, p netip.Prefix) (*record, error) {
	base := 0
	least := MinBits6
	if p.Addr().Is4() {
		base, least = mappedBits, MinBits4
	}
	for bits := least; bits <= p.Bits(); bits++ {
		if widths != nil && widths[base+bits] == 0 {
			continue
		}
		wide, err := p.Addr().Prefix(bits)
		if err != nil {
			return nil, err
		}
		k, err := PrefixKey(wide)
		if err != nil || k.IsHost() || k.Prefix() != wide {
			continue
		}
		r, err := readRecord(tx, k)
		if err != nil {
			return nil, err
		}
		if r != nil && r.Manual != nil {
			return r, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing covers it
}

// widest is what [Regions] asks for.
func (c *change) widest(p netip.Prefix) (netip.Prefix, bool) { return widest(c.tx, &c.meta.Widths, p) }

// widest returns the widest record that covers p, or could.
func widest(tx *bolt.Tx, widths *widths, p netip.Prefix) (netip.Prefix, bool) {
	if r, err := covering(tx, widths, p); err == nil && r != nil {
		return r.Key.Prefix(), true
	}
	// An exemption can be narrower than a /64 that is listed.
	if k, err := HostKey(p.Addr()); err == nil && covers(k.Prefix(), p) {
		return k.Prefix(), true
	}
	return netip.Prefix{}, false
}

// records calls fn with every record that lies inside p.
func records(tx *bolt.Tx, p netip.Prefix, fn func(*record) error) error {
	return recordsBy(tx, newLexicon(tx), p, fn)
}

// recordsBy is records for who reads of many prefixes.
func recordsBy(tx *bolt.Tx, lex *lexicon, p netip.Prefix, fn func(*record) error) error {
	return salvageRecords(tx, lex, p, fn, func(_ netip.Prefix, err error) error { return err })
}

// salvageRecords is recordsBy for who is told of the records that cannot be read, and
// goes on.
func salvageRecords(tx *bolt.Tx, lex *lexicon, p netip.Prefix, fn func(*record) error, broken func(netip.Prefix, error) error) error {
	first, last := keysOf(p)
	cursor := tx.Bucket(bucketRecords).Cursor()
	for key, value := cursor.Seek(first); key != nil && bytes.Compare(key, last) <= 0; key, value = cursor.Next() {
		q, ok := prefixOf(key)
		if !ok {
			return fmt.Errorf("key %x of a record is no prefix: %w", key, ErrDamaged)
		}
		if !covers(p, q) {
			continue
		}
		r, err := loadRecord(lex, key, value)
		if err == nil {
			err = fn(r)
		} else {
			err = broken(q, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publishStep is how many regions are compared at once, so that a large import takes
// little more memory than what it changes.
const publishStep = 4096

// publish finds out what is published now and was not, and the other way
// round.
func (c *change) publish() error {
	var before, after []Entry
	for regions := range slices.Chunk(Regions(c.dirty, c.widest), publishStep) {
		before, after = before[:0], after[:0]
		for _, region := range regions {
			before = slices.AppendSeq(before, c.current.Within(region))
			if e, known := c.fresh[region]; known { // inside a host is nothing else
				if e.Prefix.IsValid() {
					after = append(after, e)
				}
				continue
			}
			var err error
			if after, err = c.listedIn(region, after); err != nil {
				return err
			}
		}
		removed, added := Diff(before, Visible(after, c.holesIn(regions)))
		c.removed, c.added = append(c.removed, removed...), append(c.added, added...)
	}
	c.dirty = nil
	return nil
}

// listedIn adds what the records of a region list.
func (c *change) listedIn(region netip.Prefix, after []Entry) ([]Entry, error) {
	err := salvageRecords(c.tx, c.lex, region, func(r *record) error {
		if r.listed() {
			after = append(after, r.entry())
		}
		return nil
	}, func(p netip.Prefix, err error) error {
		if !c.ending {
			return err
		}
		c.log.Error("a record beside what ends is damaged; what is published of it stays", slog.Any("err", err))
		if e, ok := c.current.Get(p); ok {
			after = append(after, e)
		}
		return nil
	})
	return after, err
}

// holesIn returns the exempt prefixes that matter in the regions.
func (c *change) holesIn(regions []netip.Prefix) []netip.Prefix {
	if len(regions) > 8 { // to compare each with each would cost more than it saves
		return c.holes
	}
	return slices.DeleteFunc(slices.Clone(c.holes), func(hole netip.Prefix) bool {
		return !slices.ContainsFunc(regions, hole.Overlaps)
	})
}

// finish completes the transaction: sequence, digest, journal, audit, meta. All
// but the commit is done after it.
func (c *change) finish() error {
	if err := c.publish(); err != nil {
		return err
	}
	if len(c.removed)+len(c.added) > 0 || c.cut {
		c.wrote = true
		c.meta.Sequence++
		c.meta.Time = c.now
		for _, e := range c.removed {
			c.meta.Digest -= entryHash(e)
		}
		for _, e := range c.added {
			c.meta.Digest += entryHash(e)
		}
		c.meta.Entries += uint64(len(c.added)) - uint64(len(c.removed))
		if err := c.journal(); err != nil {
			return err
		}
	}
	if len(c.audits) > 0 {
		c.wrote = true
	}
	for i := range c.audits {
		if err := c.writeAudit(&c.audits[i]); err != nil {
			return err
		}
		c.audits[i] = AuditEntry{} // which is large after an import
	}
	if c.brakes != c.braked {
		c.wrote = true
		if err := c.bucket(bucketMeta).Put(keyBrakes, c.brakes.encode(keyBrakes)); err != nil {
			return fmt.Errorf("write the state of the brakes: %w", err)
		}
	}
	if !c.wrote {
		return nil
	}
	c.wakes = firstWake(c.tx)
	c.meta.Commits++
	if err := c.bucket(bucketMeta).Put(keyState, c.meta.encode(keyState)); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// next returns the snapshot after the change.
func (c *change) next() *Snapshot {
	n := Next{
		Sequence: c.meta.Sequence, Time: c.meta.Time, NewestEvidence: c.meta.Newest,
		Added: c.added, Endings: c.endings, Decommissioned: c.ended.At,
	}
	for _, e := range c.removed {
		n.Removed = append(n.Removed, e.Prefix)
	}
	return c.current.Next(n)
}

// result is what an order's sender is told.
func (c *change) result(o Order) Result {
	return Result{Sequence: c.meta.Sequence, Added: c.added, Removed: c.removed, DryRun: o.DryRun}
}

// note leaves an audit entry in the transaction and returns its number. The
// entries are written when the transaction is finished, in this order.
func (c *change) note(a AuditEntry) uint64 {
	a.Time = c.now
	a.Number = c.meta.Audit + uint64(len(c.audits)) + 1
	if len(a.Prefixes) >= bulk {
		a.pack()
	}
	c.audits = append(c.audits, a)
	return a.Number
}

// detail writes what an audit entry tells beyond its fields.
func detail(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write audit entry: %w", err)
	}
	return b, nil
}

// entryHash is what an entry adds to the digest of all that is published. The
// sum does not depend on the order, so that a change costs what it changes.
func entryHash(e Entry) uint64 {
	b := entryBytes(e)
	return xxhash.Sum64(b[:])
}

const entrySize = 28

// entryBytes is an entry as it is hashed.
func entryBytes(e Entry) (b [entrySize]byte) {
	addr := e.Prefix.Addr().As16()
	copy(b[:], addr[:])
	b[16] = byte(spread(e.Prefix))
	binary.BigEndian.PutUint16(b[17:], uint16(e.Classes))
	b[19] = byte(e.Class)
	binary.BigEndian.PutUint16(b[20:], e.Summary.Events)
	binary.BigEndian.PutUint16(b[22:], uint16(e.Summary.Since))
	binary.BigEndian.PutUint16(b[24:], uint16(e.Summary.Last))
	binary.BigEndian.PutUint16(b[26:], uint16(e.Summary.Until))
	return b
}

// errDryRun ends a transaction that must leave nothing.
var errDryRun = errors.New("dry run")
