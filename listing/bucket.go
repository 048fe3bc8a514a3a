package listing

import (
	"bytes"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// bucket is one of the writer's. Whatever is written goes through it, so that a
// compaction under way hears of it; cursors only read.
type bucket struct {
	*bolt.Bucket

	name    string
	touched *touched     // nil: nobody wants to know
	reads   *bolt.Cursor // of who reads many keys of it; nil: each makes its own
}

// Get returns the value of a key; nil when there is none.
func (b bucket) Get(key []byte) []byte {
	if b.reads == nil {
		return b.Bucket.Get(key)
	}
	if found, value := b.reads.Seek(key); bytes.Equal(found, key) {
		return value
	}
	return nil
}

// Put writes a value.
func (b bucket) Put(key, value []byte) error {
	b.touched.add(b.name, key)
	return b.Bucket.Put(key, value)
}

// Delete drops a key; one that is not there is no error.
func (b bucket) Delete(key []byte) error {
	b.touched.add(b.name, key)
	return b.Bucket.Delete(key)
}

// Cursor walks through the keys.
func (b bucket) Cursor() cursor { return cursor{b.Bucket.Cursor()} }

// cursor is bbolt's without the way to write past [bucket].
type cursor struct{ c *bolt.Cursor }

func (c cursor) First() (key, value []byte)         { return c.c.First() }
func (c cursor) Last() (key, value []byte)          { return c.c.Last() }
func (c cursor) Next() (key, value []byte)          { return c.c.Next() }
func (c cursor) Prev() (key, value []byte)          { return c.c.Prev() }
func (c cursor) Seek(at []byte) (key, value []byte) { return c.c.Seek(at) }

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
