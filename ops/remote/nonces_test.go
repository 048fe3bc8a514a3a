package remote_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/remote"
)

func openNonces(t *testing.T, path string, now time.Time) *remote.Nonces {
	t.Helper()
	n, err := remote.OpenNonces(path, 5*time.Minute, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func TestNonces(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nonces")
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	key, other := listing.ID{1}, listing.ID{2}
	use := func(n *remote.Nonces, key listing.ID, nonce string, created, now time.Time, want bool) {
		t.Helper()
		if fresh, err := n.Use(key, nonce, created, now); err != nil || fresh != want {
			t.Errorf("%s: %v %v, want %v", nonce, fresh, err, want)
		}
	}
	n := openNonces(t, path, now)
	use(n, key, "nonce-one", now, now, true)
	use(n, key, "nonce-one", now, now, false)
	use(n, other, "nonce-one", now, now, true)
	use(n, key, "nonce-old", now.Add(-4*time.Minute), now, true)
	use(n, key, "nonce-early", now.Add(4*time.Minute), now, true)

	// Killed, with half a record behind.
	if f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		t.Fatal(err)
	} else if _, err := f.WriteString("half"); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	later := now.Add(3 * time.Minute)
	n = openNonces(t, path, later)
	use(n, key, "nonce-one", now, later, false)
	use(n, key, "nonce-early", now, later, false)
	if info, err := os.Stat(path); err != nil || info.Size() != 3*24 {
		t.Errorf("what is outdated is kept, or half of what was written: %v %v", info.Size(), err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// The file does not grow with the number of requests for ever.
func TestNoncesAreForgotten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nonces")
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	n := openNonces(t, path, now)
	for i := range 1500 {
		now = now.Add(time.Second)
		if fresh, err := n.Use(listing.ID{1}, fmt.Sprint("nonce", i), now, now); err != nil || !fresh {
			t.Fatal(i, fresh, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1400*24 {
		t.Errorf("%v %v", info.Size(), err)
	}
}

// What cannot be remembered is not taken.
func TestNoncesOnABrokenDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "nonces")
	now := time.Now()
	n := openNonces(t, path, now)
	if err := n.Close(); err != nil { // as after a failed write
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if fresh, err := n.Use(listing.ID{1}, "nonce-one", now, now); err == nil || fresh {
		t.Errorf("%v %v", fresh, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if fresh, err := n.Use(listing.ID{1}, "nonce-one", now, now); err != nil || !fresh {
		t.Errorf("once it is mended: %v %v", fresh, err)
	}
}
