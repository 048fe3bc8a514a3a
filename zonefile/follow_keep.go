package zonefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// kept is the folder of what was in force last, which is answered from when a mirror
// starts and finds nothing in its folder that is right.
func (f *Follower) kept() string { return filepath.Join(f.o.Memory, "last-good") }

// keep keeps the files of what is in force, beside what was kept and then in its place.
func (f *Follower) keep() error {
	c, next := f.current.Load(), f.kept()+".new"
	files, err := c.Manifest.served()
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
			os.WriteFile(filepath.Join(next, ManifestName), c.text, 0o640),
			os.WriteFile(filepath.Join(next, SignatureName), c.signature, 0o640),
			syncDir(next))
	}
	if err == nil {
		err = os.RemoveAll(f.kept())
	}
	if err == nil {
		err = errors.Join(os.Rename(next, f.kept()), syncDir(f.o.Memory))
	}
	if err != nil {
		return fmt.Errorf("keep serial %d for the next start: %w", c.Manifest.Serial, errors.Join(err, os.RemoveAll(next)))
	}
	return nil
}

// keep copies the file, which must have the bytes that the manifest says still. A link
// would change with it where something writes into the file itself, as cp does.
func (f ManifestFile) keep(from, to string) error {
	in, err := os.Open(filepath.Join(from, f.Name))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(filepath.Join(to, f.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, f.Size+1))
	return errors.Join(err, out.Sync(), out.Close(), f.verify(to))
}

// recall goes over to what was kept, if the key signed it. It may have expired since:
// what was in force stays until there is something newer.
func (f *Follower) recall(now time.Time) error {
	text, signature, err := f.read(f.kept())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := openManifest(f.kept(), text, signature, f.o.Key)
	if err == nil {
		err = f.admitOrder(m)
	}
	if err != nil {
		return err
	}
	c, err := m.Load(f.kept())
	if err != nil {
		return err
	}
	f.goOver(&inForce{c, text, signature}, now)
	return nil
}
