package daemon

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"backscatter/evidence"
	"backscatter/evidence/durable"
)

// KeyFile is where the keys under which recipients are hashed are, for whoever
// may read them.
func KeyFile(state string) string { return filepath.Join(state, keyName) }

// keyring is what the hashes of recipients, originals and subjects are made with.
type keyring struct {
	newest [32]byte
	former []replacedKey // newest first
}

// replacedKey is one that was in use until a moment.
type replacedKey struct {
	key [32]byte
	at  time.Time
}

// recognised returns the former keys, and for how long what they hashed can be
// told to be the same: as long as the policy counts it.
func (k *keyring) recognised(window time.Duration) []evidence.FormerKey {
	var out []evidence.FormerKey
	for _, f := range k.former {
		out = append(out, evidence.FormerKey{Key: f.key, Until: f.at.Add(window)})
	}
	return out
}

// mostKeys bounds the keys that are read.
const mostKeys = 100

// loadKeys reads the keys under which recipients are hashed, and makes one at the
// first start. Whoever has the key and the store can test whether an address is
// a trap; so it is a file of its own, for its owner alone.
//
// The file has a key a line, the newest first, and behind each of the others when
// it was replaced.
func loadKeys(name string) (k keyring, err error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(name)
	}
	if err != nil {
		return k, fmt.Errorf("read the recipients' key: %w", err)
	}
	for n, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		one, err := parseKey(line, n == 0)
		switch {
		case err != nil:
			return k, fmt.Errorf("recipients' key %s, line %d: %w; restore the file, or remove it to start a new one (recipients seen so far will count as others)", name, n+1, err)
		case n == 0:
			k.newest = one.key
		case n < mostKeys:
			k.former = append(k.former, one)
		}
	}
	return k, nil
}

func parseKey(line string, newest bool) (k replacedKey, err error) {
	text, at, _ := strings.Cut(strings.TrimSpace(line), " ")
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(k.key) {
		return k, fmt.Errorf("want %d hex digits", 2*len(k.key))
	}
	k.key = [32]byte(raw)
	if !newest {
		if k.at, err = time.Parse(time.RFC3339, at); err != nil {
			return k, errors.New("want when it was replaced, such as 2026-11-22T10:00:00Z, behind the key")
		}
	}
	return k, nil
}

// makeKey makes a key. Of several processes that start at once, before any has
// the store, the first makes the file, and the others read it. It is on the disk,
// with its name, before anything that depends on it.
func makeKey(name string) (k keyring, err error) {
	if _, err := rand.Read(k.newest[:]); err != nil {
		return k, fmt.Errorf("make the recipients' key: %w", err)
	}
	err = writeNew(name, hex.EncodeToString(k.newest[:])+"\n")
	if errors.Is(err, fs.ErrExist) {
		return loadKeys(name)
	}
	if err != nil {
		return k, fmt.Errorf("keep the recipients' key: %w", err)
	}
	return k, nil
}

// rotateKeys puts a new key before those of the file.
func rotateKeys(name string, now time.Time) (k keyring, err error) {
	old, err := loadKeys(name) // nothing is put before what cannot be read
	if err != nil {
		return k, err
	}
	k.former = append([]replacedKey{{old.newest, now.UTC().Truncate(time.Second)}}, old.former...)
	if _, err = rand.Read(k.newest[:]); err == nil {
		err = renameio.WriteFile(name, k.text(), 0o600)
	}
	if err == nil {
		err = durable.Sync(filepath.Dir(name))
	}
	if err != nil {
		return k, fmt.Errorf("rotate the recipients' key: %w", err)
	}
	return k, nil
}

func (k *keyring) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%x\n", k.newest)
	for _, f := range k.former {
		fmt.Fprintf(&b, "%x %s\n", f.key, f.at.Format(time.RFC3339))
	}
	return b.Bytes()
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
	return durable.Sync(dir)
}
