//go:build unix

package listing

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lock takes the lock that bbolt takes on an open store, without reading it: a
// store may be too damaged for that. A store that is not there needs none.
func lock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrLocked, f.Close())
	}
	return f.Close, nil
}
