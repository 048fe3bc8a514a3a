package zonefile

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"backscatter/listing"
)

// RemovalsFor is how long a file of format [Removals] tells that something left.
const RemovalsFor = 30 * 24 * time.Hour

// Departure is an address or a prefix that is not listed any more.
type Departure struct {
	Prefix netip.Prefix
	Time   time.Time // when it left
}

// Departures returns what the zone carried within the time that [Removals]
// tells of, and does not now, sorted. The changes are the journal up to the
// snapshot, oldest first. What came back is left out, and so is the part of a
// removed prefix that is listed otherwise. The time goes by whole days from that
// of the snapshot, as the stamps do, so that the bytes stay the same for a day.
func Departures(z *Zone, s *listing.Snapshot, now time.Time, changes iter.Seq2[listing.Change, error]) ([]Departure, error) {
	since := stampAt(s, now).Add(-RemovalsFor)
	left := map[netip.Prefix]time.Time{}
	for change, err := range changes {
		if err != nil {
			return nil, fmt.Errorf("read the changes for the file of removals: %w", err)
		}
		if change.Sequence > s.Sequence() || change.Time.Before(since) {
			continue
		}
		for _, e := range change.Removed {
			if _, carried := z.carry(e); carried {
				left[e.Prefix] = change.Time
			}
		}
	}
	var out []Departure
	for p, at := range left {
		for part := range without(p, z.listedAround(s, p)) {
			out = append(out, Departure{part, at})
		}
	}
	slices.SortFunc(out, func(a, b Departure) int {
		return cmp.Or(listing.ComparePrefix(a.Prefix, b.Prefix), b.Time.Compare(a.Time))
	})
	// Of two prefixes of which both left, parts may be the same: the last counts.
	return slices.CompactFunc(out, func(a, b Departure) bool { return a.Prefix == b.Prefix }), nil
}

// listedAround returns what the zone carries of a prefix: one that covers it,
// or those inside it.
func (z *Zone) listedAround(s *listing.Snapshot, p netip.Prefix) []netip.Prefix {
	if e, ok := s.Lookup(p.Addr()); ok && covers(e.Prefix, p) { // and no test point, which is not listed
		if e, ok = z.carry(e); ok {
			return []netip.Prefix{e.Prefix}
		}
		return nil
	}
	var inside []netip.Prefix
	for e := range s.Within(p) {
		if e, ok := z.carry(e); ok {
			inside = append(inside, e.Prefix)
		}
	}
	return inside
}

// removalsBody writes one departure a line: the prefix and the time.
type removalsBody struct{ *writer }

func (b removalsBody) begin()                   {}
func (b removalsBody) entry(listing.Entry) bool { return true }

func (b removalsBody) end() {
	for _, d := range b.Departed {
		b.stats.Entries++
		b.line = append(b.line, d.line()...)
		if !b.put() {
			return
		}
	}
}

func (d Departure) line() string {
	return string(appendSubject(nil, d.Prefix)) + " " + stamp(d.Time)
}
