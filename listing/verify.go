package listing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Damage is one thing that is wrong with a store.
type Damage struct {
	Part   string `json:"part"`             // the bucket, or what else it is about
	Key    string `json:"key,omitempty"`    // what it is about, as people write it
	What   string `json:"what"`             // what is wrong
	Repair string `json:"repair,omitempty"` // what [Repair] does about it; empty: nothing, restore a backup
}

// String tells the damage on one line.
func (f Damage) String() string {
	if f.Key == "" {
		return f.Part + ": " + f.What
	}
	return f.Part + " " + f.Key + ": " + f.What
}

// Verdict is what was found when a store was verified.
type Verdict struct {
	Sequence     uint64   `json:"sequence"`
	Entries      uint64   `json:"entries"` // published
	Records      uint64   `json:"records"`
	Observations uint64   `json:"observations"`
	Journal      uint64   `json:"journal"` // changes kept
	Audit        uint64   `json:"audit"`   // entries
	Headers      uint64   `json:"headers"` // of reports
	Damage       []Damage `json:"damage"`
	More         int      `json:"more,omitempty"` // damage beyond what is told
}

// maxDamage is how much of it is told; the rest is counted.
const maxDamage = 1000

// Err returns the damage as one error that wraps [ErrDamaged]; nil when there
// is none.
func (v *Verdict) Err() error {
	var errs []error
	for _, f := range v.Damage {
		errs = append(errs, fmt.Errorf("%s: %w", f, ErrDamaged))
	}
	return errors.Join(errs...)
}

func (v *Verdict) damage(part, key, repair, what string) {
	if len(v.Damage) >= maxDamage {
		v.More++
		return
	}
	v.Damage = append(v.Damage, Damage{Part: part, Key: key, What: what, Repair: repair})
}

// What Repair does.
const (
	repairIndex   = "made anew from the records"
	repairSeen    = "taken for one of now"
	repairCount   = "counted anew"
	repairJournal = "begun anew: secondaries fetch the whole zone once"
	repairText    = "made anew from its other half"
	repairOrder   = "put in order; what is wrong beyond that is told then"
	repairHeaders = "dropped, since nothing follows from it"
	repairDigest  = "made anew from the records, under a new serial"

	// With drop.
	repairFrozen = "the brake on listing was put on: see status"
	repairEnded  = "taken for decommissioned: 'decommission --undo' brings the list back"
	repairChain  = "chained anew from the break on"
	repairEntry  = "gave way to an entry that says so"
)

// Verify reads the whole database and reports what is wrong with it: the order
// of keys, checksums, the records against what is published, the indexes and
// counts against the records, the journal's and the audit's chains. Nil says that
// all is well.
func (s *Store) Verify() error {
	v, err := s.Examine()
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		return fmt.Errorf("verify store %s: %w", s.path, err)
	}
	return nil
}

// Examine does what Verify does and tells each damage. The error says why that
// could not be done.
func (s *Store) Examine() (Verdict, error) {
	var v Verdict
	f, err := os.Open(s.path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	if err := guard(func() error { return steadyMeta(f) }); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return v, err
		}
		v.damage("pages", "", "", err.Error())
		return v, nil
	}
	err = s.view(func(tx *bolt.Tx, now time.Time) error {
		if err := sameFile(f, s.path); err != nil {
			return err // then the transaction may be one of another file
		}
		if err := checkTx(tx, f); err != nil {
			if errors.Is(err, ErrDamaged) {
				v.damage("pages", "", "", err.Error())
				return nil
			}
			return err
		}
		v = examine(tx, now)
		return nil
	})
	return v, contain(&v, err)
}

// contain makes damage of what a damaged file makes bbolt do.
func contain(v *Verdict, err error) error {
	if _, ok := errors.AsType[*panicError](err); ok {
		v.damage("pages", "", "", err.Error())
		return nil
	}
	return err
}

func examine(tx *bolt.Tx, _ time.Time) (v Verdict) {
	v.Damage = []Damage{}
	if !v.order(tx) {
		return v // what else is found in such a file means nothing
	}
	v.names(tx)
	m, err := decodeMeta(keyState, tx.Bucket(bucketMeta).Get(keyState))
	if err != nil {
		v.damage("state", "", "", err.Error())
		return v
	}
	v.Sequence, v.Entries, v.Audit = m.Sequence, m.Entries, m.Audit
	v.texts(tx)
	v.published(tx, &m)
	v.observations(tx, &m)
	v.headers(tx)
	v.index(tx)
	v.journal(tx, &m)
	v.large(tx)
	if err := verifyAudit(tx, &m); err != nil {
		v.damage("audit", "", "", err.Error())
	}
	return v
}

// order walks through all keys of all buckets, which must rise: a search finds
// nothing else. bbolt's own check does more, but in a goroutine of its own, where
// a damaged page would end the process.
func (v *Verdict) order(tx *bolt.Tx) bool {
	for _, name := range buckets {
		b := tx.Bucket(name)
		if b == nil && bytes.Equal(name, bucketHeaders) {
			continue // a store of before there were any
		}
		if b == nil {
			v.damage(string(name), "", "", "the bucket is missing")
			return false
		}
		if err := rises(b); err != nil {
			v.damage(string(name), "", repairOrder, err.Error())
			return false
		}
	}
	return true
}

// texts checks that each half of the lexicon has its other.
func (v *Verdict) texts(tx *bolt.Tx) {
	b := tx.Bucket(bucketTexts)
	_ = b.ForEach(func(key, value []byte) error {
		if err := checkText(b, key, value); err != nil {
			v.damage("texts", hex.EncodeToString(key), repairText, err.Error())
		}
		return nil
	})
}

func checkText(b *bolt.Bucket, key, value []byte) error {
	if len(key) == 1+8 && key[0] == lexiconNumber {
		text, err := decodeText(key, value)
		if err != nil {
			return err
		}
		other := textKey(text)
		_, _, err = decodeNumbered(other, b.Get(other))
		return err
	}
	n, _, err := decodeNumbered(key, value)
	if err != nil {
		return err
	}
	other := lexiconKey(n)
	_, err = decodeText(other, b.Get(other))
	return err
}

// published compares the records with the digest.
func (v *Verdict) published(tx *bolt.Tx, m *meta) {
	var st state
	for _, read := range []func(*bolt.Tx) error{st.readDecommission, st.readReporters} {
		if err := read(tx); err != nil {
			v.damage("state", "", "", err.Error())
		}
	}
	if err := st.readBrakes(tx); err != nil {
		v.damage("state", "", "", err.Error())
	} else if n := len(heldKeys(tx)); n != st.brakes.Held {
		v.damage("state", "", repairCount, fmt.Sprintf("%d keys are held back, not %d", n, st.brakes.Held))
	}
	var err error
	st.exempt, err = exemptions(tx, func(x Exemption, err error) {
		v.damage("exempt", x.Prefix.String(), "", err.Error())
	})
	if err != nil {
		return
	}
	st.findHoles()
	entries, wide, broken := salvage(tx, st.holes)
	for _, err := range broken {
		v.damage("records", "", "", err.Error())
	}
	if len(broken) > 0 {
		return // there is nothing to compare
	}
	if digestOf(entries) != m.Digest || uint64(len(entries)) != m.Entries {
		v.damage("digest", "", repairDigest, fmt.Sprintf("the records make %d entries that are not the %d that were published", len(entries), m.Entries))
	}
	if wide != m.Widths {
		v.damage("state", "", repairCount, "operators' prefixes are counted wrongly")
	}
}

// observations reads every observation and, beside them, the records: each has a
// record, and each record knows how many are its own.
func (v *Verdict) observations(tx *bolt.Tx, m *meta) {
	lex := newLexicon(tx)
	cursor := tx.Bucket(bucketObservations).Cursor()
	key, value := cursor.First()
	next := func(prefix []byte) (n int) {
		for ; bytes.HasPrefix(key, prefix); key, value = cursor.Next() {
			n++
			v.Observations++
			if _, err := decodeObservation(lex, key, value); err != nil {
				v.damage("observations", "", "", err.Error())
			}
		}
		return n
	}
	stray := func(before []byte) {
		for key != nil && (before == nil || bytes.Compare(key, before) < 0) {
			v.damage("observations", hex.EncodeToString(key), "", "there is no record that it belongs to")
			key, value = cursor.Next()
			v.Observations++
		}
	}
	_ = tx.Bucket(bucketRecords).ForEach(func(recordKey, recordValue []byte) error {
		v.Records++
		stray(recordKey)
		n := next(recordKey)
		if r, err := loadRecord(lex, recordKey, recordValue); err == nil && r.Kept != n {
			v.damage("records", r.Key.String(), repairCount, fmt.Sprintf("it has %d observations, not %d", n, r.Kept))
		}
		return nil
	})
	stray(nil)
	if v.Observations != m.Observations {
		v.damage("state", "", repairCount, fmt.Sprintf("there are %d observations, not %d", v.Observations, m.Observations))
	}
	_ = tx.Bucket(bucketSeen).ForEach(func(id, value []byte) error {
		if _, err := decodeStamp(id, value); err != nil || len(id) != len(ID{}) {
			v.damage("seen", hex.EncodeToString(id), repairSeen, fmt.Sprintf("entry of %d bytes: %v", len(id), err))
		}
		return nil
	})
}

// index checks that every record and exemption will be looked at in time.
func (v *Verdict) index(tx *bolt.Tx) {
	index, lex := tx.Bucket(bucketExpiry), newLexicon(tx)
	expect := func(what fmt.Stringer, key []byte) {
		if err := openValue(key, index.Get(key), indexVersion).finish(); err != nil {
			v.damage("expiry", what.String(), repairIndex, err.Error())
		}
	}
	_ = tx.Bucket(bucketRecords).ForEach(func(key, value []byte) error {
		r, err := loadRecord(lex, key, value)
		if err != nil {
			return nil //nolint:nilerr // told by published
		}
		if next := r.next(); !next.IsZero() && (r.Wake.IsZero() || r.Wake.After(next)) {
			v.damage("records", r.Key.String(), repairIndex, fmt.Sprintf("it ends at %s and is looked at at %s", next, r.Wake))
		}
		if !r.Wake.IsZero() {
			expect(r.Key, wakeKey(r.Wake, r.Key.Prefix(), wakeRecord))
		}
		return nil
	})
	all, _ := exemptions(tx, func(Exemption, error) {}) // told by published
	for _, x := range all {
		if !x.Until.IsZero() {
			expect(x.Prefix, wakeKey(x.Until, x.Prefix, wakeExemption))
		}
	}
	_ = index.ForEach(func(key, value []byte) error {
		if _, ok := wakeOf(key); !ok || openValue(key, value, indexVersion).finish() != nil {
			v.damage("expiry", hex.EncodeToString(key), repairIndex, "the entry cannot be read")
		}
		return nil
	})
}

// journal checks that the journal has every change that it promises.
func (v *Verdict) journal(tx *bolt.Tx, m *meta) {
	b := bucketOf(tx, bucketJournal)
	if err := readable(b); err != nil {
		v.damage("journal", "", repairJournal, err.Error())
		return
	}
	for sequence := m.Base + 1; sequence <= m.Sequence; sequence++ {
		key := numberKey(sequence)
		if _, err := decodeChange(key, b.Get(key)); err != nil {
			v.damage("journal", strconv.FormatUint(sequence, 10), repairJournal, err.Error())
			return
		}
		v.Journal++
	}
	if last, _ := b.Cursor().Last(); last != nil && bytes.Compare(last, numberKey(m.Sequence)) > 0 {
		v.damage("journal", hex.EncodeToString(last), repairJournal, "it is newer than what is published")
	}
}

// readable reports whether every change of a journal can be read, those that
// nobody can ask for any more included.
func readable(journal bucket) error {
	return journal.ForEach(func(key, value []byte) error {
		_, err := decodeChange(key, value)
		return err
	})
}

// digestOf is the digest of a whole list.
func digestOf(entries []Entry) uint64 {
	var sum uint64
	for _, e := range entries {
		sum += entryHash(e)
	}
	return sum
}
