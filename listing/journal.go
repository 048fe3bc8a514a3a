package listing

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

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

// Journal returns the changes after the given sequence, oldest first, up to the
// newest; none when it is the newest. [ErrCut] says that the journal does not
// reach back so far, or that no such sequence was ever published.
func (s *Store) Journal(from uint64) ([]Change, error) {
	var out []Change
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		st, err := decodeMeta(keyState, tx.Bucket(bucketMeta).Get(keyState))
		if err != nil {
			return err
		}
		if from < st.Base || from > st.Sequence {
			return fmt.Errorf("journal from %d: %w: it has %d to %d", from, ErrCut, st.Base, st.Sequence)
		}
		cursor := tx.Bucket(bucketJournal).Cursor()
		expected := from + 1
		for key, value := cursor.Seek(numberKey(from + 1)); key != nil; key, value = cursor.Next() {
			change, err := decodeChange(key, value)
			if err != nil {
				return err
			}
			if change.Sequence != expected {
				return fmt.Errorf("journal: %d is missing: %w", expected, ErrDamaged)
			}
			expected++
			out = append(out, change)
		}
		if expected != st.Sequence+1 {
			return fmt.Errorf("journal: %d is missing: %w", expected, ErrDamaged)
		}
		return nil
	})
	return out, err
}

// pruneJournal drops the oldest changes that nobody can ask for any more.
func (w *writer) pruneJournal(c *change) error {
	cursor := c.bucket(bucketJournal).Cursor()
	for range stepLimit {
		key, value := cursor.First()
		if key == nil {
			return nil
		}
		change, err := decodeChange(key, value)
		if err != nil {
			return err
		}
		reachable := change.Sequence > c.meta.Base
		if reachable && c.now.Sub(change.Time) <= keepJournal {
			return nil
		}
		if err := cursor.Delete(); err != nil {
			return fmt.Errorf("prune journal %d: %w", change.Sequence, err)
		}
		c.meta.Base = max(c.meta.Base, change.Sequence)
		c.wrote = true
	}
	return nil
}
