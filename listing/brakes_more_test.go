package listing_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// A freeze that comes between two steps of a resumption was not meant by it: it stays
// on, and what is held back still, by the first or the second, is told.
func TestFrozenAgainWhileResuming(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "listing.db")
	store, err := listing.Open(path, listing.Options{Settings: braked()})
	if err != nil {
		t.Fatal(err)
	}
	var s *running
	steps := 0
	store.OnStage(func(stage string) error {
		if stage == "resumed" {
			if steps++; steps == 1 {
				var more []listing.Observation
				for n := 1000; n < 1053; n++ {
					more = append(more, bounce(n, host(n), time.Now()))
				}
				s.observeAll(more)
			}
		}
		return nil
	})
	s = run(t, path, store)
	var all []listing.Observation
	for n := range 400 {
		all = append(all, bounce(n, host(n), time.Now()))
	}
	s.observeAll(all)
	done := s.resume()
	on := s.status().Brakes
	if on.Frozen.IsZero() || on.Held != 253 || len(done.Added) != 100 || len(done.Skipped) != 1 || !strings.Contains(done.Skipped[0].Why, "253") {
		t.Errorf("%d came, skipped %+v; brakes %+v", len(done.Added), done.Skipped, on)
	}
	if n := s.actions()[listing.ActionResume]; n != 1 {
		t.Errorf("%d resumptions in the audit", n)
	}
	s.verify()
	if done = s.resume(); len(done.Added) != 253 || s.status().Brakes != (listing.BrakeStatus{}) {
		t.Errorf("%d came; brakes %+v", len(done.Added), s.status().Brakes)
	}
}

// frozen returns a stopped store with three keys that a brake holds back.
func frozen(t *testing.T) *running {
	t.Helper()
	settings := braked()
	settings.Brakes.Listings, settings.Brakes.ListingsShare = 1, 0
	s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
	for n := range 4 {
		s.observe(bounce(n, host(n), time.Now()))
	}
	s.verify()
	s.stop()
	return s
}

// What a brake holds back is nowhere but in the index that a repair makes anew.
func TestRepairKeepsWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	s := frozen(t)
	edit(t, s.path, func(tx *bolt.Tx) error { // the first entry, which is of the listing
		key, value := tx.Bucket([]byte("expiry")).Cursor().First()
		return tx.Bucket([]byte("expiry")).Put(bytes.Clone(key), append(bytes.Clone(value), 0))
	})
	if _, err := listing.Repair(t.Context(), s.path, operator, false); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.path, s.Settings())
	s.verify()
	if on := s.status().Brakes; on.Held != 3 || on.Frozen.IsZero() || !s.explain(host(2)).HeldBack {
		t.Errorf("brakes %+v", on)
	}
	if done := s.resume(); len(done.Added) != 3 {
		t.Errorf("resumed: %+v", done)
	}
	s.verify()
}

// One that is lost is found out, and counted anew.
func TestHeldBackIsCounted(t *testing.T) {
	t.Parallel()
	s := frozen(t)
	edit(t, s.path, func(tx *bolt.Tx) error {
		key, _ := tx.Bucket([]byte("expiry")).Cursor().Last()
		return tx.Bucket([]byte("expiry")).Delete(bytes.Clone(key))
	})
	v, err := listing.Check(s.path)
	if err != nil || len(v.Damage) != 1 || !strings.Contains(v.Damage[0].What, "2 keys are held back, not 3") || v.Damage[0].Repair == "" {
		t.Fatalf("%+v %v", v.Damage, err)
	}
	if _, err := listing.Repair(t.Context(), s.path, operator, false); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.path, s.Settings())
	s.verify()
	if on := s.status().Brakes; on.Held != 2 {
		t.Errorf("brakes %+v", on)
	}
}

// Which brakes were on, and whether the list was ended, is known from one value
// each. When it cannot be read the store goes on with drop, on the safe side.
func TestDropOfWhatIsKnownFromOneValue(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]func(*running){
		"brakes": func(s *running) {
			if on := s.status().Brakes; on.Frozen.IsZero() || on.Held != 3 || s.Snapshot().Len() != 1 {
				s.t.Errorf("brakes %+v", on)
			}
			if done := s.resume(); len(done.Added) != 3 {
				s.t.Errorf("resumed: %+v", done)
			}
		},
		"decommission": func(s *running) {
			if s.status().Decommissioned == nil || s.Snapshot().Len() != 0 {
				s.t.Error("the list is published again")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := frozen(t)
			settings := s.Settings()
			s = open(t, s.path, settings)
			if name == "decommission" {
				if _, err := s.Decommission(t.Context(), operator, false); err != nil {
					t.Fatal(err)
				}
			}
			s.stop()
			edit(t, s.path, func(tx *bolt.Tx) error {
				value := bytes.Clone(tx.Bucket([]byte("meta")).Get([]byte(name)))
				value[2] ^= 4
				return tx.Bucket([]byte("meta")).Put([]byte(name), value)
			})
			if _, err := listing.Open(s.path, listing.Options{Settings: settings}); !errors.Is(err, listing.ErrDamaged) {
				t.Fatalf("open: %v", err)
			}
			if _, err := listing.Repair(t.Context(), s.path, operator, false); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "--drop") {
				t.Errorf("without drop: %v", err)
			}
			if _, err := listing.Repair(t.Context(), s.path, operator, true); err != nil {
				t.Fatal(err)
			}
			s = open(t, s.path, settings)
			s.verify()
			want(s)
			s.verify()
			if n := s.actions()[listing.ActionRepair]; n != 1 {
				t.Errorf("%d repairs in the audit", n)
			}
		})
	}
}

// Where the chain of the audit breaks it begins anew, with drop: an entry says what
// was there, all that can be read is left, and it grows old as ever.
func TestDropMakesTheAuditWhole(t *testing.T) {
	t.Parallel()
	number := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	for name, c := range map[string]struct {
		spoil func(b *bolt.Bucket) error
		named []uint64 // the entries that give way
	}{
		"an entry that cannot be read": {func(b *bolt.Bucket) error {
			value := bytes.Clone(b.Get(number(3)))
			value[40] ^= 1
			return b.Put(number(3), value)
		}, []uint64{3}},
		"the newest":   {func(b *bolt.Bucket) error { return b.Put(number(6), []byte{1}) }, []uint64{6}},
		"two missing":  {func(b *bolt.Bucket) error { return errors.Join(b.Delete(number(2)), b.Delete(number(4))) }, []uint64{2, 4}},
		"one too many": {func(b *bolt.Bucket) error { return b.Put(number(200), b.Get(number(3))) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				for n := range 5 { // the first entry is of the settings
					s.list(time.Time{}, fmt.Sprintf("192.0.2.%d", n))
				}
				before, err := s.Audit(listing.AuditFilter{})
				if err != nil || len(before) != 6 {
					t.Fatal(len(before), err)
				}
				s.stop()
				edit(t, s.path, func(tx *bolt.Tx) error { return c.spoil(tx.Bucket([]byte("audit"))) })
				if v, err := listing.Check(s.path); err != nil || len(v.Damage) != 1 || v.Damage[0].Part != "audit" {
					t.Fatalf("%+v %v", v.Damage, err)
				}
				if _, err := listing.Repair(t.Context(), s.path, operator, true); err != nil {
					t.Fatal(err)
				}
				s = open(t, s.path, eager())
				s.verify()
				after, err := s.Audit(listing.AuditFilter{})
				if err != nil || len(after) != 7 || after[6].Action != listing.ActionRepair || !bytes.Contains(after[6].Detail, []byte("chain")) {
					t.Fatalf("%+v %v", after, err)
				}
				for i, was := range before {
					gave := after[i].Action == listing.ActionRepair
					if want := len(c.named) > 0 && (was.Number == c.named[0] || was.Number == c.named[len(c.named)-1]); gave != want {
						t.Errorf("entry %d is %+v", was.Number, after[i])
					} else if !gave && (after[i].Reason != was.Reason || !after[i].Time.Equal(was.Time) || after[i].Action != was.Action) {
						t.Errorf("entry %d was %+v, is %+v", was.Number, was, after[i])
					}
				}
				s.stop()
				time.Sleep(800 * day)
				s = open(t, s.path, eager())
				s.resume()
				time.Sleep(time.Hour)
				left, err := s.Audit(listing.AuditFilter{})
				if err != nil || len(left) == 0 || left[0].Number <= 7 {
					t.Errorf("after two years the audit begins with %+v, %v", left[0], err)
				}
				s.verify()
			})
		})
	}
}

// What an exemption costs that ends does not depend on how many others there are.
func TestExemptionsEndFast(t *testing.T) { // alone, since it counts all that is allocated
	const n = 4000
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		var all []listing.Exemption
		for i := range n {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 1}), 32)
			all = append(all, listing.Exemption{Prefix: p, Until: time.Now().Add(time.Hour), Reason: "on holiday"})
		}
		if _, err := s.Exempt(t.Context(), operator, all); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		time.Sleep(2 * time.Hour)
		runtime.ReadMemStats(&after)
		if left := s.status().Exemptions; left >= n {
			t.Errorf("%d are left", left)
		}
		each := (after.Mallocs - before.Mallocs) / n
		t.Logf("%d allocations each, of %d", each, n)
		if each > n/4 {
			t.Errorf("each of %d takes %d allocations", n, each)
		}
		s.verify()
	})
}
