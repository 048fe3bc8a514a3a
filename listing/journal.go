package listing

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Keep says how much of the journal is kept: what is asked for beyond it is not a
// difference but the whole list.
type Keep struct {
	For     time.Duration // each change so long at least; 0: 30 days
	Serials int           // and so many of the newest changes, however old; 0: only by age
}

// Validate reports everything that is wrong with it.
func (k Keep) Validate() error {
	var errs []error
	if k.For < 0 || k.For > maxPeriod {
		errs = append(errs, fmt.Errorf("journal kept for %s: want 0 to %s", words(k.For), words(maxPeriod)))
	}
	if k.Serials < 0 || k.Serials > maxCount {
		errs = append(errs, fmt.Errorf("journal of %d serials: want 0 to %d", k.Serials, maxCount))
	}
	return errors.Join(errs...)
}

// keeps reports whether a change is kept by the one bound or the other.
func (k Keep) keeps(c *change, one Change) bool {
	return c.now.Sub(one.Time) <= cmp.Or(k.For, keepJournal) || c.meta.Sequence-one.Sequence < uint64(k.Serials)
}

// Change is what one sequence published and withdrew. An entry that changed is
// in both lists, as it was and as it is.
type Change struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Removed  []Entry   `json:"removed"`
	Added    []Entry   `json:"added"`
}

func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

// journal writes the change of this transaction. When the published settings
// changed, what went before tells nothing any more, and the journal begins here.
func (c *change) journal() error {
	key := numberKey(c.meta.Sequence)
	value := encodeChange(key, &Change{Time: c.now, Removed: c.removed, Added: c.added})
	if err := c.bucket(bucketJournal).Put(key, value); err != nil {
		return fmt.Errorf("write journal %d: %w", c.meta.Sequence, err)
	}
	if c.cut {
		c.meta.Base = c.meta.Sequence
	}
	return nil
}

// journalStep is how many entries of changes are read at once, unless one change
// alone has more.
const journalStep = 4096

// Journal yields the changes after the given sequence, oldest first, up to what is
// the newest when it begins; none when that is the newest. However long the
// journal is, it is read in small steps, and no transaction is open while one is
// yielded: who reads may be slow, and stop at any time.
//
// An error is yielded in place of a change, and is the last. [ErrCut] says that the
// journal does not reach back so far, which can come to be while it is read, or
// that no such sequence was ever published.
func (s *Store) Journal(from uint64) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		to := uint64(0)
		for {
			var step []Change
			size := 0
			err := s.journal(from, &to, func(c Change) bool {
				step = append(step, c)
				size += 1 + len(c.Removed) + len(c.Added)
				return size < journalStep
			})
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, c := range step {
				if !yield(c, nil) {
					return
				}
				from = c.Sequence
			}
			if from >= to {
				return
			}
		}
	}
}

// journal calls fn with each change after from, up to to, which it sets to the
// newest when it is 0, until fn returns false.
func (s *Store) journal(from uint64, to *uint64, fn func(Change) bool) error {
	return s.view(func(tx *bolt.Tx, _ time.Time) error {
		st, err := decodeMeta(keyState, tx.Bucket(bucketMeta).Get(keyState))
		if err != nil {
			return err
		}
		if *to == 0 {
			*to = st.Sequence
		}
		if from < st.Base || from > *to || *to > st.Sequence {
			return fmt.Errorf("journal from %d: %w: it has %d to %d", from, ErrCut, st.Base, st.Sequence)
		}
		return eachChange(tx, from, *to, fn)
	})
}

// eachChange calls fn with each change after from, up to to, until it returns false.
func eachChange(tx *bolt.Tx, from, to uint64, fn func(Change) bool) error {
	cursor := bucketOf(tx, bucketJournal).Cursor()
	expected := from + 1
	for key, value := cursor.Seek(numberKey(expected)); key != nil && expected <= to; key, value = cursor.Next() {
		change, err := decodeChange(key, value)
		if err != nil {
			return err
		}
		if change.Sequence != expected {
			break
		}
		if expected++; !fn(change) {
			return nil
		}
	}
	if expected != to+1 {
		return fmt.Errorf("journal: %d is missing: %w", expected, ErrDamaged)
	}
	return nil
}

// Difference is what really differs between two sequences: what came and went
// again in between, or changed and changed back, is in neither list. An entry
// whose prefix stayed and whose content differs is in both, as it was and as it
// is. Both lists are sorted by [ComparePrefix].
type Difference struct {
	From    uint64    `json:"from"`
	To      uint64    `json:"to"`
	Time    time.Time `json:"time"` // of the newest change between the two; zero when there is none
	Removed []Entry   `json:"removed"`
	Added   []Entry   `json:"added"`
}

// Since returns what differs between the given sequence and the newest: with it
// [Snapshot.Next] makes the snapshot of the newest out of that of the given one.
// The errors are those of [Store.Journal].
func (s *Store) Since(from uint64) (Difference, error) { return s.between(from, 0) }

// Between is like [Store.Since], up to a sequence that need not be the newest: to
// who answers from a snapshot, the newest may not be known yet.
func (s *Store) Between(from, to uint64) (Difference, error) {
	if from > to {
		return Difference{}, fmt.Errorf("journal from %d to %d: %w: that is backwards", from, to, ErrCut)
	}
	return s.between(from, to)
}

// between takes 0 for the newest sequence.
func (s *Store) between(from, to uint64) (Difference, error) {
	d := Difference{From: from, To: to}
	var net netChange
	err := s.journal(from, &d.To, func(c Change) bool {
		d.Time = c.Time
		net.add(c)
		return true
	})
	if err != nil {
		return Difference{}, err
	}
	d.Removed, d.Added = net.lists()
	return d, nil
}

// netChange adds changes up to what they come to. Its memory is bounded by the
// prefixes that changed, however often they did.
type netChange struct{ entries map[netip.Prefix]wasIs }

// wasIs is an entry before all changes and after them; of the zero class where
// there was, or is, none.
type wasIs struct{ was, is Entry }

func (n *netChange) add(c Change) {
	if n.entries == nil {
		n.entries = make(map[netip.Prefix]wasIs)
	}
	for _, e := range c.Removed {
		w, known := n.entries[e.Prefix]
		if !known {
			w.was = e
		}
		w.is = Entry{}
		n.entries[e.Prefix] = w
	}
	for _, e := range c.Added {
		w := n.entries[e.Prefix]
		w.is = e
		n.entries[e.Prefix] = w
	}
}

// lists returns what differs after all.
func (n *netChange) lists() (removed, added []Entry) {
	for _, w := range n.entries {
		if w.was == w.is {
			continue
		}
		if w.was != (Entry{}) {
			removed = append(removed, w.was)
		}
		if w.is != (Entry{}) {
			added = append(added, w.is)
		}
	}
	slices.SortFunc(removed, compareEntries)
	slices.SortFunc(added, compareEntries)
	return removed, added
}

// pruneJournal drops the oldest changes. Those from before the journal begins anew,
// as after a change of the published settings, are nobody's difference any more, but
// tell still what left the list, and when.
func (w *writer) pruneJournal(c *change) error {
	b := c.bucket(bucketJournal)
	for range stepLimit {
		key, value := b.Cursor().First()
		if key == nil {
			return nil
		}
		change, err := decodeWhen(key, value)
		if err != nil {
			return err
		}
		// That which the journal begins with tells since when it does.
		if c.settings.Journal.keeps(c, change) {
			return nil
		}
		if err := b.Delete(key); err != nil {
			return fmt.Errorf("prune journal %d: %w", change.Sequence, err)
		}
		c.meta.Base = max(c.meta.Base, change.Sequence)
		c.wrote = true
	}
	w.more = true
	return nil
}
