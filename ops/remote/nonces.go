package remote

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"backscatter/evidence/durable"
	"backscatter/listing"
)

// Nonces remembers which nonces were used, as long as a request with one would be
// taken for fresh. What it has told to be new is on disk, so that no restart and
// no crash lets a request in again. It is safe for concurrent use.
//
// The file is records of 24 octets: when the signature was made, in seconds, and
// a hash of the key's name and the nonce. One that is cut off at the end is of a
// request that was never acted on.
type Nonces struct {
	window time.Duration

	mu   sync.Mutex // guards all below
	path string
	file *os.File
	used map[nonceHash]int64 // seconds when the signature was made
	kept int                 // records in the file
}

type nonceHash [16]byte

const (
	nonceRecord = 8 + len(nonceHash{})
	// nonceSlack is how many outdated records the file may hold before it is
	// written anew.
	nonceSlack = 512
	// maxNonceFile bounds what is read at the start; what a file can hold is bounded
	// by the rates of the reporters.
	maxNonceFile = 256 << 20
)

// OpenNonces opens the memory in a file, and makes it if it is not there.
func OpenNonces(path string, window time.Duration, now time.Time) (*Nonces, error) {
	n := &Nonces{window: window, path: path, used: map[nonceHash]int64{}}
	text, err := readNonces(path)
	if err != nil {
		return nil, fmt.Errorf("open the memory of nonces: %w", err)
	}
	for len(text) >= nonceRecord {
		at := int64(binary.BigEndian.Uint64(text))
		if n.live(at, now) {
			n.used[nonceHash(text[8:nonceRecord])] = at
		}
		text = text[nonceRecord:]
	}
	if err := n.rewrite(); err != nil {
		return nil, fmt.Errorf("open the memory of nonces: %w", err)
	}
	return n, nil
}

func readNonces(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxNonceFile))
}

// live reports whether a signature that was made then would be taken for fresh,
// now or later.
func (n *Nonces) live(at int64, now time.Time) bool {
	made := time.Unix(at, 0)
	return now.Sub(made) <= n.window && made.Sub(now) <= n.window
}

// rewrite writes the file anew, with what is remembered. Until it is open again
// nothing can be remembered.
func (n *Nonces) rewrite() error {
	if n.file != nil {
		_ = n.file.Close() // all of it was synced
		n.file = nil
	}
	var b bytes.Buffer
	for hash, at := range n.used {
		b.Write(nonceBytes(hash, at))
	}
	if err := renameio.WriteFile(n.path, b.Bytes(), 0o600); err != nil {
		return err
	}
	if err := durable.Sync(filepath.Dir(n.path)); err != nil {
		return err
	}
	f, err := os.OpenFile(n.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	n.file, n.kept = f, len(n.used)
	return nil
}

func nonceBytes(hash nonceHash, at int64) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, nonceRecord), uint64(at)), hash[:]...)
}

// Use remembers a nonce, and reports whether it is new. An error says that it
// could not be remembered, so that the request must not be acted on.
func (n *Nonces) Use(key listing.ID, nonce string, created, now time.Time) (bool, error) {
	sum := sha256.Sum256(append(key[:], nonce...))
	hash, at := nonceHash(sum[:len(nonceHash{})]), created.Unix()
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, twice := n.used[hash]; twice {
		return false, nil
	}
	if n.kept%256 == 0 {
		n.forget(now)
	}
	if n.file == nil || n.kept > 2*len(n.used)+nonceSlack {
		if err := n.rewrite(); err != nil {
			return false, fmt.Errorf("remember a nonce: %w", err)
		}
	}
	_, err := n.file.Write(nonceBytes(hash, at))
	if err == nil {
		err = n.file.Sync()
	}
	if err != nil {
		_ = n.file.Close() // its end is not known; the next writes it anew
		n.file = nil
		return false, fmt.Errorf("remember a nonce: %w", err)
	}
	n.used[hash] = at
	n.kept++
	return true, nil
}

func (n *Nonces) forget(now time.Time) {
	for hash, at := range n.used {
		if !n.live(at, now) {
			delete(n.used, hash)
		}
	}
}

// Close closes the file.
func (n *Nonces) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return nil
	}
	err := n.file.Close()
	n.file = nil
	return err
}
