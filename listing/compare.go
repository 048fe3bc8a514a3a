package listing

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrLarge says that there is more between two sequences than was to be read.
var ErrLarge = errors.New("the journal has more than is to be read at once")

// Comparison is a [Difference], and when the older of the two was published.
type Comparison struct {
	Difference

	Before time.Time `json:"before"`
}

// Compare is like [Store.Between] for who answers strangers: it reads no more
// than so many bytes of the journal, and else returns [ErrLarge], since a change
// that the journal has may be as large as the list. It returns [ErrCut] too where
// the journal still tells what came after a sequence, and not when that was.
func (s *Store) Compare(from, to uint64, most int) (Comparison, error) {
	c := Comparison{Difference: Difference{From: from, To: to}}
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		cursor := bucketOf(tx, bucketJournal).Cursor()
		key, value := cursor.Seek(numberKey(from))
		if !bytes.Equal(key, numberKey(from)) {
			return fmt.Errorf("journal from %d: %w", from, ErrCut)
		}
		d := openValue(key, value, changeVersion)
		if c.Before = d.time(); d.err != nil {
			return fmt.Errorf("journal %d: %w", from, d.err)
		}
		size := 0
		for key, value = cursor.Next(); key != nil && numberOf(key) <= to; key, value = cursor.Next() {
			if size += len(value); size > most {
				return fmt.Errorf("journal from %d to %d: %w", from, to, ErrLarge)
			}
		}
		return nil
	})
	if err == nil {
		c.Difference, err = s.Between(from, to)
	}
	if err != nil {
		return Comparison{}, err
	}
	return c, nil
}
