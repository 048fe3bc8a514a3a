package listing_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
)

// decommissioned is a store, of nobody any more, whose list is decommissioned.
func decommissioned(t *testing.T) (path string) {
	t.Helper()
	s := start(t)
	s.list(time.Now().Add(time.Hour), "192.0.2.1", "192.0.2.2")
	if _, err := s.Decommission(t.Context(), operator, false); err != nil {
		t.Fatal(err)
	}
	s.stop()
	return s.path
}

// flipName flips, in the file, the last bit of the first letter of a name in meta, and
// with value one of the value, too.
func flipName(t *testing.T, path, name string, value bool) {
	t.Helper()
	all := pairsOf(t, path, "meta")
	at := slices.IndexFunc(all, func(p pair) bool { return string(p.key) == name })
	if at < 0 {
		t.Fatalf("there is no %s", name)
	}
	was := slices.Concat(all[at].key, all[at].value)
	flipped := bytes.Clone(was)
	flipped[0] ^= 1
	if value {
		flipped[len(flipped)-1] ^= 1
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(read(t, path), was, flipped), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A bit flips in the name of what the state has one of: nothing is served, and nothing
// repaired without leave, as if that had never been. With it, what proves whose it was
// is put back, and of the rest the safe half is taken.
func TestFlippedBitInAName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		value  bool
		repair string
	}{
		{"decommission", false, "put back under its name"},
		{"decommission", true, "taken for decommissioned"},
		{"brakes", false, "put back under its name"},
		{"brakes", true, "the brake on listing was put on"},
	} {
		t.Run(test.name+" "+test.repair, func(t *testing.T) {
			t.Parallel()
			path := decommissioned(t)
			before := pairsOf(t, path, "meta")
			flipName(t, path, test.name, test.value)
			damaged := read(t, path)
			if v, err := listing.Check(path); err != nil || !strings.Contains(v.Damage[0].Key, test.name[1:]) {
				t.Errorf("it is not told: %+v %v", v.Damage, err)
			}
			if s, err := listing.Open(path, listing.Options{Settings: eager()}); err == nil {
				t.Errorf("it is served: %v", s.Close())
			} else if !errors.Is(err, listing.ErrDamaged) {
				t.Error(err)
			}
			if _, err := listing.Repair(t.Context(), path, operator, false); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "--drop") {
				t.Errorf("without leave: %v", err)
			}
			if !bytes.Equal(read(t, path), damaged) {
				t.Error("without leave it was changed")
			}
			repaired(t, path, true)
			wantName(t, path, before, test.name, !test.value)
			again := open(t, path, eager())
			again.want()
			all, err := again.Audit(listing.AuditFilter{})
			if err != nil || !slices.ContainsFunc(all, func(a listing.AuditEntry) bool { return strings.Contains(string(a.Detail), test.repair) }) {
				t.Errorf("the audit does not tell %q: %+v %v", test.repair, all, err)
			}
			if on := !again.Brakes().Frozen.IsZero(); on != (test.name == "brakes" && test.value) {
				t.Errorf("the brake on listing is on: %t", on)
			}
		})
	}
}

// wantName makes sure that something stands under a name: what did, if so it should.
func wantName(t *testing.T, path string, before []pair, name string, same bool) {
	t.Helper()
	is := func(p pair) bool { return string(p.key) == name }
	after := pairsOf(t, path, "meta")
	at := slices.IndexFunc(after, is)
	if at < 0 {
		t.Fatalf("there is no %s", name)
	}
	if got := bytes.Equal(after[at].value, before[slices.IndexFunc(before, is)].value); got != same {
		t.Errorf("it is as it was: %t", got)
	}
}

// What a newer program put there, under a name that it knows, is no damage.
func TestNameOfANewerProgram(t *testing.T) {
	t.Parallel()
	path := decommissioned(t)
	edit(t, path, listing.PutNewerName)
	if v, err := listing.Check(path); err != nil || len(v.Damage) > 0 {
		t.Errorf("%+v %v", v.Damage, err)
	}
}
