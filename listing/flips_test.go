package listing_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// flips is how many bits are flipped: few in passing, ten thousand under make
// torture.
func flips() int {
	if os.Getenv("BACKSCATTER_TORTURE") != "" {
		return 10_000
	}
	return 60
}

// One bit flips in what the store keeps: it is always found and named; what is
// served afterwards is what was served before, or nothing.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Now().Add(time.Hour), "192.0.2.1", "192.0.2.2", "198.51.100.0/24", "2001:db8:5::/48")
	for i := range 40 {
		s.observe(bounce(i, fmt.Sprintf("203.0.113.%d", i%8), time.Now()))
	}
	if _, err := s.Reporter(t.Context(), listing.ReporterOrder{Order: operator, Action: listing.ActionSuspend, Name: "other"}); err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for i := range 1001 { // more than are kept of a host: some go, and leave their identities behind
		senders.Go(func() { s.observe(bounce(1000+i, "203.0.113.200", time.Now())) })
	}
	senders.Wait()
	want := slices.Collect(s.Snapshot().All())
	s.stop()
	db, err := bolt.Open(s.path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error { return listing.NoteSeen(tx, time.Now(), id(1000), id(1001)) }); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	path := t.TempDir() + "/listing.db"
	served, refused := 0, 0
	each := map[string]int{} // flips, by the kind of record
	for range flips() {
		bucket, key, err := flipOne(rng, db, path)
		if err != nil {
			t.Fatal(err)
		}
		each[bucket]++
		v, err := listing.Check(path)
		if err == nil && len(v.Damage) == 0 {
			t.Fatalf("a flip in %s %x was not found: %v", bucket, key, err)
		}
		var log bytes.Buffer
		again, err := listing.Open(path, listing.Options{Settings: eager(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			// The words of the schema may be those of no store any more.
			if !errors.Is(err, listing.ErrDamaged) && !errors.Is(err, listing.ErrForeign) {
				t.Errorf("%s %x: %v", bucket, key, err)
			}
			refused++
			continue
		}
		served++
		if diff := cmp.Diff(want, slices.Collect(again.Snapshot().All()), compareEntries); diff != "" {
			t.Errorf("a flip in %s %x is served (-want +got):\n%s", bucket, key, diff)
		}
		if bucket == "records" && !strings.Contains(log.String(), "a record is damaged") {
			t.Errorf("the damaged record %x is not named: %s", key, log.String())
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("torture: flipped bits: %d found, by kind of record %v; after %d the list was served as it was, after %d nothing", served+refused, each, served, refused)
	if served == 0 {
		t.Error("no flip left anything to serve")
	}
}

// flipOne writes a copy of the store in which one bit of one value is another.
func flipOne(rng *rand.Rand, db *bolt.DB, path string) (bucket string, key []byte, err error) {
	buckets := []string{"records", "records", "observations", "observations", "seen", "expiry", "exempt", "reporters", "journal", "audit", "texts", "meta"}
	bucket = buckets[rng.IntN(len(buckets))]
	if err := db.View(func(tx *bolt.Tx) error { return tx.CopyFile(path, 0o600) }); err != nil {
		return bucket, nil, err
	}
	copied, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		return bucket, nil, err
	}
	err = copied.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		n := rng.IntN(b.Stats().KeyN)
		cursor := b.Cursor()
		k, value := cursor.First()
		for range n {
			k, value = cursor.Next()
		}
		key, value = bytes.Clone(k), bytes.Clone(value)
		bit := rng.IntN(8 * len(value))
		value[bit/8] ^= 1 << (bit % 8)
		return b.Put(key, value)
	})
	return bucket, key, errors.Join(err, copied.Close())
}
