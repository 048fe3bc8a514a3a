package listing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ActionCompact is what the audit calls a compaction.
const ActionCompact = "compact"

// Compact writes the store anew with full pages and nothing free between them,
// and puts the copy in its place, while it is in use.
//
// The copy is made in short steps between which others write; what they write is
// remembered, and copied again. Then the copy is compared with the store: they
// may differ in nothing but what is remembered. For the last few changes, the
// exchange of the files, and one fsync of each, the writer waits. Until then the
// store is the old file, whatever happens, and from then on the new one: a crash
// in between leaves the one or the other, with the same in it. Who reads the old
// file reads on; it goes with its last reader.
func (s *Store) Compact(ctx context.Context, o Order, progress func(done, total int64)) (out Compacted, err error) {
	if err := checkOrder("compact", o, 1); err != nil {
		return out, err
	}
	if !s.compacting.TryLock() {
		return out, fmt.Errorf("compact store %s: it is being compacted already", s.path)
	}
	defer s.compacting.Unlock()
	err = s.view(func(tx *bolt.Tx, _ time.Time) (err error) {
		out, err = gain(s.path, tx)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("compact store %s: %w", s.path, err)
	}
	if out.DryRun = o.DryRun; o.DryRun {
		return out, nil
	}
	if out.After, err = s.compact(ctx, out, progress); err != nil {
		return out, fmt.Errorf("compact store %s: %w", s.path, err)
	}
	s.log.Info("the store was compacted", slog.Int64("before", out.Before), slog.Int64("after", out.After))
	_, err = s.order(ctx, "compact", o, 1, func(c *change) ([]Problem, error) {
		text, err := detail(out)
		c.note(AuditEntry{Action: ActionCompact, By: o.By, Reason: o.Reason, Detail: text})
		return nil, err
	})
	return out, err
}

func (s *Store) compact(ctx context.Context, size Compacted, progress func(done, total int64)) (after int64, err error) {
	seen := new(touched)
	if err := s.aside(func(w *writer) error { w.touched = seen; return nil }); err != nil {
		return 0, err
	}
	c := compaction{
		path: compactName(s.path), told: progress, total: 2 * (size.Before - size.Free), step: s.compactStep, behind: seen.len,
		moment: func() (now *reading, since map[spot]struct{}, err error) {
			err = s.aside(func(w *writer) error {
				now, since, err = w.moment()
				return err
			})
			return now, since, err
		},
	}
	defer func() {
		// With the writer gone nothing is written that could be remembered.
		_ = s.aside(func(w *writer) error { w.touched = nil; return nil })
		err = errors.Join(err, removeAll(c.path)) // when all went well it is not there any more
	}()
	if err := room(s.path, size); err != nil {
		return 0, err
	}
	if err := c.run(ctx); err != nil {
		return 0, err
	}
	fresh, err := openBolt(c.path, false)
	if err != nil {
		return 0, err
	}
	used := false
	err = s.aside(func(w *writer) error {
		used, after, err = w.exchange(&c, fresh)
		return err
	})
	if !used {
		err = errors.Join(err, fresh.Close())
	}
	return after, err
}

// moment returns a reader of what was committed last, and what was written
// since it was asked last.
func (w *writer) moment() (*reading, map[spot]struct{}, error) {
	if w.db == nil {
		return nil, nil, w.unavailable()
	}
	since, all := w.touched.take()
	if !all {
		return nil, nil, errors.New("too much is written meanwhile; try again when there is less to do")
	}
	now, err := w.reader()
	return now, since, err
}

// exchange brings the copy up to date for good and puts it in the place of the
// store. It reports whether the copy is in use now, error or not.
func (w *writer) exchange(c *compaction, fresh *database) (used bool, size int64, err error) {
	live, since, err := w.moment()
	if err != nil {
		return false, 0, err
	}
	maps.Copy(c.stale, since)
	err = guard(func() error {
		defer live.end()
		return fresh.Update(c.apply(live.tx))
	})
	if err == nil {
		err = c.step("ready")
	}
	if err == nil {
		size, err = c.rename(w.path)
	}
	if err != nil {
		return false, 0, err
	}
	old := w.db
	w.dbLock.Lock()
	w.db = fresh
	w.dbLock.Unlock()
	w.background.Go(func() {
		if err := old.Close(); err != nil { // waits for its readers
			w.log.Error("close the store as it was before it was compacted", slog.Any("err", err))
		}
	})
	if err := errors.Join(c.step("renamed"), syncDir(filepath.Dir(w.path))); err != nil {
		// After a power failure the former file could be back: nothing may be
		// acknowledged before it is known that it will not.
		w.broken(&commitError{err})
		return true, size, err
	}
	return true, size, nil
}

// aside has fn run in the writer's goroutine, between two transactions. It waits
// for the end of fn, come what may: both use the same variables.
func (s *Store) aside(fn func(*writer) error) error {
	_, err := s.do(context.Background(), &request{aside: fn})
	return err
}
