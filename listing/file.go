package listing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The schema of the file, and the words that tell it from any other bbolt file.
const (
	schema      = 5
	schemaMagic = "backscatter listing store"
)

// The buckets. Prefixes stand as prefixKey writes them.
var (
	bucketMeta         = []byte("meta")         // the keys below
	bucketRecords      = []byte("records")      // prefix → record
	bucketObservations = []byte("observations") // prefix, time, identity → observation
	bucketSeen         = []byte("seen")         // identity → when it was received; of observations that are not kept
	bucketExpiry       = []byte("expiry")       // time, prefix, kind → nothing: what to look at when
	bucketJournal      = []byte("journal")      // sequence → what was published and withdrawn
	bucketExempt       = []byte("exempt")       // prefix, built in or not → exemption
	bucketReporters    = []byte("reporters")    // name → enrolment; of those of the configuration only a suspension
	bucketAudit        = []byte("audit")        // number → what was done by whom, chained by hashes
	bucketTexts        = []byte("texts")        // number → text, and back
	bucketLarge        = []byte("large")        // first letter of journal or audit, its key → its value, of one that is large
	bucketHeaders      = []byte("headers")      // time, prefix, identity → header; missing from stores of before it

	// In the order in which a compaction copies them: a leaf of few large values is
	// written again with each that comes, and what that leaves free the others fill.
	buckets = [][]byte{
		bucketLarge, bucketMeta, bucketRecords, bucketObservations, bucketSeen, bucketExpiry,
		bucketJournal, bucketExempt, bucketReporters, bucketAudit, bucketTexts, bucketHeaders,
	}
	keySchema = []byte("schema")
	keyState  = []byte("state")
	keyBrakes = []byte("brakes")

	keyHeaders = []byte("headers")

	keyDecommission = []byte("decommission")

	metaKeys = [][]byte{keySchema, keyState, keyBrakes, keyHeaders, keyDecommission}
)

// lockTimeout is how long to wait for another process to let the file go.
const lockTimeout = time.Second

// A file grows by as much as it is large, within these bounds. Each time costs an
// fsync more, and what is not used yet takes no room on a disk.
const (
	leastGrowth = 64 << 10
	mostGrowth  = 16 << 20
)

// sentinel is the file beside the database that says that there was one. Without
// it a lost file could not be told from a new store.
func sentinel(path string) string { return path + ".made" }

// clock is the one of all stores. It is read once in a transaction, and once to
// know how long to sleep.
func clock() time.Time {
	return time.Now().UTC() //nolint:forbidigo // see above
}

// now is what a transaction takes for the time: whole seconds, as all that is
// stored.
func (s *Store) now() time.Time { return s.clock().Truncate(time.Second) }

// now is the same for what is done to a file that no store has open.
func now() time.Time { return clock().Truncate(time.Second) }

// openFile opens the database at path, and makes it if there never was one.
func openFile(path string, now time.Time) (*database, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		db, made := makeFirst(path, now)
		if !errors.Is(made, fs.ErrExist) {
			return db, made
		}
		info, err = os.Stat(path) // another process has just made it
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("open store: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open store %s: %w: it is no regular file", path, ErrForeign)
	case info.Size() == 0:
		if _, err := os.Stat(sentinel(path)); err == nil {
			return nil, fmt.Errorf("open store %s: %w: the file is empty; restore a backup", path, ErrLost)
		}
		return nil, fmt.Errorf("open store %s: %w: the file is empty; remove it to begin anew", path, ErrForeign)
	}
	if err := precheck(path, info.Size()); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// Looked at read-only first: to open a file for writing can change it.
	db, err := openChecked(path, lookEnds)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	old, headers := false, true
	err = db.View(func(tx *bolt.Tx) (err error) {
		old, err = checkSchema(tx)
		headers = tx.Bucket(bucketHeaders) != nil
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	if db, err = openBolt(path, false); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	if old {
		if err := db.Update(migrate); err != nil {
			return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
		}
	}
	if !headers {
		if err := db.Update(makeHeaders); err != nil {
			return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
		}
	}
	if err := makeSentinel(path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openBolt opens a database file that is there. The free list is kept on disk:
// to find it anew takes a walk through the whole file.
func openBolt(path string, readOnly bool) (_ *database, err error) {
	var db *bolt.DB
	var file *os.File
	options := bolt.Options{
		Timeout: lockTimeout, FreelistType: bolt.FreelistMapType, ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	if !readOnly {
		options.InitialMmapSize = mapAhead
	}
	open := func() error {
		db, err = bolt.Open(path, 0o600, &options)
		return err
	}
	if err = guard(open); errors.Is(err, syscall.ENOMEM) { // this process may not have so much
		options.InitialMmapSize = 0
		err = guard(open)
	}
	if _, panicked := errors.AsType[*panicError](err); panicked && file != nil {
		_ = file.Close() // else its lock would be held for as long as the process lives
	}
	if err == nil {
		// While this waited for the lock, a restore or a compaction may have put
		// another file there.
		if err := sameFile(file, path); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		db.AllocSize = leastGrowth // see begin
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, ErrLocked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return nil, err
	}
	return newDatabase(db), nil
}

// openChecked opens a database file for reading, once it is certain that its
// pages lead nowhere that they should not.
func openChecked(path string, look looking) (*database, error) {
	db, err := openBolt(path, true)
	if err != nil {
		return nil, err
	}
	err = checkFile(path, look)
	if err == nil {
		return db, nil
	}
	if lost, ok := errors.AsType[*lostMetaError](err); ok {
		lost.look(path)
	} else if err = fmt.Errorf("%w; restore a backup", err); look == lookDeep && checkFile(path, lookEnds) == nil {
		err = fmt.Errorf("%w, or try 'verify --repair --drop'", err)
	}
	return nil, errors.Join(err, db.Close())
}

func sameFile(f *os.File, path string) error {
	there, err := os.Stat(path)
	if err != nil {
		return err
	}
	here, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(here, there) {
		return fmt.Errorf("%w: it was just exchanged; try again", ErrLocked)
	}
	return nil
}

// guard runs fn on the database and turns what a damaged file makes bbolt do,
// a panic or a fault in the mapped file, into an error.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{value: r, stack: debug.Stack()}
		}
	}()
	return fn()
}

// panicError is a panic below guard. It says of itself that the file is damaged,
// which is what makes bbolt panic; the stack tells whether it was that.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("%s: %v", ErrDamaged, e.value) }
func (e *panicError) Unwrap() error { return ErrDamaged }

// makeFirst makes a store where none is, and never was. With [fs.ErrExist] there is
// one after all.
func makeFirst(path string, now time.Time) (*database, error) {
	if _, err := os.Stat(sentinel(path)); err != nil {
		return createFile(path, now)
	}
	if _, err := os.Stat(path); err == nil {
		return nil, fs.ErrExist
	}
	return nil, fmt.Errorf("open store %s: %w: restore a backup, or remove %s to begin anew", path, ErrLost, sentinel(path))
}

// createFile makes a new store beside path and then links it there, so that a
// crash leaves either a whole store or none.
func createFile(path string, now time.Time) (_ *database, err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return nil, fmt.Errorf("make store %s: %w", path, err)
	}
	if err := temp.Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("make store %s: %w", path, err), os.Remove(temp.Name()))
	}
	db, err := openBolt(temp.Name(), false)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make store %s: %w", path, err), os.Remove(temp.Name()))
	}
	err = db.Update(func(tx *bolt.Tx) error { return initialise(tx, now) })
	if err == nil {
		err = os.Link(temp.Name(), path) // never replaces a store that another process just made
	}
	err = errors.Join(err, os.Remove(temp.Name()))
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err == nil {
		err = makeSentinel(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make store %s: %w", path, err), db.Close())
	}
	return db, nil
}

func initialise(tx *bolt.Tx, now time.Time) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	if err := putSchema(tx, schema); err != nil {
		return err
	}
	// The sequence starts at unix time, so that a store that is begun anew goes
	// on after the serials of the one that was lost.
	start := uint64(max(now.Unix(), 1))
	m := meta{Sequence: start, Time: now, Base: start}
	return tx.Bucket(bucketMeta).Put(keyState, m.encode(keyState))
}

// checkSchema refuses what this program did not write, and what lacks a bucket
// of its schema. It reports whether that is an old one.
func checkSchema(tx *bolt.Tx) (old bool, err error) {
	version, err := readSchema(tx)
	if err != nil || version < schema {
		return err == nil, err
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil && !bytes.Equal(name, bucketHeaders) {
			return false, fmt.Errorf("bucket %q is missing: %w", name, ErrDamaged)
		}
	}
	return false, nil
}

func makeSentinel(path string) error {
	name := sentinel(path)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	text := "The store beside this file was made. While this file is here, a missing store is an error.\n"
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("note that the store was made: %w", err)
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("note that the store was made in %s: %w", name, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
