package listing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

// lostMetaError says that one of the two meta pages is damaged, and may be the
// newer one. bbolt would take the other, and the last commit, which was
// acknowledged, would be gone without a word.
type lostMetaError struct {
	page uint64   // the damaged one
	left boltMeta // the other
	tell string   // what the other leads to, once that is known
}

func (e *lostMetaError) Error() string {
	return fmt.Sprintf("%s: page %d is a meta page that is damaged, and may be the newer one: what was written last is lost without it%s",
		ErrDamaged, e.page, e.tell)
}
func (e *lostMetaError) Unwrap() error { return ErrDamaged }

const (
	repairMeta = "mended: all other pages prove how it was"
	repairBack = "gone back, with --drop, to what was there before, under a new serial: secondaries fetch the whole zone once"
)

// mended returns the damaged page as it must have been, going by what can still be
// read of it. Of the newer one only: for the older one nothing would prove it.
func (e *lostMetaError) mended(data []byte) (page []byte, ok bool) {
	damaged := data[int64(e.page)*e.left.pageSize:]
	was, _, _ := readMeta(damaged)
	if was.txid = txidOf(damaged, e.left); was.txid != e.left.txid+1 {
		return nil, false
	}
	page = bytes.Clone(data[int64(e.left.page)*e.left.pageSize:][:boltHeader+boltMetaSize])
	binary.NativeEndian.PutUint64(page, e.page)
	b := page[boltHeader:]
	binary.NativeEndian.PutUint64(b[16:], was.root)
	binary.NativeEndian.PutUint64(b[32:], was.free)
	binary.NativeEndian.PutUint64(b[40:], was.end)
	binary.NativeEndian.PutUint64(b[48:], was.txid)
	h := fnv.New64a()
	h.Write(b[:56])
	binary.NativeEndian.PutUint64(b[56:], h.Sum64())
	return page, true
}

// proven returns the damaged page as it was, if every page of the file has exactly
// one place in what it leads to, and else nothing. What was committed before would
// not pass: its pages are free for the newer one.
func (e *lostMetaError) proven(path string) (page []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, release, err := mapCopy(f)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	defer release()
	err = guard(func() error {
		was, ok := e.mended(data)
		if !ok {
			return nil
		}
		copy(data[int64(e.page)*e.left.pageSize:], was)
		err := checkPages(data, lookDeep)
		if err == nil {
			page = was
		}
		return err
	})
	if errors.Is(err, ErrDamaged) {
		err = nil // then it was another
	}
	return page, err
}

// mend writes the damaged page as it was.
func (e *lostMetaError) mend(path string, page []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(page, int64(e.page)*e.left.pageSize)
	return errors.Join(err, f.Sync(), f.Close())
}

// repair makes a file usable again, which no process may have: mended, or with drop
// as it was a commit ago. To mend it is done at once; to go back takes a commit,
// which is up to the caller.
func (e *lostMetaError) repair(path string, drop, dryRun bool) (was Damage, back bool, err error) {
	release, err := lock(path)
	if err != nil {
		return was, false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	was = Damage{Part: "pages", Key: strconv.FormatUint(e.page, 10), What: e.Error(), Repair: repairMeta}
	page, err := e.proven(path)
	switch {
	case err != nil:
		return was, false, err
	case page != nil && dryRun:
		return was, false, nil
	case page != nil:
		return was, false, e.mend(path, page)
	case !drop && !dryRun:
		return was, false, e
	}
	was.Repair = repairBack
	return was, true, checkFile(path, lookLeft)
}

// look finds out what can be done, and says so.
func (e *lostMetaError) look(path string) {
	e.tell = "; restore a backup"
	if page, err := e.proven(path); err == nil && page != nil {
		e.tell = "; the other pages prove how it was: 'verify --repair' mends it"
		return
	}
	if checkFile(path, lookLeft) != nil {
		return
	}
	if m, err := readMetaOf(path); err == nil {
		e.tell += fmt.Sprintf(", or go back with 'verify --repair --drop' to what was there a commit before, serial %d of %s",
			SerialOf(m.Sequence), m.Time.Format(time.RFC3339))
	}
}

// readMetaOf reads the state of a file whose pages were looked at.
func readMetaOf(path string) (m meta, err error) {
	db, err := openBolt(path, true)
	if err != nil {
		return m, err
	}
	err = db.View(func(tx *bolt.Tx) (err error) {
		m, err = decodeMeta(keyState, tx.Bucket(bucketMeta).Get(keyState))
		return err
	})
	return m, errors.Join(err, db.Close())
}
