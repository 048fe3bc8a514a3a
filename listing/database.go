package listing

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// errSpoilt is what is wrong with a store whose database keeps its locks.
var errSpoilt = fmt.Errorf("%w: it was spoilt while it was read; mend it, or restore a backup, and start again", ErrDamaged)

// database is a file that is open in bbolt.
//
// Whoever spoils the file in the moment between the look at it, see [still], and the
// beginning of a transaction has bbolt panic there, and keep its locks for ever. So
// nothing here waits for such a lock: transactions begin one at a time, and what may
// need a lock at its end has a goroutine of its own, which is left behind when it is
// known that there is nothing to wait for.
type database struct {
	db *bolt.DB

	starting sync.Mutex    // held while a transaction begins
	over     chan struct{} // closed when none begins any more: it is being closed, or spoilt
	spoilt   atomic.Bool   // nobody may touch it again
	closing  sync.Once
}

func newDatabase(db *bolt.DB) *database { return &database{db: db, over: make(chan struct{})} }

// Begin begins a transaction.
func (d *database) Begin(write bool) (*bolt.Tx, error) {
	d.starting.Lock()
	defer d.starting.Unlock()
	if d.spoilt.Load() {
		return nil, errSpoilt
	}
	began := false
	defer func() {
		if !began {
			d.spoilt.Store(true)
			d.end()
		}
	}()
	tx, err := d.db.Begin(write)
	began = true
	return tx, err
}

func (d *database) end() { d.closing.Do(func() { close(d.over) }) }

// apart runs what may have to wait for a lock of bbolt, until it is done or the
// database is over.
func (d *database) apart(fn func() error) error {
	if d.spoilt.Load() {
		return errSpoilt
	}
	done := make(chan error, 1)
	go func() { done <- guard(fn) }() // ends with fn, if that ends
	select {
	case err := <-done:
		return err
	case <-d.over:
		return errSpoilt
	}
}

// commit ends a transaction that wrote. With errSpoilt it may be under way still.
func (d *database) commit(tx *bolt.Tx) error { return d.apart(tx.Commit) }

// reading is a transaction that reads, of whichever database it began on.
type reading struct {
	tx *bolt.Tx
	of *database
}

func (d *database) read() (*reading, error) {
	tx, err := d.Begin(false)
	if err != nil {
		return nil, err
	}
	return &reading{tx, d}, nil
}

// end ends it. While the database is being closed it does not wait for the others
// that read.
func (r *reading) end() { _ = r.of.apart(r.tx.Rollback) }

// View runs fn in a transaction that reads.
func (d *database) View(fn func(*bolt.Tx) error) error {
	return guard(func() error {
		now, err := d.read()
		if err != nil {
			return err
		}
		defer now.end()
		return fn(now.tx)
	})
}

// Update runs fn in a transaction that writes, and commits.
func (d *database) Update(fn func(*bolt.Tx) error) error {
	return guard(func() error {
		tx, err := d.Begin(true)
		if err != nil {
			return err
		}
		good := false
		defer func() {
			if !good { // by an error or a panic
				_ = tx.Rollback() // what was wrong before is what counts
			}
		}()
		if err := fn(tx); err != nil {
			return err
		}
		good = true
		return d.commit(tx)
	})
}

// Close closes the file when all who read it have ended, unless nobody may touch it
// again. No transaction may be begun meanwhile.
func (d *database) Close() error {
	d.end()
	if d.spoilt.Load() {
		return nil
	}
	err := guard(d.db.Close)
	// A child that was just forked holds the lock, too, until it runs its program: who
	// opens the file next is not to find it locked.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return err
}
