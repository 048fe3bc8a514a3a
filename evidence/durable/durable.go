// Package durable makes files and folders that are on disk, with their names, when
// it says so: what is told to a sender as kept must survive a crash of the machine.
//
// The package knows nothing of what it writes.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes a file of that name, which must not be there, and syncs it. Its
// name lasts when its folder was synced, too (see [Sync]). What could not be
// written whole is left for the caller to remove.
func Write(name string, mode fs.FileMode, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Sync syncs a folder: the names in it last from then on.
func Sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Folder makes a folder for its owner alone, with those above it that are not
// there, and syncs the folders that got a new name.
func Folder(dir string) error {
	grown, err := growing(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range grown {
		if err := Sync(parent); err != nil {
			return err
		}
	}
	return nil
}

// growing returns the folders that get a new name when dir is made, the deepest
// first.
func growing(dir string) (grown []string, err error) {
	dir, err = filepath.Abs(dir)
	for err == nil {
		if _, stat := os.Lstat(dir); !errors.Is(stat, fs.ErrNotExist) {
			break // there, or whatever else there is to say MkdirAll says
		}
		dir = filepath.Dir(dir)
		grown = append(grown, dir)
	}
	return grown, err
}
