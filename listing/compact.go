package listing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// Compacted is what a compaction did.
type Compacted struct {
	Before int64 `json:"before"` // bytes
	After  int64 `json:"after"`
}

// compactStep is how many bytes are written in one transaction, which keeps
// them in memory.
const compactStep = 32 << 20

// Compact writes the store anew with full pages and nothing free between them,
// compares the copy with it, and puts it in its place. No process may have the
// store. progress is told how much of how much was done.
func Compact(ctx context.Context, path string, progress func(done, total int64)) (out Compacted, err error) {
	db, err := openFile(path, now())
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	temp := path + ".compacting"
	defer func() {
		if gone := removeAll(temp); err == nil {
			err = gone
		}
	}()
	err = guard(func() error {
		return db.View(func(tx *bolt.Tx) error {
			out.Before = tx.Size()
			c := compaction{ctx: ctx, from: tx, told: progress, total: tx.Size()}
			return c.run(temp)
		})
	})
	if err != nil {
		return out, fmt.Errorf("compact store %s: %w", path, err)
	}
	info, err := os.Stat(temp)
	if err == nil {
		out.After = info.Size()
		err = errors.Join(os.Rename(temp, path), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return out, fmt.Errorf("compact store %s: %w", path, err)
	}
	return out, nil
}

// compaction is one under way.
type compaction struct {
	ctx   context.Context //nolint:containedctx // of the call that it lives in
	from  *bolt.Tx
	to    *bolt.DB
	tx    *bolt.Tx
	size  int64 // written in tx
	done  int64
	total int64
	told  func(done, total int64)
}

func (c *compaction) run(temp string) (err error) {
	if err := removeAll(temp); err != nil {
		return err
	}
	c.to, err = bolt.Open(temp, 0o600, &bolt.Options{
		Timeout: lockTimeout, FreelistType: bolt.FreelistMapType, NoGrowSync: true,
	})
	if err != nil {
		return err
	}
	c.to.AllocSize = os.Getpagesize() // the file grows by no more than it needs
	err = c.copy()
	if err == nil {
		err = c.compare()
	}
	return errors.Join(err, c.to.Close(), syncFile(temp))
}

func (c *compaction) copy() (err error) {
	if c.tx, err = c.to.Begin(true); err != nil {
		return err
	}
	for _, name := range buckets {
		b, err := c.tx.CreateBucketIfNotExists(name)
		if err != nil {
			return errors.Join(err, c.tx.Rollback())
		}
		b.FillPercent = 1
		err = c.from.Bucket(name).ForEach(func(key, value []byte) error {
			if c.size >= compactStep {
				if b, err = c.next(name); err != nil {
					return err
				}
			}
			c.size += int64(len(key) + len(value))
			return b.Put(key, value)
		})
		if err != nil {
			return errors.Join(err, c.tx.Rollback())
		}
	}
	return c.tx.Commit()
}

// next goes on in a new transaction.
func (c *compaction) next(name []byte) (*bolt.Bucket, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, context.Cause(c.ctx)
	}
	c.done += c.size
	c.size = 0
	c.told(c.done, c.total)
	if err := c.tx.Commit(); err != nil {
		return nil, err
	}
	tx, err := c.to.Begin(true)
	if err != nil {
		return nil, err
	}
	c.tx = tx
	b := tx.Bucket(name)
	b.FillPercent = 1
	return b, nil
}

// compare makes sure that the copy has what the store has.
func (c *compaction) compare() error {
	return c.to.View(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			theirs := c.from.Bucket(name).Cursor()
			ours := tx.Bucket(name).Cursor()
			key, value := theirs.First()
			for ourKey, ourValue := ours.First(); ourKey != nil || key != nil; ourKey, ourValue = ours.Next() {
				if !bytes.Equal(key, ourKey) || !bytes.Equal(value, ourValue) {
					return fmt.Errorf("bucket %s: the copy differs at key %x: %w", name, key, ErrDamaged)
				}
				key, value = theirs.Next()
			}
		}
		return nil
	})
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
