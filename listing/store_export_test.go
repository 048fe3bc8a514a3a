package listing

import (
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Fault is a disk that fails on demand.
type Fault struct {
	err   atomic.Pointer[error]
	after atomic.Bool // fail only once the data is down
}

// Break lets every commit fail from now on; after, only when it is on the disk
// already.
func (f *Fault) Break(err error, after bool) {
	f.after.Store(after)
	f.err.Store(&err)
}

// Mend lets commits through again.
func (f *Fault) Mend() { f.err.Store(nil) }

// InjectFault puts a disk that can fail under the store, before Run.
func (s *Store) InjectFault() *Fault {
	f := &Fault{}
	s.onStage = func(at stage) error {
		when := stageFinished
		if f.after.Load() {
			when = stageCommitted
		}
		if err := f.err.Load(); err != nil && at == when {
			return *err
		}
		return nil
	}
	return f
}

// OnStage has fn called at each stage of a change, before Run.
func (s *Store) OnStage(fn func(stage string) error) {
	s.onStage = func(at stage) error { return fn(string(at)) }
}

// Abandon closes the file as a crash does: nothing is finished, and a commit
// that was not made is lost.
func (s *Store) Abandon() error { return s.db.Close() }

// Begin begins a read transaction without a look at the file first, as one does
// that looked a moment too early. What bbolt panics with is the error.
func (s *Store) Begin() error {
	s.dbLock.RLock()
	defer s.dbLock.RUnlock()
	if s.db == nil {
		return ErrUnavailable
	}
	return s.db.View(func(*bolt.Tx) error { return nil })
}

// Reading runs fn in a read transaction.
func (s *Store) Reading(fn func()) error {
	return s.view(func(*bolt.Tx, time.Time) error { fn(); return nil })
}

// DB gives tests the database itself.
func (s *Store) DB() *bolt.DB { return s.db.db }

// SchemaValue is what a program of another schema would have written.
func SchemaValue(version uint64) []byte {
	e := &encoder{b: []byte(schemaMagic)}
	e.uint(version)
	return e.seal(keySchema)
}

// NoteSeen notes identities as those of observations that are not kept any more.
func NoteSeen(tx *bolt.Tx, at time.Time, ids ...ID) error {
	for _, id := range ids {
		if err := tx.Bucket(bucketSeen).Put(id[:], encodeStamp(id[:], at)); err != nil {
			return err
		}
	}
	return nil
}

// Reachable lets tests ask whether the rule could ever list by a part of the
// evidence.
func Reachable(p Policy, evidence []Evidence) bool { return p.reachable(evidence) }

// Words lets tests read how durations are written.
func Words(d time.Duration) string { return words(d) }

// Due lets tests ask what a clock that was set does to regular tasks.
func Due(now, last time.Time, every time.Duration) bool { return due(now, last, every) }

// OnCompactStep is called at each step of a compaction, in its goroutine or, for
// the last two, the writer's.
func (s *Store) OnCompactStep(fn func(string) error) { s.compactStep = fn }

// SetClock puts another clock under the store, before Run.
func (s *Store) SetClock(now func() time.Time) { s.clock = now }

// ImageAlways has the store write an image however few entries it has.
func (s *Store) ImageAlways() { s.imageFrom.Store(0) }

// FromImage reports whether what is published can be made from the image.
func (s *Store) FromImage() bool {
	img, err := readImage(s.path)
	if err != nil {
		return false
	}
	_, snap, err := s.fromImage(img)
	return err == nil && snap.Sequence() == s.state.meta.Sequence
}

// WriteImage writes the image of what is published now.
func (s *Store) WriteImage() { s.writeImage(s.Snapshot()) }

// EncodeImage and DecodeImage let tests look at images; the latter tells how
// many entries there are.
func EncodeImage(s *Snapshot) []byte { return encodeImage(s) }

// DecodeImage is told of above.
func DecodeImage(b []byte) (int, error) {
	n := 0
	err := guard(func() error {
		img, err := decodeImage(b)
		if err == nil {
			n = img.snapshot.Len()
		}
		return err
	})
	return n, err
}
