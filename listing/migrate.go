package listing

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// migration brings a store from one schema to the next. All that are needed are
// made in one transaction: either the store has the schema of this program
// afterwards, or it is as it was.
type migration struct {
	from uint64
	what string
	run  func(tx *bolt.Tx) error
}

// migrations has one for every schema before this program's, oldest first.
func migrations() []migration {
	return []migration{
		{1, "shorter keys and values", migrate1},
		{2, "identities stand with what is kept", migrate2},
		{3, "decisions take less room in the audit", migrate3},
		{4, "large values stand apart", migrate4},
	}
}

// migrate brings the store up to this program's schema. It then makes sure
// that the store publishes exactly what it published before.
func migrate(tx *bolt.Tx) error {
	from, err := readSchema(tx)
	if err != nil {
		return err
	}
	for _, m := range migrations() {
		if m.from < from {
			continue
		}
		if err := m.run(tx); err != nil {
			return fmt.Errorf("migrate from schema %d (%s): %w", m.from, m.what, err)
		}
		if err := putSchema(tx, m.from+1); err != nil {
			return fmt.Errorf("migrate from schema %d: %w", m.from, err)
		}
	}
	st, err := readState(tx)
	if err == nil {
		entries, wide, readable := visible(tx, st.holes)
		err = errors.Join(readable, st.meta.published(entries, wide))
	}
	if err != nil {
		return fmt.Errorf("migrate from schema %d: %w", from, err)
	}
	return nil
}

// readSchema returns the number of the schema, and refuses what this program
// did not write.
func readSchema(tx *bolt.Tx) (uint64, error) {
	b := tx.Bucket(bucketMeta)
	if b == nil {
		return 0, fmt.Errorf("%w: it has no bucket %q", ErrForeign, bucketMeta)
	}
	value := b.Get(keySchema)
	if len(value) < len(schemaMagic)+sumBytes || string(value[:len(schemaMagic)]) != schemaMagic {
		return 0, fmt.Errorf("%w: it has no schema", ErrForeign)
	}
	body, sum := value[:len(value)-sumBytes], value[len(value)-sumBytes:]
	if checksum(keySchema, body) != binary.BigEndian.Uint32(sum) {
		return 0, fmt.Errorf("schema has a wrong checksum: %w", ErrDamaged)
	}
	v, n := binary.Uvarint(body[len(schemaMagic):])
	switch {
	case n <= 0 || v == 0:
		return 0, fmt.Errorf("schema cannot be read: %w", ErrDamaged)
	case v > schema:
		return 0, fmt.Errorf("%w: it has schema %d, this program knows %d; run the newer program", ErrTooNew, v, schema)
	}
	return v, nil
}

func putSchema(tx *bolt.Tx, version uint64) error {
	e := &encoder{b: []byte(schemaMagic)}
	e.uint(version)
	return tx.Bucket(bucketMeta).Put(keySchema, e.seal(keySchema))
}

// replaceBucket makes a bucket anew from what fn makes of every pair of the
// old one.
func replaceBucket(tx *bolt.Tx, name []byte, fn func(key, value []byte) (newKey, newValue []byte, err error)) error {
	old := tx.Bucket(name)
	if old == nil {
		return fmt.Errorf("bucket %q is missing: %w", name, ErrDamaged)
	}
	type pair struct{ key, value []byte }
	var pairs []pair // a transaction keeps what it writes in memory anyway
	err := old.ForEach(func(key, value []byte) error {
		newKey, newValue, err := fn(key, value)
		pairs = append(pairs, pair{newKey, newValue})
		return err
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	if err := tx.DeleteBucket(name); err != nil {
		return err
	}
	fresh, err := tx.CreateBucket(name)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if err := fresh.Put(p.key, p.value); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	return nil
}

// migrate2 leaves all as it is. Schema 2 noted the identity of every observation
// beside it, and had other packed texts; both are read. But a program that knows
// no more than that would count what this one keeps a second time.
func migrate2(*bolt.Tx) error { return nil }

// migrate3 leaves all as it is, too: the audit's chain of hashes forbids to write
// an entry anew, and those of schema 3 can be read. A program that knows no more
// than those would take newer ones for damage.
func migrate3(*bolt.Tx) error { return nil }

// migrate4 makes room for the large values that are to come; those that are there
// stay where they are.
func migrate4(tx *bolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bucketLarge); err != nil {
		return fmt.Errorf("bucket %s: %w", bucketLarge, err)
	}
	return nil
}
