package listing

import (
	"bytes"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// bucket is one of the store's. Whatever the writer writes goes through it, so that a
// compaction under way hears of it; cursors only read.
type bucket struct {
	*bolt.Bucket

	name    string
	large   *bolt.Bucket // where its large values stand; nil: among the others
	touched *touched     // nil: nobody wants to know
	reads   *bolt.Cursor // of who reads many keys of it; nil: each makes its own
}

// bucketOf is a bucket for who only reads, or has the file to itself.
func bucketOf(tx *bolt.Tx, name []byte) bucket {
	b := bucket{Bucket: tx.Bucket(name), name: string(name)}
	if growsAtEnd(name) {
		b.large = tx.Bucket(bucketLarge)
	}
	return b
}

// whole returns the value that is meant by what stands under a key.
func (b bucket) whole(key, value []byte) []byte {
	if b.large == nil || !standsApart(key, value) {
		return value
	}
	return b.large.Get(largeKey(b.name, key))
}

// Get returns the value of a key; nil when there is none.
func (b bucket) Get(key []byte) []byte {
	if b.reads == nil {
		return b.whole(key, b.Bucket.Get(key))
	}
	if found, value := b.reads.Seek(key); bytes.Equal(found, key) {
		return b.whole(key, value)
	}
	return nil
}

// Put writes a value.
func (b bucket) Put(key, value []byte) error {
	if b.large == nil || len(value) < largeFrom {
		if err := b.deleteLarge(key); err != nil { // the former may have been
			return err
		}
	} else {
		apart := largeKey(b.name, key)
		b.touched.add(string(bucketLarge), apart)
		if err := b.large.Put(apart, value); err != nil {
			return err
		}
		value = standIn(key)
	}
	b.touched.add(b.name, key)
	return b.Bucket.Put(key, value)
}

// Delete drops a key; one that is not there is no error.
func (b bucket) Delete(key []byte) error {
	if err := b.deleteLarge(key); err != nil {
		return err
	}
	b.touched.add(b.name, key)
	return b.Bucket.Delete(key)
}

// deleteLarge drops what stands apart of a key, if anything does.
func (b bucket) deleteLarge(key []byte) error {
	if b.large == nil {
		return nil
	}
	apart := largeKey(b.name, key)
	if b.large.Get(apart) == nil {
		return nil
	}
	b.touched.add(string(bucketLarge), apart)
	return b.large.Delete(apart)
}

// ForEach calls fn with every key and value until it returns an error.
func (b bucket) ForEach(fn func(key, value []byte) error) error {
	return b.Bucket.ForEach(func(key, value []byte) error { return fn(key, b.whole(key, value)) })
}

// Cursor walks through the keys.
func (b bucket) Cursor() cursor { return cursor{b.Bucket.Cursor(), b} }

// cursor is bbolt's without the way to write past [bucket].
type cursor struct {
	c *bolt.Cursor
	b bucket
}

func (c cursor) First() (key, value []byte)         { return c.whole(c.c.First()) }
func (c cursor) Last() (key, value []byte)          { return c.whole(c.c.Last()) }
func (c cursor) Next() (key, value []byte)          { return c.whole(c.c.Next()) }
func (c cursor) Prev() (key, value []byte)          { return c.whole(c.c.Prev()) }
func (c cursor) Seek(at []byte) (key, value []byte) { return c.whole(c.c.Seek(at)) }

func (c cursor) whole(key, value []byte) ([]byte, []byte) { return key, c.b.whole(key, value) }

// mostTouched bounds what is remembered of what was written while a store is
// compacted.
const mostTouched = 1 << 20

// spot is a key in a bucket.
type spot struct{ bucket, key string }

// touched remembers what was written, perhaps by a transaction that came to
// nothing.
type touched struct {
	mu    sync.Mutex // guards the others
	spots map[spot]struct{}
	over  bool // there was more
}

func (t *touched) add(bucket string, key []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spots) >= mostTouched {
		t.over = true
		return
	}
	if t.spots == nil {
		t.spots = make(map[spot]struct{})
	}
	t.spots[spot{bucket, string(key)}] = struct{}{}
}

// take returns what was written since it was last called, and whether that is
// all.
func (t *touched) take() (spots map[spot]struct{}, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spots, t.spots = t.spots, nil
	return spots, !t.over
}

// len returns how much there is to take.
func (t *touched) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.spots)
}
