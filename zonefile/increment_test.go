package zonefile_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

// line is one of an increment, as who polls reads it.
type line struct {
	Zone   string `json:"zone"`
	From   uint32 `json:"from"`
	Serial uint32 `json:"serial"`

	Change string `json:"change"`
	Prefix string `json:"prefix"`
	Class  string `json:"class"`
	Reason string `json:"reason"`

	End     uint32 `json:"end"`
	Changes int    `json:"changes"`
}

// held is what who polls has: the lines of the JSON format, by prefix.
func held(t *testing.T, z *zonefile.Zone, s *listing.Snapshot) map[string]string {
	t.Helper()
	var text strings.Builder
	must(zonefile.Write(&text, zonefile.JSONL, z, s))(t)
	out := map[string]string{}
	for l := range strings.Lines(text.String()) {
		var e line
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		out[e.Prefix] = e.Class + " " + e.Reason
	}
	return out
}

// TestIncrement applies increments to what there was, and wants what there is.
func TestIncrement(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6471, 1))
	z := testZone()
	z.Classes = listing.ClassSetOf(listing.ClassBounce, listing.ClassNotice, listing.ClassManual)
	before := sample()
	kinds := map[string]int{}
	for round := range 20 {
		entries := slices.Collect(randomSnapshot(rng, 100).All())
		after := listing.NewSnapshot(listing.Build{Sequence: before.Sequence() + 1 + uint64(round), Time: made, Entries: slices.Values(entries)})
		i, err := zonefile.Since(z, after, before.Serial(), func(from, to uint64, _ int) (listing.Comparison, error) {
			if from != before.Sequence() || to != after.Sequence() {
				t.Fatalf("compares %d with %d", from, to)
			}
			var c listing.Comparison
			c.Removed, c.Added = listing.Diff(slices.Collect(before.All()), slices.Collect(after.All()))
			return c, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := i.Write(&text); err != nil {
			t.Fatal(err)
		}
		have := held(t, z, before)
		lines := slices.Collect(strings.Lines(text.String()))
		for n, l := range lines {
			var e line
			if err := json.Unmarshal([]byte(l), &e); err != nil {
				t.Fatalf("%q: %v", l, err)
			}
			_, there := have[e.Prefix]
			switch {
			case n == 0:
				if e.Zone != "bl.example" || e.From != before.Serial() || e.Serial != after.Serial() {
					t.Errorf("begins with %q", l)
				}
			case n == len(lines)-1:
				if e.End != after.Serial() || e.Changes != len(lines)-2 {
					t.Errorf("ends with %q", l)
				}
			case e.Change == "removed" && there:
				delete(have, e.Prefix)
			case e.Change == "added" && !there, e.Change == "changed" && there && have[e.Prefix] != "":
				have[e.Prefix] = e.Class + " " + e.Reason
			default:
				t.Errorf("%q does not fit to what there was", l)
			}
			kinds[e.Change]++
		}
		if diff := cmp.Diff(held(t, z, after), have); diff != "" {
			t.Fatalf("round %d (-list +applied):\n%s", round, diff)
		}
		before = after
	}
	if kinds["removed"] == 0 || kinds["added"] == 0 || kinds["changed"] == 0 {
		t.Errorf("saw %v", kinds)
	}
}

func TestIncrementTooOld(t *testing.T) {
	t.Parallel()
	s := sample()
	for name, c := range map[string]struct {
		since uint32
		err   error
		want  error
	}{
		"the same":   {since: s.Serial()},
		"a newer":    {since: s.Serial() + 1, want: zonefile.ErrTooOld},
		"a former":   {since: s.Serial() - 1, err: listing.ErrCut, want: zonefile.ErrTooOld},
		"very many":  {since: s.Serial() - 1, err: listing.ErrLarge, want: zonefile.ErrTooOld},
		"a fault":    {since: s.Serial() - 1, err: listing.ErrDamaged, want: listing.ErrDamaged},
		"no order":   {since: s.Serial() + 1<<31, want: zonefile.ErrTooOld},
		"a good one": {since: s.Serial() - 1},
	} {
		_, err := zonefile.Since(testZone(), s, c.since, func(uint64, uint64, int) (listing.Comparison, error) {
			return listing.Comparison{Before: made.Add(-time.Hour)}, c.err
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
