package listing

import (
	"net/netip"
	"slices"
)

// What is published is a function of two things: the records (what is listed)
// and the exemptions. Three rules make it:
//
//   - A record that lies inside a wider listed record is not published, so
//     that published entries never overlap (a wildcard of the DNS is hidden by
//     any name below it, RFC 4592 §2.2.1).
//   - Exempt addresses are not published. What remains of a record is
//     published as the fewest prefixes that hold it.
//   - Each piece tells what its record tells.
//
// A change need not look at everything. It can touch only what lies in its
// regions, and there the old and the new state are compared:
//
//	regions := Regions(changed, widest)         // parts of the address space
//	records := …                                // all records inside the regions
//	now := Visible(records, exempt)
//	removed, added := Diff(old, now)            // old: snapshot.Within each region

// Regions returns the parts of the address space in which the published
// entries may differ after records or exemptions with the given prefixes were
// added, removed or changed. The function widest returns the widest record that
// covers a prefix, the prefix's own included, as the records are after the
// change; false when there is none. The regions are sorted and disjoint, and take
// the place of what is given.
func Regions(changed []netip.Prefix, widest func(netip.Prefix) (netip.Prefix, bool)) []netip.Prefix {
	for i, p := range changed {
		if w, ok := widest(p); ok && covers(w, p) {
			changed[i] = w
		}
	}
	return disjoint(changed)
}

// Visible returns the entries to publish for the given records, sorted. The
// records need not be sorted; when they are, it costs no more than one walk. A
// record that covers one of the given must be given too. Exemptions may overlap,
// and may lie anywhere.
func Visible(records []Entry, exempt []netip.Prefix) []Entry {
	if !slices.IsSortedFunc(records, compareEntries) {
		records = slices.Clone(records)
		slices.SortFunc(records, compareEntries)
	}
	exempt = disjoint(slices.Clone(exempt))
	out := make([]Entry, 0, len(records))
	var pieces []netip.Prefix
	var top netip.Prefix // the newest record that no other covers
	for _, r := range records {
		if top.IsValid() && covers(top, r.Prefix) {
			continue
		}
		top = r.Prefix
		var holes []netip.Prefix
		holes, exempt = overlapping(exempt, r.Prefix)
		pieces = subtract(pieces[:0], r.Prefix, holes)
		for _, p := range pieces {
			r.Prefix = p
			out = append(out, r)
		}
	}
	return out
}

// Diff compares two sorted lists of entries. An entry whose prefix stayed and
// whose content changed is in both results.
func Diff(before, after []Entry) (removed, added []Entry) {
	for len(before) > 0 && len(after) > 0 {
		switch c := compareEntries(before[0], after[0]); {
		case c < 0:
			removed, before = append(removed, before[0]), before[1:]
		case c > 0:
			added, after = append(added, after[0]), after[1:]
		default:
			if before[0] != after[0] {
				removed, added = append(removed, before[0]), append(added, after[0])
			}
			before, after = before[1:], after[1:]
		}
	}
	return append(removed, before...), append(added, after...)
}

// SpecialExemptions returns the special-purpose space as exemptions, less
// what is opened for labs.
func SpecialExemptions(listable []netip.Prefix) []Exemption {
	open := disjoint(slices.Clone(listable))
	var out []Exemption
	var pieces []netip.Prefix
	for _, s := range Specials {
		if s.Prefix.Addr().Is4In6() {
			continue // no key lies there: keys are unmapped
		}
		var holes []netip.Prefix
		for _, p := range open {
			if p.Overlaps(s.Prefix) {
				holes = append(holes, p)
			}
		}
		pieces = subtract(pieces[:0], s.Prefix, holes)
		for _, p := range pieces {
			out = append(out, Exemption{Prefix: p, Reason: s.Name, BuiltIn: true})
		}
	}
	return out
}

func compareEntries(a, b Entry) int { return ComparePrefix(a.Prefix, b.Prefix) }

// disjoint sorts prefixes in place and drops those that another covers.
func disjoint(prefixes []netip.Prefix) []netip.Prefix {
	if !slices.IsSortedFunc(prefixes, ComparePrefix) {
		slices.SortFunc(prefixes, ComparePrefix)
	}
	out := prefixes[:0]
	for _, p := range prefixes {
		if len(out) == 0 || !covers(out[len(out)-1], p) {
			out = append(out, p)
		}
	}
	return out
}

// overlapping returns those of the sorted, disjoint prefixes that overlap p,
// and all from the first of them on: what the next p, which does not lie before
// this one, need look at.
func overlapping(prefixes []netip.Prefix, p netip.Prefix) (found, rest []netip.Prefix) {
	for len(prefixes) > 0 && !prefixes[0].Overlaps(p) && prefixes[0].Addr().Less(p.Addr()) {
		prefixes = prefixes[1:]
	}
	n := 0
	for n < len(prefixes) && prefixes[n].Overlaps(p) {
		n++
	}
	return prefixes[:n], prefixes
}
