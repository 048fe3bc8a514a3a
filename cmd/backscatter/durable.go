package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// writeDurably has fill write beside the file and renames, so that nobody ever
// sees a part of it under its name; the folder is synced last, so that the rename
// lasts. It never takes the place of what is no file, like /dev/null, nor of a link.
func writeDurably(what, name string, fill func(*os.File) error, options ...renameio.Option) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return usageError("%s to %s: that is a folder; name a file in it", what, name)
	} else if err == nil && !info.Mode().IsRegular() {
		return usageError("%s to %s: that is no file, and would be replaced by one; name another", what, name)
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	} else if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return usageError("%s to %s: that is a link to what is not there, and would be replaced by a file; name another", what, name)
	}
	f, err := renameio.NewPendingFile(name, options...)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s to %s: %w; make the folder %s first, or name another file", what, name, err, filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("%s to %s: %w", what, name, err)
	}
	defer func() { _ = f.Cleanup() }() // after the rename there is nothing to clean up
	if err := fill(f.File); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("%s to %s: %w", what, name, err)
	}
	dir, err := os.Open(filepath.Dir(name))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("%s to %s: sync the folder: %w", what, name, err)
	}
	return nil
}
