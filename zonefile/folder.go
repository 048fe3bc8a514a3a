package zonefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// makeFolder makes the folder of an export, if it is not there. Its parent it does
// not make: a slip in the configuration would fill another disk.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch info, there := os.Stat(dir); {
	case err == nil, there == nil && info.IsDir():
		return nil
	case there == nil:
		return fmt.Errorf("%s is a file: move it away, or name another folder as dir of the export", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("make the folder: %w; make %s first, or name another folder as dir of the export", err, filepath.Dir(dir))
	}
	return fmt.Errorf("make the folder: %w", err)
}

// remedy adds to an error about a file in a folder what an operator can do about it,
// where that is plain.
func remedy(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let user %d, who runs this, write there", err, os.Geteuid())
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; mount it writable, or name another folder as dir of the export", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; make room for all of the files a second time, since the new ones are written beside the old", err)
	}
	return err
}
