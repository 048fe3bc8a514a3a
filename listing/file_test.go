package listing_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// made returns the bytes of a store with a few listings.
func made(t *testing.T) []byte {
	t.Helper()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1", "198.51.100.0/24", "2001:db8::1")
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.stop()
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// alien returns the bytes of a bbolt database that fill made.
func alien(t *testing.T, fill func(*bolt.Tx) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "alien.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fill), db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := made(t)
	flipped := func(from, to int) []byte {
		data := bytes.Clone(good)
		for i := from; i < to; i++ {
			data[i] ^= 0x55
		}
		return data
	}
	foreign := alien(t, func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("somebody's"))
		return err
	})
	newer := alien(t, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		return b.Put([]byte("schema"), listing.SchemaValue(99))
	})
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, listing.ErrForeign},
		{"text", []byte("127.0.0.2 is listed\n"), listing.ErrForeign},
		{"zeros", make([]byte, 1<<16), listing.ErrForeign},
		{"another program's bbolt file", foreign, listing.ErrForeign},
		{"newer schema", newer, listing.ErrTooNew},
		{"cut within its data", good[:6*os.Getpagesize()], listing.ErrDamaged},
		{"cut to a page", good[:os.Getpagesize()], listing.ErrDamaged},
		{"cut to two pages", good[:2*os.Getpagesize()], listing.ErrDamaged},
		{"cut within a page", good[:100], listing.ErrDamaged},
		{"both meta pages spoilt", flipped(16, 2*os.Getpagesize()), listing.ErrForeign},
		{"meta checksums spoilt", append(flipped(60, 64)[:os.Getpagesize()], flipped(os.Getpagesize()+60, os.Getpagesize()+64)[os.Getpagesize():]...), listing.ErrDamaged},
	} {
		path := filepath.Join(t.TempDir(), "listing.db")
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := listing.Open(path, listing.Options{Settings: eager()})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil {
			_ = s.Close()
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(after, c.data) {
			t.Errorf("%s: the file was changed: %v", c.name, err)
		}
		if _, err := os.Stat(path + ".made"); err == nil {
			t.Errorf("%s: a sentinel was made for a file that was refused", c.name)
		}
	}
}

// Every byte of the file counts for something or for nothing; that it is wrong
// is found, or it makes no difference to what is published.
func TestOpenFindsFlippedBytes(t *testing.T) {
	t.Parallel()
	good := made(t)
	path := filepath.Join(t.TempDir(), "good.db")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	ref, err := listing.Open(path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	want := (&running{Store: ref}).published()
	if err := ref.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	step := len(good) / 150
	for at := 0; at < len(good); at += step {
		data := bytes.Clone(good)
		data[at] ^= 0x10
		path := filepath.Join(t.TempDir(), "listing.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := listing.Open(path, listing.Options{Settings: eager()})
		if err != nil {
			found++
			continue
		}
		if got := (&running{Store: s}).published(); len(got) != len(want) {
			t.Errorf("byte %d flipped: published %v", at, got)
		}
		if err := s.Verify(); err != nil {
			found++
		}
		if err := s.Close(); err != nil {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	t.Logf("%d of 150 flips found, the others are in free space", found)
	if found == 0 {
		t.Error("no flip was found")
	}
}

func TestLostStore(t *testing.T) {
	t.Parallel()
	for _, empty := range []bool{false, true} {
		s := start(t)
		s.stop()
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
		if empty {
			if err := os.WriteFile(s.path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := listing.Open(s.path, listing.Options{Settings: eager()}); !errors.Is(err, listing.ErrLost) {
			t.Errorf("empty %t: %v", empty, err)
		}
	}
}

func TestLockedStore(t *testing.T) {
	t.Parallel()
	s := start(t)
	began := time.Now()
	_, err := listing.Open(s.path, listing.Options{Settings: eager()})
	if !errors.Is(err, listing.ErrLocked) || time.Since(began) > 30*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestOpenWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	if _, err := listing.Open(filepath.Join(t.TempDir(), "none", "listing.db"), listing.Options{Settings: eager()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
	if _, err := listing.Open(t.TempDir(), listing.Options{Settings: eager()}); !errors.Is(err, listing.ErrForeign) {
		t.Errorf("a folder: %v", err)
	}
}

// A making that was cut short leaves no store, and the next one makes it.
func TestMakeLeavesNoHalfStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "listing.db")
	if err := os.WriteFile(path+".new-123", []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, eager())
	s.verify()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 3 {
		t.Errorf("%v %v", names, err)
	}
}
