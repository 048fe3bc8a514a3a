package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ActionRepair is what the audit calls a repair.
const ActionRepair = "repair"

// Repair makes anew, in one transaction, all that can be derived: the expiry
// index, the identities, the counts, the halves of the lexicon, the digest. With
// drop, records, observations, exemptions and audit entries that cannot be read
// are taken out; what the keys of dropped records were listed for is gone. No
// process may have the store. It returns what was wrong.
//
// When what is published is not what it was, the serial moves, and the journal
// begins anew.
//
// A file whose newest meta page is damaged is mended, or with drop goes back to what
// was there a commit before.
func Repair(ctx context.Context, path string, o Order, drop bool) (v Verdict, err error) {
	if o.Reason == "" {
		return v, ErrNoReason
	}
	if o.DryRun {
		return wouldRepair(path, drop)
	}
	r := repair{now: now()}
	db, err := openFile(path, r.now)
	if lost, ok := errors.AsType[*lostMetaError](err); ok {
		db, err = r.openLost(path, lost, drop)
	}
	if err != nil {
		v.Damage = r.told
		return v, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	r.least = max(r.least, imageSequence(path))
	err = db.Update(func(tx *bolt.Tx) error {
		v = examine(tx, r.now)
		if err := r.look(tx, path); err != nil {
			return err
		}
		v.Damage = append(slices.Clone(r.told), v.Damage...)
		if v.aheadOf(path); len(v.Damage) == 0 {
			return errNothingWrong
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.tx, r.lex = tx, newLexicon(tx)
		if err := r.ordered(&v); err != nil {
			return err
		}
		return r.run(o, drop)
	})
	switch {
	case errors.Is(err, errNothingWrong):
		return v, nil
	case err == nil:
		// Not before: of a store that went back it is the only witness.
		err = dropImage(path)
	}
	if err != nil {
		return v, fmt.Errorf("repair store %s: %w", path, err)
	}
	return v, nil
}

// errNothingWrong ends a repair that has nothing to do.
var errNothingWrong = errors.New("nothing is wrong")

// wouldRepair tells what a repair would find. It only reads: to open a store for
// writing can bring it to another schema.
func wouldRepair(path string, drop bool) (Verdict, error) {
	v, err := Check(path)
	if page, ok := errors.AsType[*pageError](err); ok {
		return wouldOrder(path, page)
	}
	lost, ok := errors.AsType[*lostMetaError](err)
	if !ok {
		return v, err
	}
	was, _, err := lost.repair(path, drop, true)
	if err != nil {
		return v, fmt.Errorf("repair store %s: %w", path, err)
	}
	return Verdict{Damage: []Damage{was}}, nil
}

// wouldOrder does that for a file with a page that is damaged: who repairs opens it all
// the same, if all that a start reads is there.
func wouldOrder(path string, page *pageError) (Verdict, error) {
	was := Damage{Part: "pages", Key: strconv.FormatUint(page.page, 10), What: page.what}
	if page.keys {
		was.Repair = repairOrder
	}
	v, err := check(path, lookEnds)
	if err != nil {
		return v, err
	}
	v.Damage = append([]Damage{was}, v.Damage...)
	return v, nil
}

// repair is a repair under way.
type repair struct {
	tx   *bolt.Tx
	now  time.Time
	lex  *lexicon
	meta meta
	told []Damage // what was dropped, and what had to be done to open the file

	astray [][]byte // the buckets whose pages are out of order

	least uint64 // a sequence that may have been published
}

// openLost opens a file whose newest meta page may be lost.
func (r *repair) openLost(path string, lost *lostMetaError, drop bool) (*database, error) {
	was, back, err := lost.repair(path, drop, false)
	if err != nil {
		return nil, fmt.Errorf("repair store %s: %w", path, err)
	}
	r.told = append(r.told, was)
	if !back {
		return openFile(path, r.now)
	}
	// What was lost published at most one serial, which others may have seen.
	m, err := readMetaOf(path)
	if err != nil {
		return nil, fmt.Errorf("repair store %s: what was there before: %w", path, err)
	}
	r.least = max(m.Sequence+2, uint64(max(r.now.Unix(), 0)))
	return openBolt(path, false)
}

// after moves the sequence past all that may have been published.
func (r *repair) after() error {
	if r.meta.Sequence >= r.least {
		return nil
	}
	r.meta.Sequence = r.least
	return r.cut()
}

// ordered puts the keys in order, and adds what is found only then: what is taken out
// is told by what was found.
func (r *repair) ordered(v *Verdict) error {
	moved, err := r.order()
	if err != nil {
		return fmt.Errorf("put its keys in order: %w", err)
	}
	if !moved {
		return nil
	}
	r.lex = newLexicon(r.tx)
	told := v.Damage
	*v = examine(r.tx, r.now)
	for _, d := range v.Damage {
		if !slices.Contains(told, d) {
			told = append(told, d)
		}
	}
	v.More += max(len(told)-maxDamage, 0)
	v.Damage = told[:min(len(told), maxDamage)]
	return nil
}

func (r *repair) run(o Order, drop bool) (err error) {
	if err := r.names(drop); err != nil {
		return err
	}
	if r.meta, err = decodeMeta(keyState, r.tx.Bucket(bucketMeta).Get(keyState)); err != nil {
		return fmt.Errorf("its state: %w", err)
	}
	steps := []func() error{r.texts, r.seen, r.records, r.headers, r.expiry, r.publish, r.journal, r.after, r.large}
	if drop {
		steps = append([]func() error{r.texts, r.drop}, steps...)
	}
	for _, step := range steps {
		err := step()
		if !drop && errors.Is(err, ErrDamaged) {
			err = fmt.Errorf("%w; restore a backup, or repair with --drop", err)
		}
		if err != nil {
			return err
		}
	}
	return r.finish(o)
}

// texts makes each half of the lexicon anew from its other.
func (r *repair) texts() error {
	b := r.tx.Bucket(bucketTexts)
	halves := make(map[uint64]string)
	var lost [][]byte
	_ = b.ForEach(func(key, value []byte) error {
		if n, text, err := decodeNumbered(key, value); err == nil && key[0] == lexiconText {
			halves[n] = text
		} else if text, err := decodeText(key, value); err == nil && len(key) == 1+8 {
			halves[numberOf(key[1:])] = text
		} else {
			lost = append(lost, bytes.Clone(key))
		}
		return nil
	})
	for _, key := range lost {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	for n, text := range halves {
		byNumber, byText := lexiconKey(n), textKey(text)
		if err := b.Put(byNumber, encodeText(byNumber, text)); err != nil {
			return err
		}
		if err := b.Put(byText, encodeNumbered(byText, n, text)); err != nil {
			return err
		}
	}
	r.lex = newLexicon(r.tx)
	return nil
}

// record returns the record of a key, which must be there.
func (r *repair) record(k Key) (*record, error) {
	found, err := readRecord(r.tx, k)
	if err == nil && found == nil {
		err = fmt.Errorf("record %s is missing: %w", k, ErrDamaged)
	}
	return found, err
}

// seen mends the identities of observations that are not kept any more.
func (r *repair) seen() error {
	b := r.tx.Bucket(bucketSeen)
	wrong := make(map[string]time.Time)
	_ = b.ForEach(func(id, value []byte) error {
		if _, err := decodeStamp(id, value); err != nil || len(id) != len(ID{}) {
			wrong[string(id)] = r.now // the identity alone is what counts
		}
		return nil
	})
	for id, at := range wrong {
		var err error
		if len(id) != len(ID{}) {
			err = b.Delete([]byte(id))
		} else {
			err = b.Put([]byte(id), encodeStamp([]byte(id), at))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// records counts anew what records count, and has each looked at in time.
func (r *repair) records() error {
	r.meta.Observations, r.meta.Widths = 0, widths{}
	cursor := r.tx.Bucket(bucketObservations).Cursor()
	key, _ := cursor.First()
	var changed []*record
	_ = r.tx.Bucket(bucketRecords).ForEach(func(recordKey, value []byte) error {
		n := 0
		for ; key != nil && bytes.Compare(key, recordKey) < 0; key, _ = cursor.Next() {
			r.meta.Observations++
		}
		for ; bytes.HasPrefix(key, recordKey); key, _ = cursor.Next() {
			n++
		}
		r.meta.Observations += uint64(n)
		one, err := decodeRecord(r.lex, recordKey, value)
		if err != nil {
			return nil //nolint:nilerr // drop is asked for by who runs this
		}
		if one.Manual != nil && !one.Key.IsHost() {
			r.meta.Widths[spread(one.Key.Prefix())]++
		}
		if one.Kept != n || !one.Wake.Equal(one.next()) {
			one.Kept, one.Wake = n, one.next()
			changed = append(changed, one)
		}
		return nil
	})
	for ; key != nil; key, _ = cursor.Next() {
		r.meta.Observations++
	}
	for _, one := range changed {
		key := prefixKey(one.Key.Prefix())
		value, err := one.encode(r.lex, key)
		if err == nil {
			err = r.tx.Bucket(bucketRecords).Put(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expiry makes the index anew. Which keys a brake held back is nowhere else: those
// that can be read are carried over, and counted.
func (r *repair) expiry() error {
	held := heldKeys(r.tx)
	if err := r.tx.DeleteBucket(bucketExpiry); err != nil {
		return err
	}
	b, err := r.tx.CreateBucket(bucketExpiry)
	if err != nil {
		return err
	}
	put := func(key []byte) error { return b.Put(key, newEncoder(indexVersion).seal(key)) }
	for _, key := range held {
		if err := put(key); err != nil {
			return err
		}
	}
	if err := r.held(len(held)); err != nil {
		return err
	}
	err = r.tx.Bucket(bucketRecords).ForEach(func(key, value []byte) error {
		one, err := decodeRecord(r.lex, key, value)
		if err != nil || one.Wake.IsZero() {
			return nil //nolint:nilerr // see records
		}
		return put(wakeKey(one.Wake, one.Key.Prefix(), wakeRecord))
	})
	if err != nil {
		return err
	}
	all, err := exemptions(r.tx, func(Exemption, error) {})
	for _, x := range all {
		if !x.Until.IsZero() && err == nil {
			err = put(wakeKey(x.Until, x.Prefix, wakeExemption))
		}
	}
	return err
}

// held counts the keys that a brake holds back anew.
func (r *repair) held(n int) error {
	var st state
	if err := st.readBrakes(r.tx); err != nil || st.brakes.Held == n {
		return err
	}
	st.brakes.Held = n
	return r.tx.Bucket(bucketMeta).Put(keyBrakes, st.brakes.encode(keyBrakes))
}

// publish makes the digest anew. While a record cannot be read nobody knows
// what is published, and it stays as it is.
func (r *repair) publish() error {
	var st state
	err := st.readDecommission(r.tx)
	if err == nil {
		st.exempt, err = exemptions(r.tx, func(Exemption, error) {})
	}
	if err != nil {
		return err
	}
	st.findHoles()
	entries, _, broken := salvage(r.tx, st.holes)
	if len(broken) > 0 {
		return fmt.Errorf("%d records cannot be read: %w", len(broken), broken[0])
	}
	digest := digestOf(entries)
	if digest == r.meta.Digest && uint64(len(entries)) == r.meta.Entries {
		return nil
	}
	r.meta.Digest, r.meta.Entries = digest, uint64(len(entries))
	return r.cut()
}

// cut moves the sequence, and has the journal begin there.
func (r *repair) cut() error {
	r.meta.Sequence++
	r.meta.Base, r.meta.Time = r.meta.Sequence, r.now
	key := numberKey(r.meta.Sequence)
	return bucketOf(r.tx, bucketJournal).Put(key, encodeChange(key, &Change{Time: r.now}))
}

// journal begins anew when a change cannot be read or is missing. Changes
// before it are dropped, whoever asks for them gets the whole zone.
func (r *repair) journal() error {
	b := bucketOf(r.tx, bucketJournal)
	whole := readable(b) == nil
	for sequence := r.meta.Base + 1; sequence <= r.meta.Sequence && whole; sequence++ {
		key := numberKey(sequence)
		_, err := decodeChange(key, b.Get(key))
		whole = err == nil
	}
	last, _ := b.Cursor().Last()
	if whole && (last == nil || bytes.Compare(last, numberKey(r.meta.Sequence)) <= 0) {
		return nil
	}
	if err := r.tx.DeleteBucket(bucketJournal); err != nil {
		return err
	}
	if _, err := r.tx.CreateBucket(bucketJournal); err != nil {
		return err
	}
	return r.cut()
}

// finish leaves word of it in the audit. Where its chain is broken it goes on
// from the last entry that the state knows.
func (r *repair) finish(o Order) error {
	text, err := detail(r.told[:min(len(r.told), pageLimit)])
	if err != nil {
		return err
	}
	c := change{tx: r.tx, state: state{meta: r.meta}}
	entry := AuditEntry{
		Number: r.meta.Audit + 1, Time: r.now, Action: ActionRepair, By: o.By, Reason: o.Reason, Detail: text, Count: len(r.told),
	}
	if err := c.writeAudit(&entry); err != nil {
		return err
	}
	c.meta.Commits++
	return r.tx.Bucket(bucketMeta).Put(keyState, c.meta.encode(keyState))
}
