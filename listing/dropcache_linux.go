package listing

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dropCache has the kernel forget the clean pages of a file, so that the next
// read comes from the disk. After a failed fsync Linux marks the pages that it
// could not write as clean.
func dropCache(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read %s anew: %w", path, err)
	}
	err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s anew: %w", path, err)
	}
	return nil
}
