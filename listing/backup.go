package listing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ActionRestore is what the audit calls a restore.
const ActionRestore = "restore"

// Backup writes the store as it is at one moment, while it goes on. size is
// told how many bytes that are before the first. What is written is a store: the
// recipients' key is not in it, and without that nobody can tell whether an
// address is among the recipients.
//
// It ends when the store must be opened anew after a failed commit; until then
// the file cannot give back what is freed, so w should not be slow.
func (s *Store) Backup(ctx context.Context, w io.Writer, size func(int64)) error {
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		size(tx.Size())
		_, err := tx.WriteTo(&backupWriter{ctx: ctx, store: s, w: w})
		return err
	})
	if err != nil {
		return fmt.Errorf("back up store %s: %w", s.path, err)
	}
	return nil
}

// backupWriter breaks a backup off that nobody waits for, or that is in the way
// of the writer.
type backupWriter struct {
	ctx   context.Context //nolint:containedctx // of the call that it lives in
	store *Store
	w     io.Writer
}

func (b *backupWriter) Write(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	if b.store.health.Load() != nil {
		return 0, ErrUnavailable
	}
	return b.w.Write(p)
}

// Check reads a store that no process has, or a backup, and tells what is wrong
// with it. It changes nothing. An older schema is no damage; of such a file only
// its pages are looked at.
func Check(path string) (Verdict, error) {
	return check(path, lookDeep)
}

// check looks at as much of the pages as it is told.
func check(path string, look looking) (v Verdict, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return v, fmt.Errorf("check: %w", err)
	}
	if info.Size() == 0 || !info.Mode().IsRegular() {
		return v, fmt.Errorf("check %s: %w: it is empty or no regular file", path, ErrForeign)
	}
	if err := precheck(path, info.Size()); err != nil {
		return v, fmt.Errorf("check %s: %w", path, err)
	}
	db, err := openChecked(path, look)
	if err != nil {
		return v, fmt.Errorf("check %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bolt.Tx) error {
		old, err := checkSchema(tx)
		if err != nil || old {
			v.Damage = []Damage{}
			return err
		}
		v = examine(tx, now())
		v.aheadOf(path)
		return nil
	})
	if err = contain(&v, err); err != nil {
		return v, fmt.Errorf("check %s: %w", path, err)
	}
	return v, nil
}

// CheckPages has bbolt look at every page of a file, and tells what is wrong.
// A damaged page can end the process: to be called in one of its own.
func CheckPages(path string, tell func(error)) error {
	db, err := openChecked(path, lookDeep)
	if err != nil {
		return fmt.Errorf("check the pages of %s: %w", path, err)
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			tell(err)
		}
		return nil
	})
}

// Restored is what a restore did.
type Restored struct {
	Verdict
	Kept string `json:"kept,omitempty"` // where the former store is now; empty when there was none
}

// Restore puts a backup in the place of the store at path, which no process may
// have. The backup is copied beside it, checked completely, and brought to this
// program's schema; only then are the files exchanged. The former store is kept
// under another name. The serial moves on from wherever the former stood, or it
// may have stood, so that secondaries fetch what was restored.
func Restore(ctx context.Context, from, path string, o Order) (r Restored, err error) {
	if o.Reason == "" {
		return r, ErrNoReason
	}
	last := max(lastSequence(path), imageSequence(path)) // before the lock, which the former needs itself
	release, err := lock(path)
	if err != nil {
		return r, fmt.Errorf("restore store %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, release()) }()
	at := now()
	temp := path + ".restoring"
	defer func() {
		if gone := removeAll(temp, sentinel(temp), imageName(temp)); err == nil {
			err = gone
		}
	}()
	if err := copyFile(ctx, from, temp); err != nil {
		return r, fmt.Errorf("restore %s: %w", from, err)
	}
	if err := r.prepare(temp, o, last, at); err != nil {
		return r, fmt.Errorf("restore %s, nothing was changed: %w", from, err)
	}
	if o.DryRun {
		return r, nil
	}
	aside := path + ".before-" + at.Format("20060102T150405Z")
	switch err := os.Rename(path, aside); {
	case err == nil:
		r.Kept = aside
	case !errors.Is(err, fs.ErrNotExist):
		return r, fmt.Errorf("restore: keep the former store: %w", err)
	}
	err = errors.Join(os.Rename(temp, path), dropImage(path), syncDir(filepath.Dir(path)))
	if err == nil {
		err = makeSentinel(path)
	}
	if err != nil {
		return r, fmt.Errorf("restore %s: %w; the former store is %s", from, err, aside)
	}
	return r, nil
}

// prepare checks the copy of a backup, and moves its serial on.
func (r *Restored) prepare(temp string, o Order, last uint64, at time.Time) error {
	db, err := openFile(temp, at) // which migrates it
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if r.Verdict, err = Check(temp); err != nil {
		return err
	}
	if len(r.Damage) > 0 {
		return fmt.Errorf("%w: %s; and %d more; nothing was changed", ErrDamaged, r.Damage[0], len(r.Damage)-1+r.More)
	}
	s, err := openBare(temp)
	if err != nil {
		return err
	}
	_, err = s.runAlone(func(c *change) error {
		c.cut = true
		c.meta.Sequence = max(c.meta.Sequence, last, uint64(max(at.Unix(), 0)))
		c.note(AuditEntry{Action: ActionRestore, By: o.By, Reason: o.Reason})
		return nil
	})
	r.Sequence = s.state.meta.Sequence
	return errors.Join(err, s.Close())
}

// openBare opens a store without settings, for one order.
func openBare(path string) (*Store, error) {
	s := newStore(path, nil)
	db, err := openFile(path, now())
	if err != nil {
		return nil, err
	}
	s.db = db
	st, snap, err := s.rebuild()
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.state = st
	s.snapshot.Store(snap)
	s.settings.Store(&Settings{})
	return s, nil
}

// lastSequence is the sequence of a store that may be damaged; 0 when it cannot
// be read.
func lastSequence(path string) (sequence uint64) {
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 || precheck(path, info.Size()) != nil {
		return 0
	}
	_ = guard(func() error {
		db, err := openChecked(path, lookMeta)
		if err != nil {
			return err
		}
		defer db.Close()
		return db.View(func(tx *bolt.Tx) error {
			value := tx.Bucket(bucketMeta).Get(keyState)
			m, err := decodeMeta(keyState, value)
			if err != nil {
				m, err = decodeMeta1(keyState, value)
			}
			if err == nil {
				sequence = m.Sequence
			}
			return err
		})
	})
	return sequence
}

// copyFile copies durably, but for the name.
func copyFile(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, contextReader{ctx, in})
	return errors.Join(err, out.Sync(), out.Close())
}

type contextReader struct {
	ctx context.Context //nolint:containedctx // of the call that it lives in
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

func removeAll(names ...string) error {
	var errs []error
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ActionRotate is what the audit calls a new key for recipients.
const ActionRotate = "rotate-key"

// NoteRotation leaves word in the audit that recipients are hashed under a new
// key from now on. The store knows no key.
func (s *Store) NoteRotation(ctx context.Context, o Order) error {
	_, err := s.order(ctx, "rotate key", o, 1, func(c *change) ([]Problem, error) {
		c.note(AuditEntry{Action: ActionRotate, By: o.By, Reason: o.Reason})
		return nil, nil
	})
	return err
}
