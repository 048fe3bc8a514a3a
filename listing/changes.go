package listing

import (
	"iter"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Changes yields every change that the journal has, oldest first. The store
// cannot shrink while it is read, so whoever reads does nothing slow.
func (s *Store) Changes() iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		err := s.view(func(tx *bolt.Tx, _ time.Time) error {
			cursor := bucketOf(tx, bucketJournal).Cursor()
			for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
				change, err := decodeChange(key, value)
				if err != nil {
					return err
				}
				if !yield(change, nil) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(Change{}, err)
		}
	}
}
