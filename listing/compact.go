package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// Compacted is what a compaction did, or with a dry run what there is to gain.
type Compacted struct {
	Before int64 `json:"before"` // bytes
	After  int64 `json:"after,omitempty"`
	Free   int64 `json:"free"` // bytes of it that held nothing
	DryRun bool  `json:"dry_run,omitempty"`
}

const (
	// compactStep is how many bytes are copied in one transaction, which keeps
	// them in memory, and the pages of the store that it reads from being used anew.
	compactStep = 4 << 20
	// compactLast is how many changes may be left for the last step, for which
	// the writer waits.
	compactLast = 256
	// compactRounds bounds how often it is tried to get there.
	compactRounds = 50
	// mostStale bounds what is left behind while the rest is copied.
	mostStale = 20_000
)

// compactName is the file that a compaction writes.
func compactName(path string) string { return path + ".compacting" }

// compaction is one under way: it writes the copy at path, out of what moment
// returns.
type compaction struct {
	path string
	to   *bolt.DB
	// moment returns what is to be copied as it is now, and all that was written
	// since it was called last.
	moment func() (*reading, map[spot]struct{}, error)
	// behind tells how many changes moment would return.
	behind func() int
	stale  map[spot]struct{} // in the copy
	step   func(string) error
	told   func(done, total int64)
	done   int64
	total  int64
}

// run makes the copy, brings it up to date, and makes sure that it is one. What
// was written since is in stale.
func (c *compaction) run(ctx context.Context) (err error) {
	if err := removeAll(c.path); err != nil {
		return err
	}
	c.to, err = bolt.Open(c.path, 0o600, &bolt.Options{
		Timeout: lockTimeout, FreelistType: bolt.FreelistMapType, NoGrowSync: true,
	})
	if err != nil {
		return err
	}
	c.to.AllocSize = os.Getpagesize() // the file grows by no more than it needs
	c.to.NoSync = true                // see each; a copy that a crash leaves is not used
	defer func() { err = errors.Join(err, c.to.Close()) }()
	c.stale = make(map[spot]struct{})
	err = c.to.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.each(ctx, "copy", c.to.Update, c.copySome); err != nil {
		return err
	}
	if err := c.step("copied"); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if err := c.each(ctx, "compare", c.to.View, c.compareSome); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if err := c.to.Sync(); err != nil {
		return err
	}
	return c.step("settled")
}

// each does something with all that there is, step by step. It may change
// meanwhile: what does is remembered as stale.
func (c *compaction) each(ctx context.Context, what string, with func(func(*bolt.Tx) error) error, some func(w *walk, live, tx *bolt.Tx) error) error {
	for _, name := range buckets {
		for w := (&walk{name: name}); !w.done; {
			if c.behind() > mostStale {
				if err := c.settle(ctx); err != nil {
					return err
				}
			}
			w.size, w.done = 0, true
			err := c.read(ctx, func(live *bolt.Tx) error {
				return with(func(tx *bolt.Tx) error { return some(w, live, tx) })
			})
			if err == nil && w.size >= compactStep {
				err = c.to.Sync() // little by little: others wait for this disk, too
			}
			if err != nil {
				return fmt.Errorf("%s %s: %w", what, name, err)
			}
			c.done += w.size
			c.told(min(c.done, c.total), c.total)
		}
	}
	return nil
}

// walk is a way through a bucket.
type walk struct {
	name []byte
	next []byte // where to go on
	size int64  // of what was walked through in this step
	done bool   // there is no more
}

// takes reports whether a key and its value still belong to this step.
func (w *walk) takes(key, value []byte) bool {
	if w.size >= compactStep {
		w.next, w.done = bytes.Clone(key), false
		return false
	}
	w.size += int64(len(key) + len(value))
	return true
}

// read calls fn with what is there now.
func (c *compaction) read(ctx context.Context, fn func(*bolt.Tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now, since, err := c.moment()
	if err != nil {
		return err
	}
	maps.Copy(c.stale, since)
	return guard(func() error {
		defer now.end()
		return fn(now.tx)
	})
}

func (c *compaction) copySome(w *walk, live, tx *bolt.Tx) error {
	b := tx.Bucket(w.name)
	b.FillPercent = 1
	from := live.Bucket(w.name).Cursor()
	for key, value := from.Seek(w.next); key != nil && w.takes(key, value); key, value = from.Next() {
		if err := b.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}

// settle copies anew what was written meanwhile, until little is left.
func (c *compaction) settle(ctx context.Context) error {
	for round := 0; ; round++ {
		err := c.read(ctx, func(live *bolt.Tx) error {
			if len(c.stale) == 0 {
				return nil
			}
			return c.to.Update(c.apply(live))
		})
		if err != nil {
			return err
		}
		c.stale = make(map[spot]struct{})
		if c.behind() <= compactLast {
			return nil
		}
		if round == compactRounds {
			return errors.New("more is written than can be copied; try again when there is less to do")
		}
	}
}

// apply copies what is stale.
func (c *compaction) apply(live *bolt.Tx) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) (err error) {
		for at := range c.stale {
			key, b := []byte(at.key), tx.Bucket([]byte(at.bucket))
			if value := live.Bucket([]byte(at.bucket)).Get(key); value != nil {
				err = b.Put(key, value)
			} else {
				err = b.Delete(key)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// compareSome makes sure that the copy has what the store has, but for what is
// known to be stale.
func (c *compaction) compareSome(w *walk, live, tx *bolt.Tx) error {
	theirs, ours := live.Bucket(w.name).Cursor(), tx.Bucket(w.name).Cursor()
	key, value := theirs.Seek(w.next)
	ourKey, ourValue := ours.Seek(w.next)
	for key != nil || ourKey != nil {
		order, at := compareKeys(key, ourKey), key
		if order > 0 {
			at = ourKey
		}
		if !w.takes(at, value) {
			return nil
		}
		if _, known := c.stale[spot{string(w.name), string(at)}]; !known && (order != 0 || !bytes.Equal(value, ourValue)) {
			return fmt.Errorf("%w: the copy differs at key %x", ErrDamaged, at)
		}
		if order <= 0 {
			key, value = theirs.Next()
		}
		if order >= 0 {
			ourKey, ourValue = ours.Next()
		}
	}
	return nil
}

// compareKeys compares keys; none stands behind all.
func compareKeys(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}

// Compact writes a store that no process has, such as a backup, anew with full
// pages and nothing free between them, compares the copy with it, and puts it in
// its place. progress is told how much of how much was done.
func Compact(ctx context.Context, path string, o Order, progress func(done, total int64)) (out Compacted, err error) {
	if err := checkOrder("compact", o, 1); err != nil {
		return out, err
	}
	db, err := openFile(path, now())
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bolt.Tx) (err error) {
		out, err = gain(path, tx)
		return err
	})
	if out.DryRun = o.DryRun; err != nil || o.DryRun {
		return out, err
	}
	c := compaction{
		path: compactName(path), told: progress, total: 2 * (out.Before - out.Free),
		step:   func(string) error { return nil },
		behind: func() int { return 0 },
		moment: func() (*reading, map[spot]struct{}, error) {
			now, err := db.read()
			return now, nil, err
		},
	}
	defer func() {
		if gone := removeAll(c.path); err == nil {
			err = gone
		}
	}()
	err = room(path, out)
	if err == nil {
		err = c.run(ctx)
	}
	if err == nil {
		out.After, err = c.rename(path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return out, fmt.Errorf("compact store %s: %w", path, err)
	}
	return out, nil
}

// rename gives the copy the name of the store. Until the folder is synced either
// may be there after a crash, and both hold the same.
func (c *compaction) rename(path string) (size int64, err error) {
	info, err := os.Stat(c.path)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(c.path, path)
}

// gain tells how large a store is, and how much of that is free.
func gain(path string, tx *bolt.Tx) (out Compacted, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return out, err
	}
	stats := tx.DB().Stats()
	out.Before = info.Size()
	out.Free = out.Before - tx.Size() + int64(stats.FreePageN+stats.PendingPageN)*int64(tx.DB().Info().PageSize)
	return out, nil
}

// room makes sure that the disk can hold the copy: a full one would keep the
// store from being written, too.
func room(path string, c Compacted) error {
	free, known := freeBytes(filepath.Dir(path))
	if need := c.Before - c.Free; known && free < need+need/4+compactStep {
		return fmt.Errorf("the copy needs about %d bytes beside it, and the disk has %d free; make room", need+need/4+compactStep, free)
	}
	return nil
}
