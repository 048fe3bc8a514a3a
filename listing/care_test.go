package listing_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// backup makes one in a file.
func (r *running) backup() string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "backup")
	f, err := os.Create(path)
	if err != nil {
		r.t.Fatal(err)
	}
	size := int64(0)
	if err := errors.Join(r.Backup(context.Background(), f, func(n int64) { size = n }), f.Close()); err != nil {
		r.t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != size {
		r.t.Errorf("%d bytes announced, %d written, %v", size, info.Size(), err)
	}
	return path
}

// A backup that is made while others write is one moment of the store, and
// comes back as that.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1", "198.51.100.0/24")
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() {
		for n := 100; ; n++ {
			select {
			case <-stop:
				return
			default:
				s.observe(bounce(n, "203.0.113.7", time.Now()))
			}
		}
	})
	backup := s.backup()
	close(stop)
	writers.Wait()
	if v, err := listing.Check(backup); err != nil || len(v.Damage) > 0 || v.Records < 3 {
		t.Errorf("%+v %v", v, err)
	}
	if _, err := listing.Restore(t.Context(), backup, s.path, operator); !errors.Is(err, listing.ErrLocked) {
		t.Errorf("restore over a store in use: %v", err)
	}
	s.delist(0, "192.0.2.66")
	last := s.Snapshot().Sequence()
	s.stop()

	if _, err := listing.Restore(t.Context(), backup, s.path, listing.Order{}); !errors.Is(err, listing.ErrNoReason) {
		t.Errorf("without a reason: %v", err)
	}
	r, err := listing.Restore(t.Context(), backup, s.path, operator)
	if err != nil || r.Sequence <= last || r.Kept == "" {
		t.Fatalf("%+v %v, was at %d", r, err, last)
	}
	if v, err := listing.Check(r.Kept); err != nil || len(v.Damage) > 0 {
		t.Errorf("the former store: %+v %v", v, err)
	}
	again := open(t, s.path, eager())
	again.verify()
	for _, addr := range []string{"192.0.2.66", "192.0.2.1", "198.51.100.9"} {
		if _, ok := again.Snapshot().Lookup(key(t, addr).Prefix().Addr()); !ok {
			t.Errorf("%s is not listed", addr)
		}
	}
	if got := again.Snapshot().Sequence(); got < r.Sequence {
		t.Errorf("at %d, restored at %d", got, r.Sequence)
	}
	if _, err := collected(again.Journal(last)); !errors.Is(err, listing.ErrCut) {
		t.Errorf("journal from before: %v", err)
	}
	audit, err := again.Audit(listing.AuditFilter{})
	if err != nil || audit[len(audit)-1].Action != listing.ActionRestore || audit[len(audit)-1].By != operator.By {
		t.Errorf("%+v %v", audit, err)
	}
	if left, _ := filepath.Glob(s.path + ".restoring*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A backup whose reader stands still holds up nobody: not a change that makes the
// file grow many times over, not one that uses again what was freed, and not what the
// store does when a commit fails.
func TestBackupStandsStill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "listing.db")
	store, err := listing.Open(path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	fault := store.InjectFault()
	s := run(t, path, store)
	want := hosts(t, 30_000)
	if _, err := s.List(t.Context(), operator, want[:10]); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(backup)
	if err != nil {
		t.Fatal(err)
	}
	begun, on, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() { // ends when it may go on
		done <- errors.Join(s.Backup(context.Background(), slowly{f, func() { once.Do(func() { close(begun) }) }, on}, func(int64) {}), f.Close())
	}()
	<-begun
	size := fileSize(t, path)
	for n := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := s.List(ctx, operator, want[n*10_000:][:10_000]); err != nil {
			t.Errorf("an import beside a backup: %v", err)
		}
		cancel()
	}
	if grown := fileSize(t, path); grown < 8*size {
		t.Errorf("the file grew from %d to no more than %d bytes", size, grown)
	}
	fault.Break(errDisk, false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		if _, err := s.Observe(ctx, bounce(1, "192.0.2.66", time.Now())); !errors.Is(err, listing.ErrUnavailable) {
			t.Errorf("while the disk fails: %v", err)
		}
		if _, err := s.Status(); err != nil {
			t.Errorf("status: %v", err)
		}
	}
	fault.Mend()
	close(on)
	if err := <-done; err == nil {
		t.Error("a backup of a file that cannot be written was not broken off")
	}
	eventually(t, "the store writes again", func() bool {
		_, err := s.Observe(t.Context(), bounce(1, "192.0.2.66", time.Now()))
		return err == nil
	})
	s.verify()
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// What is wrong with a backup is found before anything is changed.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1")
	good := s.backup()
	s.stop()
	before := read(t, s.path)
	whole := read(t, good)
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("no store"), "cut": whole[:len(whole)-3*os.Getpagesize()], "foreign": alien(t, func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("x"))
			return err
		}),
	} {
		path := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := listing.Restore(t.Context(), path, s.path, operator); err == nil {
			t.Errorf("%s: restored: %+v", name, r)
		}
	}
	bad := filepath.Join(t.TempDir(), "spoilt")
	if err := os.WriteFile(bad, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	spoil(t, bad, "records")
	if _, err := listing.Restore(t.Context(), bad, s.path, operator); !errors.Is(err, listing.ErrDamaged) {
		t.Errorf("a damaged record: %v", err)
	}
	if !bytes.Equal(before, read(t, s.path)) {
		t.Error("the store was changed")
	}
	names, _ := filepath.Glob(s.path + "*")
	if len(names) > 3 { // the store, its sentinel, its image
		t.Errorf("left behind: %v", names)
	}
	old, want := oldStore(t, "schema1")
	r, err := listing.Restore(t.Context(), old, s.path, operator)
	if err != nil || int(r.Entries) != len(want.Entries) {
		t.Errorf("a backup of an older program: %+v %v", r, err)
	}
}

// edit changes a store in a way that no program would.
func edit(t *testing.T, path string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func clearBucket(name string) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket([]byte(name)); err != nil {
			return err
		}
		_, err := tx.CreateBucket([]byte(name))
		return err
	}
}

func flipIn(name string) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(name))
		key, value := b.Cursor().First()
		key, value = bytes.Clone(key), bytes.Clone(value)
		value[len(value)/2] ^= 1
		return b.Put(key, value)
	}
}

// What can be derived is made anew, and the list is what it was.
func TestRepair(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		part  string
		spoil func(tx *bolt.Tx) error
		drop  bool
		gone  bool // something is not listed any more
	}{
		"expiry index lost":   {"expiry", clearBucket("expiry"), false, false},
		"expiry index spoilt": {"expiry", flipIn("expiry"), false, false},
		"identity spoilt": {"seen", func(tx *bolt.Tx) error {
			n := id(1)
			return tx.Bucket([]byte("seen")).Put(n[:], []byte("not a stamp"))
		}, false, false},
		"text spoilt":        {"texts", flipIn("texts"), false, false},
		"journal lost":       {"journal", clearBucket("journal"), false, false},
		"journal spoilt":     {"journal", flipIn("journal"), false, false},
		"record spoilt":      {"records", flipIn("records"), true, true},
		"observation spoilt": {"observations", flipIn("observations"), true, false},
		"exemption spoilt":   {"exempt", flipIn("exempt"), true, false},
		"an observation is gone": {"records", func(tx *bolt.Tx) error {
			cursor := tx.Bucket([]byte("observations")).Cursor()
			cursor.First()
			return cursor.Delete()
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.list(time.Now().Add(time.Hour), "192.0.2.1", "192.0.2.2", "198.51.100.0/24")
			s.observe(bounce(1, "192.0.2.66", time.Now()))
			s.observe(bounce(2, "2001:db8::1", time.Now()))
			want, sequence := s.published(), s.Snapshot().Sequence()
			s.stop()
			edit(t, s.path, c.spoil)
			v, err := listing.Check(s.path)
			if err != nil || len(v.Damage) == 0 || v.Damage[0].Part != c.part || (v.Damage[0].Repair == "") != c.drop {
				t.Fatalf("found %+v, %v", v.Damage, err)
			}
			before := read(t, s.path)
			if _, err := listing.Repair(t.Context(), s.path, dryRun, c.drop); err != nil || !bytes.Equal(before, read(t, s.path)) {
				t.Errorf("a dry run changed the store: %v", err)
			}
			if _, err := listing.Repair(t.Context(), s.path, listing.Order{}, false); !errors.Is(err, listing.ErrNoReason) {
				t.Errorf("without a reason: %v", err)
			}
			if c.drop && c.gone {
				if _, err := listing.Repair(t.Context(), s.path, operator, false); !errors.Is(err, listing.ErrDamaged) {
					t.Errorf("repaired what cannot be: %v", err)
				}
			}
			if _, err := listing.Repair(t.Context(), s.path, operator, c.drop); err != nil {
				t.Fatal(err)
			}
			again := open(t, s.path, eager())
			again.verify()
			if c.gone {
				want = want[1:]
			}
			if diff := cmp.Diff(want, again.published()); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
			if got := again.Snapshot().Sequence(); got < sequence {
				t.Errorf("the serial went back from %d to %d", sequence, got)
			}
			if !c.drop {
				if out := again.observe(bounce(1, "192.0.2.66", time.Now())); !out.Duplicate && c.part != "records" {
					t.Error("what was seen counts again")
				}
			}
		})
	}
}

// The first break of the audit's chain is named.
func TestVerifyNamesTheBreakOfTheAudit(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		s.list(time.Time{}, addr)
	}
	s.stop()
	edit(t, s.path, func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("audit"))
		return b.Delete(b2(3))
	})
	v, err := listing.Check(s.path)
	if err != nil || len(v.Damage) != 1 || v.Damage[0].Part != "audit" || !strings.Contains(v.Damage[0].What, "before entry 4") {
		t.Errorf("%+v %v", v.Damage, err)
	}
}

func b2(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }

func TestCompact(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, 20_000)); err != nil {
		t.Fatal(err)
	}
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	want := s.published()
	if _, err := listing.Compact(t.Context(), s.path, operator, func(int64, int64) {}); !errors.Is(err, listing.ErrLocked) {
		t.Errorf("a store in use: %v", err)
	}
	s.stop()
	r, err := listing.Compact(t.Context(), s.path, operator, func(int64, int64) {})
	if err != nil || r.After >= r.Before || r.After > 100*20_000 {
		t.Errorf("%+v %v", r, err)
	}
	t.Logf("from %d to %d bytes, %.1f a listing", r.Before, r.After, float64(r.After)/20_000)
	again := open(t, s.path, eager())
	again.verify()
	if diff := cmp.Diff(want, again.published()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	again.list(time.Time{}, "192.0.2.99")
	again.reopen(eager()).verify()
}
