package zonefile_test

import (
	"bytes"
	"errors"
	"iter"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func journalOf(changes ...listing.Change) iter.Seq2[listing.Change, error] {
	return func(yield func(listing.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestRemovals(t *testing.T) {
	t.Parallel()
	ago := func(days int) time.Time { return made.AddDate(0, 0, -days) }
	gone := func(sequence uint64, at time.Time, prefix string, class listing.Class) listing.Change {
		return listing.Change{Sequence: sequence, Time: at, Removed: []listing.Entry{entry(prefix, listing.Summary{}, class)}}
	}
	s := snapshotOf(
		entry("192.0.2.66", listing.Summary{}, listing.ClassBounce),
		entry("203.0.113.0/28", listing.Summary{}, listing.ClassManual),
		entry("198.51.100.4", listing.Summary{}, listing.ClassCallout),
	)
	journal := []listing.Change{
		gone(1, ago(31), "192.0.2.1", listing.ClassBounce), // too long ago
		gone(2, ago(30), "192.0.2.2", listing.ClassBounce),
		gone(3, ago(20), "192.0.2.66", listing.ClassBounce),     // came back
		gone(4, ago(20), "192.0.2.3", listing.ClassCallout),     // never was in the zone
		gone(5, ago(20), "198.51.100.4", listing.ClassBounce),   // is listed now, and not in the zone
		gone(6, ago(20), "203.0.113.5", listing.ClassBounce),    // is in the prefix now
		gone(7, ago(20), "203.0.113.0/27", listing.ClassManual), // half of it is
		gone(8, ago(20), "127.0.0.9", listing.ClassBounce),      // a test point
		gone(9, ago(19), "192.0.2.9", listing.ClassBounce),
		gone(10, ago(2), "192.0.2.9", listing.ClassBounce), // the last time counts
		gone(11, ago(1), "2001:db8:1:2::/64", listing.ClassBounce),
		gone(sequence+1, ago(0), "192.0.2.4", listing.ClassBounce), // the snapshot does not know it
	}
	departed := must(zonefile.Departures(testZone(), s, made, journalOf(journal...)))(t)
	list := zonefile.List{Zone: testZone(), Snapshot: s, Now: made, Departed: departed}
	var out bytes.Buffer
	stats := must(list.Write(&out, zonefile.Removals))(t)
	want := "# bl.example removals: hosts that send backscatter, for use on mail with a null sender (MAIL FROM:<>) only\n" +
		"# serial=1795325400 time=2026-11-22T05:30:00Z\n" +
		"192.0.2.2 2026-10-23T05:30:00Z\n192.0.2.9 2026-11-20T05:30:00Z\n198.51.100.4 2026-11-02T05:30:00Z\n" +
		"203.0.113.16/28 2026-11-02T05:30:00Z\n2001:db8:1:2::/64 2026-11-21T05:30:00Z\n" +
		"# END serial=1795325400 entries=5\n"
	if diff := cmp.Diff(want, out.String()); diff != "" || stats.Entries != 5 {
		t.Error(stats, diff)
	}

	// It is read back line by line.
	if err := zonefile.CheckList(strings.NewReader(want), zonefile.Removals, list); err != nil {
		t.Error(err)
	}
	for cut := range len(want) {
		if zonefile.CheckList(strings.NewReader(want[:cut]), zonefile.Removals, list) == nil {
			t.Errorf("passes, cut off at %d", cut)
		}
	}
	if zonefile.CheckList(strings.NewReader(strings.Replace(want, "192.0.2.9 ", "192.0.2.8 ", 1)), zonefile.Removals, list) == nil {
		t.Error("passes with another address")
	}

	prefixes := cmpopts.EquateComparable(netip.Prefix{})
	// For a day the bytes are the same, then the oldest are forgotten.
	next := must(zonefile.Departures(testZone(), s, made.Add(24*time.Hour-1), journalOf(journal...)))(t)
	if diff := cmp.Diff(departed, next, prefixes); diff != "" {
		t.Error(diff)
	}
	next = must(zonefile.Departures(testZone(), s, made.Add(24*time.Hour), journalOf(journal...)))(t)
	if diff := cmp.Diff(departed[1:], next, prefixes); diff != "" {
		t.Error(diff)
	}

	broken := errors.New("broken")
	_, err := zonefile.Departures(testZone(), s, made, func(yield func(listing.Change, error) bool) { yield(listing.Change{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
