package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// KeyFile is where the keys under which recipients are hashed are, for whoever
// may read them.
func KeyFile(state string) string { return filepath.Join(state, keyName) }

// loadKey reads the key under which recipients are hashed, and makes one at the
// first start. Whoever has the key and the store can test whether an address is
// a trap; so it is a file of its own, for its owner alone.
//
// The file has a key a line, the newest first. Only that is used: the older ones
// are those that recipients seen before a rotation are hashed under, for whoever
// has to find out.
func loadKey(name string) (key [32]byte, err error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(name)
	}
	if err != nil {
		return key, fmt.Errorf("read the recipients' key: %w", err)
	}
	newest, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	raw, err := hex.DecodeString(strings.TrimSpace(newest))
	if err != nil || len(raw) != len(key) {
		return key, fmt.Errorf("recipients' key %s: want %d hex digits; restore the file, or remove it to start a new one (recipients seen so far will count as others)", name, 2*len(key))
	}
	return [32]byte(raw), nil
}

// makeKey makes a key. Of several processes that start at once, before any has
// the store, the first makes the file, and the others read it. It is on the disk,
// with its name, before anything that depends on it.
func makeKey(name string) (key [32]byte, err error) {
	if _, err := rand.Read(key[:]); err != nil {
		return key, fmt.Errorf("make the recipients' key: %w", err)
	}
	err = writeNew(name, hex.EncodeToString(key[:])+"\n")
	if errors.Is(err, fs.ErrExist) {
		return loadKey(name)
	}
	if err != nil {
		return key, fmt.Errorf("keep the recipients' key: %w", err)
	}
	return key, nil
}

// rotateKey puts a new key before those of the file.
func rotateKey(name string) (key [32]byte, err error) {
	if _, err := loadKey(name); err != nil {
		return key, err // nothing is put before what cannot be read
	}
	old, err := os.ReadFile(name)
	if err == nil {
		_, err = rand.Read(key[:])
	}
	if err == nil {
		err = renameio.WriteFile(name, append([]byte(hex.EncodeToString(key[:])+"\n"), old...), 0o600)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(name))
	}
	if err != nil {
		return key, fmt.Errorf("rotate the recipients' key: %w", err)
	}
	return key, nil
}

// writeNew makes a file for its owner alone, whole and durable or not at all.
// There must be none of that name.
func writeNew(name, text string) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
