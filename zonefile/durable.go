package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// beside is a file that is to take the place of another in one step. The
// sequence, by which a reader and a crash at any moment find either the old
// file whole or the new one:
//
//  1. create .NAME.new in the same directory (a left-over one of a crash is
//     overwritten), write it, fsync;
//  2. whoever wants to reads it back; set its time;
//  3. rename it to NAME, which POSIX makes atomic;
//  4. fsync the directory, without which the rename may be undone by a crash
//     (google/renameio does not do this).
//
// Not safe against: disks that lie about fsync, and several processes that
// write the same name.
type beside struct {
	path string // of the beside-file
	name string // that it is to take
}

// besideFile is a beside that is being written.
type besideFile struct {
	beside

	*os.File
}

// createBeside begins the first step.
func createBeside(dir, name string) (besideFile, error) {
	b := beside{path: filepath.Join(dir, "."+name+".new"), name: filepath.Join(dir, name)}
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	return besideFile{b, f}, err
}

// finish ends the first step.
func (b besideFile) finish() error { return errors.Join(b.Sync(), b.Close()) }

func (b beside) discard() error {
	if err := os.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// read hands the beside-file to a reader.
func (b beside) read(fn func(*os.File) error) error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	return fn(f)
}

// same reports whether the file whose place it would take has the same bytes.
func (b beside) same() (bool, error) {
	old, err := os.Open(b.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = old.Close() }()
	same := false
	err = b.read(func(f *os.File) error {
		if same, err = sameSize(f, old); same && err == nil {
			same, err = equal(f, old)
		}
		return err
	})
	return same, err
}

func sameSize(a, b *os.File) (bool, error) {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	return infoA.Size() == infoB.Size(), nil
}

func equal(a, b io.Reader) (bool, error) {
	var bufA, bufB [1 << 16]byte
	for {
		n, errA := fill(a, bufA[:])
		m, errB := fill(b, bufB[:])
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) {
				return false, err
			}
		}
		if errA != nil || errB != nil {
			return errA != nil && errB != nil, nil
		}
	}
}

// fill reads until the buffer is full. Unlike [io.ReadFull] it tells the end of a
// file from a file that ends in the middle of something.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// later returns the time that files get which take the places of others: whole
// seconds, and later than that of any file whose place is taken. rsync passes
// over a file of the same size and second, even if it differs.
func later(now time.Time, files []beside) time.Time {
	mtime := now.Truncate(time.Second)
	for _, b := range files {
		if old, err := os.Stat(b.name); err == nil && !mtime.After(old.ModTime()) {
			mtime = old.ModTime().Truncate(time.Second).Add(time.Second)
		}
	}
	return mtime
}

// replace does the third step; syncDir must follow. It returns the file whose place
// is taken, if there was one, for the caller to close: when the last who has it open
// does, its blocks are freed, which on some disks takes as long as to write them.
func (b beside) replace(mtime time.Time) (former *os.File, err error) {
	if err := os.Chtimes(b.path, mtime, mtime); err != nil {
		return nil, err
	}
	former, err = os.Open(b.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return former, os.Rename(b.path, b.name)
}

// writeBeside takes all steps with a small file. Its errors are the same each time.
func writeBeside(name string, text []byte) error {
	dir := filepath.Dir(name)
	b, err := createBeside(dir, filepath.Base(name))
	if err != nil {
		return err
	}
	_, err = b.Write(text)
	if err = errors.Join(err, b.finish()); err == nil {
		err = os.Rename(b.path, b.name)
	}
	if err != nil {
		return errors.Join(err, b.discard())
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("fsync directory %s: %w", dir, err)
	}
	return nil
}
