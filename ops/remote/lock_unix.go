//go:build unix

package remote

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock of a file, which it makes if it is not there, and
// reports whether it got it. The end of the process lets go of it.
func lockFile(name string) (release func() error, got bool, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f.Close, true, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = nil
	}
	return nil, false, errors.Join(err, f.Close())
}
