package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/renameio/v2"
)

// loadKey reads the key under which recipients are hashed, and makes one at the
// first start. Whoever has the key and the store can test whether an address is
// a trap; so it is a file of its own, for its owner alone.
func loadKey(name string) (key [32]byte, err error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(name)
	}
	if err != nil {
		return key, fmt.Errorf("read the recipients' key: %w", err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(key) {
		return key, fmt.Errorf("recipients' key %s: want %d hex digits; restore the file, or remove it to start a new one (recipients seen so far will count as others)", name, 2*len(key))
	}
	return [32]byte(raw), nil
}

func makeKey(name string) (key [32]byte, err error) {
	if _, err := rand.Read(key[:]); err != nil {
		return key, fmt.Errorf("make the recipients' key: %w", err)
	}
	if err := renameio.WriteFile(name, []byte(hex.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		return key, fmt.Errorf("keep the recipients' key: %w", err)
	}
	return key, nil
}
