package listing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// rises reports whether all keys of a bucket rise: a search finds nothing else.
func rises(b *bolt.Bucket) error {
	var last []byte
	return b.ForEach(func(key, _ []byte) error {
		if last != nil && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("key %x stands after %x", key, last)
		}
		last = key
		return nil
	})
}

// order makes those buckets anew whose keys do not rise, with all that is in them: what
// does not stand where it is looked for could not be taken out either. The key that is
// damaged is not that of its value, and goes to who looks at what cannot be read.
func (r *repair) order() error {
	for _, name := range buckets {
		b := r.tx.Bucket(name)
		if b == nil || rises(b) == nil {
			continue
		}
		pairs := make(map[string][]byte)
		_ = b.ForEach(func(key, value []byte) error {
			if _, twice := pairs[string(key)]; !twice || sealed(key, value) {
				pairs[string(key)] = bytes.Clone(value)
			}
			return nil
		})
		if err := r.tx.DeleteBucket(name); err != nil {
			return err
		}
		b, err := r.tx.CreateBucket(name)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			if err := b.Put([]byte(key), pairs[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// sealed reports whether a value is one that was stored under the key.
func sealed(key, value []byte) bool {
	n := len(value) - sumBytes
	return n >= 0 && checksum(key, value[:n]) == binary.BigEndian.Uint32(value[n:])
}
