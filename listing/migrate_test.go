package listing_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// oldKept is what testdata says of the store that older programs left, each in its
// own schema.
type oldKept struct {
	Now          time.Time
	Sequence     uint64
	Observations uint64
	Audit        uint64
	Entries      []string
	Shown        map[netip.Addr]oldShown
}

type oldShown struct {
	Listed    bool           `json:"listed"`
	By        listing.Source `json:"by"`
	Reason    string         `json:"reason"`
	Since     time.Time      `json:"since"`
	Until     time.Time      `json:"until"`
	Permanent bool           `json:"permanent"`
	HoldUntil time.Time      `json:"hold_until"`
	First     time.Time      `json:"first"`
	Last      time.Time      `json:"last"`
	Events    []struct {
		ID     listing.ID     `json:"id"`
		At     time.Time      `json:"at"`
		Class  listing.Class  `json:"class"`
		Level  listing.Level  `json:"level"`
		Proofs []string       `json:"proofs"`
		Traces listing.Traces `json:"traces"`
	} `json:"events"`
	History []listing.Past `json:"history"`
}

// oldStore puts a file of testdata where a store can be opened.
func oldStore(t *testing.T, name string) (path string, k oldKept) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "listing.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "old.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	return path, k
}

// A store that an older program left shows and publishes the same, at the same
// serial, and goes on.
func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"schema1", "schema2", "schema3", "schema4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testMigrate(t, name)
		})
	}
}

func testMigrate(t *testing.T, name string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		path, want := oldStore(t, name)
		time.Sleep(time.Until(want.Now))
		s := open(t, path, eager())
		s.verify()
		st, err := s.Status()
		if err != nil || st.Sequence != want.Sequence || st.Observations != want.Observations || st.Schema != 5 {
			t.Errorf("status %+v, %v", st, err)
		}
		var entries []string
		for e := range s.Snapshot().All() {
			entries = append(entries, fmt.Sprintf("%s %s %+v", e.Prefix, e.Class, e.Summary))
		}
		if diff := cmp.Diff(want.Entries, entries); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		for addr, shownBefore := range want.Shown {
			x, err := s.Explain(addr)
			if err != nil {
				t.Error(err)
				continue
			}
			text, err := json.Marshal(x)
			if err != nil {
				t.Fatal(err)
			}
			var now oldShown
			if err := json.Unmarshal(text, &now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shownBefore, now, compareEntries); diff != "" {
				t.Errorf("%s (-want +got):\n%s", addr, diff)
			}
		}
		if out := s.observe(bounce(0, "192.0.2.66", time.Now())); !out.Duplicate {
			t.Error("what was seen before counts again")
		}
		time.Sleep(30 * 24 * time.Hour)
		s.want("203.0.113.0/25", "203.0.113.200/32",
			"2001:db8:1::/63", "2001:db8:1:3::/64", "2001:db8:1:4::/62", "2001:db8:1:8::/61", "2001:db8:1:10::/60", "2001:db8:1:20::/59",
			"2001:db8:1:40::/58", "2001:db8:1:80::/57", "2001:db8:1:100::/56", "2001:db8:1:200::/55", "2001:db8:1:400::/54", "2001:db8:1:800::/53",
			"2001:db8:1:1000::/52", "2001:db8:1:2000::/51", "2001:db8:1:4000::/50", "2001:db8:1:8000::/49")
		s.verify()
		s.reopen(eager()).verify()
	})
}

// A migration that cannot be made whole leaves the file as it was.
func TestMigrateNothingOrAll(t *testing.T) {
	t.Parallel()
	path, _ := oldStore(t, "schema1")
	spoil(t, path, "observations")
	before := read(t, path)
	if _, err := listing.Open(path, listing.Options{Settings: eager()}); !errors.Is(err, listing.ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("the file was changed")
	}
}

// spoil flips a bit in the middle of the first value of a bucket.
func spoil(t *testing.T, path, bucket string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		key, value := b.Cursor().First()
		value = bytes.Clone(value)
		value[len(value)/2] ^= 4
		return b.Put(key, value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
