package listing_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// A bit flips in a key, so that it does not stand where it is looked for: it is found,
// and a repair takes out what stood under it, and nothing else.
func TestFlippedBitInAKey(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"records", "observations", "expiry", "journal", "audit", "seen"} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for n := range 60 { // so that no bucket fits into a page of others
				addr := fmt.Sprintf("192.0.2.%d", 10+n)
				s.list(time.Now().Add(time.Hour), addr)
				s.observe(named(n, addr))
			}
			s.stop()
			edit(t, s.path, func(tx *bolt.Tx) error {
				ids := make([]listing.ID, 300)
				for n := range ids {
					ids[n] = id(1000 + n)
				}
				return listing.NoteSeen(tx, time.Now(), ids...)
			})
			whole := census(t, s.path)
			flipKey(t, s.path, bucket)
			if _, err := listing.Check(s.path); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "--drop") {
				t.Fatalf("found: %v", err)
			}
			if _, err := listing.Repair(t.Context(), s.path, operator, true); err != nil {
				t.Fatal(err)
			}
			if v, err := listing.Check(s.path); err != nil || len(v.Damage) > 0 {
				t.Fatalf("after the repair: %+v, %v", v.Damage, err)
			}
			for name, n := range census(t, s.path) {
				least := whole[name]
				switch name {
				case bucket, "observations": // those of a record go with it
					least--
				case "expiry":
					least-- // of a record that is gone
				}
				if name != "journal" && n < least { // which begins anew
					t.Errorf("%d in %s, were %d", n, name, whole[name])
				}
			}
		})
	}
}

// named is a bounce that tells of itself what no other does.
func named(n int, addr string) listing.Observation {
	o := bounce(n, addr, time.Now())
	o.Traces.HELO = fmt.Sprintf("mx%d.example", n)
	return o
}

// census counts what is in each bucket.
func census(t *testing.T, path string) map[string]int {
	t.Helper()
	n := make(map[string]int)
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			n[string(name)] = b.Stats().KeyN
			return nil
		})
	})
	return n
}

// flipKey flips, in the file, the first bit of a key that is neither the first nor the
// last of its page: all leads to it still, and it sorts behind those after it.
func flipKey(t *testing.T, path, bucket string) {
	t.Helper()
	var pairs [][]byte // a leaf has a key and its value side by side
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(key, value []byte) error {
			pairs = append(pairs, slices.Concat(key, value))
			return nil
		})
	})
	data := read(t, path)
	pair := pairs[2]
	if bytes.Count(data, pair) == 0 {
		t.Fatalf("%x is not in the file", pair)
	}
	flipped := bytes.Clone(pair)
	flipped[0] ^= 0x80
	if err := os.WriteFile(path, bytes.ReplaceAll(data, pair, flipped), 0o600); err != nil { // in pages that are free, too
		t.Fatal(err)
	}
}
