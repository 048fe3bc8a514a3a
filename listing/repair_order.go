package listing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

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
// does not stand where it is looked for could not be taken out either. So it does with
// those in which a value is not that of its key, though the keys rise: when the key is
// the first of a page, the branch above knows the page by what the key was, and bbolt
// would put the page there a second time with the first change in it. The key that is
// damaged is not that of its value, and goes to who looks at what cannot be read.
func (r *repair) order() (moved bool, err error) {
	for _, name := range buckets {
		b := r.tx.Bucket(name)
		if b == nil || !r.isAstray(name) && rises(b) == nil && allSealed(name, b) {
			continue
		}
		moved = true
		if err := r.anew(name, b); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// look finds the buckets of which some page is not where the branches say: that can be
// with all keys as they were, when one of a branch is damaged.
func (r *repair) look(tx *bolt.Tx, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return eachTree(tx, f, func(name []byte, err error) error {
		if page, ok := errors.AsType[*pageError](err); ok && page.keys {
			r.astray = append(r.astray, name)
			r.told = append(r.told, Damage{Part: "pages", Key: strconv.FormatUint(page.page, 10), What: page.what, Repair: repairOrder})
		}
		return nil // what else is wrong is told by who reads it
	})
}

func (r *repair) isAstray(name []byte) bool {
	return slices.ContainsFunc(r.astray, func(other []byte) bool { return bytes.Equal(name, other) })
}

// anew makes a bucket anew, with all that is in it.
func (r *repair) anew(name []byte, b *bolt.Bucket) error {
	pairs := make(map[string][]byte)
	_ = b.ForEach(func(key, value []byte) error {
		if _, twice := pairs[string(key)]; !twice || sealedIn(name, key, value) {
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
	return nil
}

// allSealed reports whether every value of a bucket is one that was stored under its key.
func allSealed(name []byte, b *bolt.Bucket) bool {
	return b.ForEach(func(key, value []byte) error {
		if !sealedIn(name, key, value) {
			return ErrDamaged
		}
		return nil
	}) == nil
}

// sealedIn reports whether a value of a bucket is one that was stored under the key.
// Large values are sealed under the key of what they stand for.
func sealedIn(name, key, value []byte) bool {
	if bytes.Equal(name, bucketLarge) {
		_, of, ok := largeOf(key)
		return ok && sealed(of, value)
	}
	return sealed(key, value)
}

// sealed reports whether a value is one that was stored under the key.
func sealed(key, value []byte) bool {
	n := len(value) - sumBytes
	return n >= 0 && checksum(key, value[:n]) == binary.BigEndian.Uint32(value[n:])
}
