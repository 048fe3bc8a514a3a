package listing_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// crowded is a store, of nobody any more, whose buckets have several pages.
func crowded(t *testing.T) (path string) {
	t.Helper()
	s := start(t)
	for n := range 100 {
		addr := fmt.Sprintf("192.0.2.%d", 2*n+3)
		s.list(time.Now().Add(time.Hour), addr)
		s.observe(named(n, addr))
	}
	s.stop()
	edit(t, s.path, func(tx *bolt.Tx) error {
		ids := make([]listing.ID, 600)
		for n := range ids {
			ids[n] = id(100_000 + 4*n)
		}
		return listing.NoteSeen(tx, time.Now(), ids...)
	})
	return s.path
}

// pair is a key and its value.
type pair struct{ key, value []byte }

func pairsOf(t *testing.T, path, bucket string) (all []pair) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(key, value []byte) error {
			all = append(all, pair{bytes.Clone(key), bytes.Clone(value)})
			return nil
		})
	})
	return all
}

// firstKeys returns what stands first in the leaves of a file, former ones included.
func firstKeys(data []byte) map[string]bool {
	first := make(map[string]bool)
	size := os.Getpagesize()
	for page := range slices.Chunk(data, size) {
		if binary.NativeEndian.Uint16(page[8:]) != 2 || binary.NativeEndian.Uint16(page[10:]) == 0 {
			continue
		}
		at := 16 + uint64(binary.NativeEndian.Uint32(page[20:]))
		end := at + uint64(binary.NativeEndian.Uint32(page[24:]))
		if end <= uint64(len(page)) {
			first[string(page[at:end])] = true
		}
	}
	return first
}

// moved returns a key in which one bit is another, so that it still stands where it did
// among its neighbours.
func moved(before, key, after []byte, up bool) []byte {
	for bit := range 8 * len(key) {
		k := bytes.Clone(key)
		k[len(k)-1-bit/8] ^= 1 << (bit % 8)
		if bytes.Compare(k, before) > 0 && bytes.Compare(k, after) < 0 && bytes.Compare(k, key) > 0 == up {
			return k
		}
	}
	return nil
}

// flipsOfFirst returns files that are the given one but for one bit of a key that is the
// first of a page, and not of the first.
func flipsOfFirst(t *testing.T, path, bucket string, up bool) (files [][]byte) {
	t.Helper()
	data, all := read(t, path), pairsOf(t, path, bucket)
	first := firstKeys(data)
	for i := 1; i+1 < len(all) && len(files) < 3; i++ {
		key, value := all[i].key, all[i].value
		if !first[string(key)] {
			continue
		}
		if k := moved(all[i-1].key, key, all[i+1].key, up); k != nil {
			files = append(files, bytes.ReplaceAll(data, slices.Concat(key, value), slices.Concat(k, value)))
		}
	}
	return files
}

// A bit flips in the key that is the first of a page, and all keys rise still: the branch
// above knows the page by another key, by which nothing in it can be changed. A repair
// leaves a store that is whole, without what stood under that key.
func TestFlippedBitInTheFirstKeyOfAPage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bucket string
		up     bool
		drop   bool
	}{
		{"seen", true, false},
		{"observations", true, true},
		{"records", true, true},
		{"seen", false, false},
		{"observations", false, true},
	} {
		t.Run(fmt.Sprintf("%s up %t", test.bucket, test.up), func(t *testing.T) {
			t.Parallel()
			path := crowded(t)
			whole := census(t, path)
			files := flipsOfFirst(t, path, test.bucket, test.up)
			if len(files) == 0 {
				t.Fatal("no key is the first of a page, and has room")
			}
			for _, file := range files {
				if err := os.WriteFile(path, file, 0o600); err != nil {
					t.Fatal(err)
				}
				if v, err := listing.Check(path); err == nil && len(v.Damage) == 0 {
					t.Fatal("it is not found")
				}
				repaired(t, path, test.drop)
				for name, n := range census(t, path) {
					if name != "journal" && n < whole[name]-1 { // which begins anew
						t.Errorf("%d in %s, were %d", n, name, whole[name])
					}
				}
			}
		})
	}
}

// repaired repairs a store, and makes sure that it is whole then: told is what was wrong.
func repaired(t *testing.T, path string, drop bool) (told []listing.Damage) {
	t.Helper()
	v, err := listing.Repair(t.Context(), path, operator, drop)
	if err != nil || len(v.Damage) == 0 {
		t.Fatalf("repair: %+v %v", v.Damage, err)
	}
	if v, err := listing.Check(path); err != nil || len(v.Damage) > 0 {
		t.Fatalf("after the repair: %+v %v", v.Damage, err)
	}
	if v, err := listing.Repair(t.Context(), path, operator, drop); err != nil || len(v.Damage) > 0 {
		t.Fatalf("a second repair: %+v %v", v.Damage, err)
	}
	return v.Damage
}

// Without leave to take something out a repair leaves such a key where it is, names it,
// and spoils nothing: a repair that may mends it still.
func TestRepairLeavesTheFirstKeyOfAPage(t *testing.T) {
	t.Parallel()
	path := crowded(t)
	files := flipsOfFirst(t, path, "observations", true)
	if len(files) == 0 {
		t.Fatal("no key is the first of a page, and has room")
	}
	if err := os.WriteFile(path, files[0], 0o600); err != nil {
		t.Fatal(err)
	}
	before := pairsOf(t, path, "observations")
	for range 2 {
		if v, err := listing.Repair(t.Context(), path, operator, false); err != nil || len(v.Damage) == 0 {
			t.Fatalf("repair: %+v %v", v.Damage, err)
		}
		if after := pairsOf(t, path, "observations"); len(after) != len(before) {
			t.Errorf("%d observations, were %d", len(after), len(before))
		}
	}
	repaired(t, path, true)
}

// What is found only when the keys are in order is told with the rest: each of what is
// taken out.
func TestRepairTellsWhatItTakesOut(t *testing.T) {
	t.Parallel()
	path := crowded(t)
	flipKey(t, path, "records")
	told := repaired(t, path, true)
	for _, part := range []string{"records", "observations"} {
		if !slices.ContainsFunc(told, func(d listing.Damage) bool { return d.Part == part && d.Repair == "" }) {
			t.Errorf("nothing is told of what was taken out of %s: %v", part, told)
		}
	}
}

// Of a store that is whole no bucket is made anew, one with large values neither.
func TestEveryValueIsSealed(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, 5000)); err != nil {
		t.Fatal(err)
	}
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.stop()
	edit(t, s.path, func(tx *bolt.Tx) error {
		if n := tx.Bucket([]byte("large")).Stats().KeyN; n == 0 {
			t.Error("no value is large")
		}
		if names := listing.Unsealed(tx); len(names) > 0 {
			t.Errorf("not under their keys: %v", names)
		}
		return nil
	})
}

// What a repair would find is told of a file, too, that no start would read to its end;
// and nothing is written.
func TestDryRunOfADisorderedStore(t *testing.T) {
	t.Parallel()
	path := crowded(t)
	flipKey(t, path, "observations")
	before := read(t, path)
	for _, drop := range []bool{false, true} {
		v, err := listing.Repair(t.Context(), path, dryRun, drop)
		if err != nil || len(v.Damage) < 2 || v.Damage[0].Part != "pages" || v.Damage[0].Repair == "" {
			t.Errorf("drop %t: %+v %v", drop, v.Damage, err)
		}
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("a dry run wrote")
	}
	repaired(t, path, true)
}

// A bit flips in the key by which a branch knows a page: all is found still, but the first
// change in the page would put it there a second time. It is found, and a repair loses
// nothing.
func TestFlippedBitInABranch(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{true, false} {
		t.Run(fmt.Sprintf("up %t", up), func(t *testing.T) {
			t.Parallel()
			path := crowded(t)
			whole := census(t, path)
			flipBranch(t, path, "observations", up)
			if _, err := listing.Check(path); !errors.Is(err, listing.ErrDamaged) {
				t.Errorf("it is not found: %v", err)
			}
			if v, err := listing.Repair(t.Context(), path, dryRun, false); err != nil || len(v.Damage) == 0 || v.Damage[0].Repair == "" {
				t.Errorf("a dry run: %+v %v", v.Damage, err)
			}
			repaired(t, path, false)
			if n := census(t, path); n["observations"] != whole["observations"] || n["records"] != whole["records"] {
				t.Errorf("there are %v, were %v", n, whole)
			}
			again := open(t, path, eager())
			for n := range 100 {
				again.observe(bounce(5000+n, fmt.Sprintf("192.0.2.%d", 2*n+3), time.Now()))
			}
			again.verify()
		})
	}
}

// flipBranch flips a bit of the third key of the branch that leads to all leaves of a
// bucket, so that its keys rise still.
func flipBranch(t *testing.T, path, bucket string, up bool) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true}) // what it wrote itself would stand elsewhere
	if err != nil {
		t.Fatal(err)
	}
	root := 0
	err = db.View(func(tx *bolt.Tx) error {
		root = int(tx.Bucket([]byte(bucket)).RootPage())
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	data := read(t, path)
	page := data[root*os.Getpagesize():][:os.Getpagesize()]
	if flags, n := binary.NativeEndian.Uint16(page[8:]), binary.NativeEndian.Uint16(page[10:]); flags != 1 || n < 4 {
		t.Fatalf("page %d is %#x, of %d elements", root, flags, n)
	}
	keys := make([][]byte, 4)
	for i := range keys {
		at := 16 + 16*i
		from := at + int(binary.NativeEndian.Uint32(page[at:]))
		keys[i] = page[from:][:binary.NativeEndian.Uint32(page[at+4:])]
	}
	copy(keys[2], moved(keys[1], keys[2], keys[3], up))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
