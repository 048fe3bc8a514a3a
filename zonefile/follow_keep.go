package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// kept is the folder of what was in force last, which is answered from when a mirror
// starts and finds nothing in its folder that is right.
func (f *Follower) kept() string { return filepath.Join(f.o.Memory, "last-good") }

// next is where what is kept is put together. It is whole after a crash that came when
// the former was gone and it had not taken the place yet.
func (f *Follower) next() string { return f.kept() + ".new" }

// unkept tells whether what is in force is yet to be kept.
type unkept struct {
	is   bool
	mark string // fingerprint of files that are not what is in force
	told string // the failure that was logged last
}

// errNotInForce is wrapped by the error about files that are not what is in force.
var errNotInForce = errors.New("the folder has it no longer")

// keepIn keeps what is in force, as soon as it can be: after a crash what was kept before
// is too old to be recalled. The next may be arriving in the folder meanwhile.
func (f *Follower) keepIn(log *slog.Logger) {
	if !f.unkept.is {
		return
	}
	c := f.current.Load()
	// To copy the same wrong files again and again would change nothing.
	mark := fingerprint(f.o.Dir, c.Manifest, c.text)
	if f.unkept.mark == mark {
		return
	}
	err := f.keep(c)
	if err == nil {
		f.unkept = unkept{}
		return
	}
	if err.Error() != f.unkept.told {
		log.Warn("a start that finds nothing right in the folder will have nothing to answer from", "err", err)
	}
	f.unkept.told, f.unkept.mark = err.Error(), ""
	if errors.Is(err, errNotInForce) {
		f.unkept.mark = mark
	}
}

// keep keeps the files of what is in force, beside what was kept and then in its place.
func (f *Follower) keep(c *inForce) error {
	next := f.next()
	files, err := c.Manifest.served()
	if err == nil && f.has(next, c, files) {
		return f.settle() // after a crash it may be the only one
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(next), os.Mkdir(next, 0o750))
	}
	for _, file := range files {
		if err == nil {
			err = file.keep(f.o.Dir, next)
		}
	}
	if err == nil {
		err = errors.Join(
			writeBeside(filepath.Join(next, ManifestName), c.text),
			writeBeside(filepath.Join(next, SignatureName), c.signature))
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(next))
	} else {
		err = f.settle()
	}
	if err != nil {
		return fmt.Errorf("keep serial %d for the next start: %w", c.Manifest.Serial, err)
	}
	return nil
}

// has tells whether a folder has all that is kept of what is in force.
func (f *Follower) has(dir string, c *inForce, files []ManifestFile) bool {
	text, signature, err := f.read(dir)
	return err == nil && bytes.Equal(text, c.text) && bytes.Equal(signature, c.signature) &&
		!slices.ContainsFunc(files, func(file ManifestFile) bool { return file.verify(dir) != nil })
}

// settle puts what was put together in the place of what was kept.
func (f *Follower) settle() error {
	if err := os.RemoveAll(f.kept()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.next(), f.kept()), syncDir(f.o.Memory))
}

// keep copies the file, which must have the bytes that the manifest says still. A link
// would change with it where something writes into the file itself, as cp does.
func (f ManifestFile) keep(from, to string) error {
	in, err := os.Open(filepath.Join(from, f.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errNotInForce, err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(filepath.Join(to, f.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, f.Size+1))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err = f.verify(to); err != nil {
		return fmt.Errorf("%w: %w", errNotInForce, err)
	}
	return nil
}

// recall goes over to what was kept.
func (f *Follower) recall(now time.Time) error {
	done, err := f.recallFrom(f.kept(), now)
	if done {
		return nil
	}
	done, errNext := f.recallFrom(f.next(), now)
	if done {
		return f.settle()
	}
	return errors.Join(err, errNext)
}

// recallFrom goes over to what a folder has, if the key signed it. It may have expired
// since: what was in force stays until there is something newer.
func (f *Follower) recallFrom(dir string, now time.Time) (done bool, err error) {
	text, signature, err := f.read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m, err := openManifest(dir, text, signature, f.o.Key)
	if err == nil {
		err = f.admit(dir, m)
	}
	if err != nil {
		return false, err
	}
	f.loaded = true
	c, err := m.Load(dir)
	if err != nil {
		return false, err
	}
	f.goOver(&inForce{Copy: c, text: text, signature: signature, recalled: true}, now)
	return true, nil
}
