package listing

import (
	"bytes"
	"encoding/hex"

	bolt "go.etcd.io/bbolt"
)

// largeFrom is the size from which a value of the journal or the audit stands apart:
// bbolt writes leaves as a whole, those of few keys however large they are, and what
// comes next would write that of a whole list again.
const largeFrom = 32 << 10

// growsAtEnd tells the buckets in which what comes is behind all that is there.
func growsAtEnd(name []byte) bool {
	return bytes.Equal(name, bucketAudit) || bytes.Equal(name, bucketJournal)
}

// largeKey is where a large value stands, and standIn what stands in its place.
func largeKey(name string, key []byte) []byte { return append([]byte{name[0]}, key...) }

// largeOf returns of which bucket a large value is, and under which key, if it is of one.
func largeOf(apart []byte) (name, key []byte, ok bool) {
	for _, name := range [][]byte{bucketJournal, bucketAudit} {
		if apart[0] == name[0] && len(apart) > 1 {
			return name, apart[1:], true
		}
	}
	return nil, nil, false
}

func standIn(key []byte) []byte { return newEncoderFor(largeVersion, 1+sumBytes).seal(key) }

func standsApart(key, value []byte) bool {
	return len(value) == 1+sumBytes && openValue(key, value, largeVersion).finish() == nil
}

const repairLarge = "dropped: nothing refers to it"

// strayLarge returns the keys of large values that no journal or audit has any more.
func strayLarge(tx *bolt.Tx) (stray [][]byte) {
	b := tx.Bucket(bucketLarge)
	if b == nil {
		return nil // a store of before there were any
	}
	_ = b.ForEach(func(apart, _ []byte) error {
		if name, key, ok := largeOf(apart); !ok || !standsApart(key, tx.Bucket(name).Get(key)) {
			stray = append(stray, bytes.Clone(apart))
		}
		return nil
	})
	return stray
}

// large looks for large values that stand for nothing; those that are missing, or
// cannot be read, are told by who reads them.
func (v *Verdict) large(tx *bolt.Tx) {
	for _, key := range strayLarge(tx) {
		v.damage("large", hex.EncodeToString(key), repairLarge, "nothing refers to it")
	}
}

// large drops the large values that stand for nothing.
func (r *repair) large() error {
	for _, key := range strayLarge(r.tx) {
		if err := r.tx.Bucket(bucketLarge).Delete(key); err != nil {
			return err
		}
	}
	return nil
}
