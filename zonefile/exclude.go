package zonefile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"backscatter/listing"
)

// exclude takes an exclusion of rbldnsd.
func (r *reader) exclude(p netip.Prefix) error {
	if key, err := r.key(p); err == nil && key != p {
		r.excluded = append(r.excluded, key)
		return partError{key}
	}
	r.excluded = append(r.excluded, p)
	return nil
}

// partError is of an exclusion that is taken for more than it says. Somebody's list may
// have very many of them, and is no worse for that.
type partError struct{ key netip.Prefix }

func (e partError) Error() string {
	return fmt.Sprintf("excludes a part of %s, which is listed whole or not at all: it is not", e.key)
}

// tell keeps a problem.
func (r *reader) tell(err error) {
	if errors.As(err, new(partError)) {
		if r.parts == maxProblems {
			return
		}
		if r.parts++; r.parts == maxProblems {
			err = fmt.Errorf("%w; further ones of this kind are not told", err)
		}
	}
	r.problems = append(r.problems, r.problem(err.Error()))
}

// endSet takes what a data set excludes out of what it lists. The narrowest entry
// that an address is in tells whether it is listed, and of two that are equal the
// exclusion: so does rbldnsd, but that of two equal ones a trie takes the first.
// It stops where there are too many pieces, which is for the caller to tell.
func (r *reader) endSet() {
	defer func() { r.begun, r.excluded = len(r.items), nil }()
	if len(r.excluded) == 0 {
		return
	}
	set, excluded := slices.Clone(r.items[r.begun:]), r.excluded
	r.items = r.items[:r.begun]
	slices.SortFunc(excluded, func(a, b netip.Prefix) int { return r.narrowness(b) - r.narrowness(a) })
	slices.SortStableFunc(set, func(a, b Item) int {
		return cmp.Or(r.narrowness(b.Prefix)-r.narrowness(a.Prefix), listing.ComparePrefix(a.Prefix, b.Prefix))
	})
	var out []netip.Prefix
	for len(set) > 0 && len(r.items) <= r.limit { // from the narrowest to the widest
		level := r.narrowness(set[0].Prefix)
		n := countWhile(excluded, func(p netip.Prefix) bool { return r.narrowness(p) >= level })
		slices.SortFunc(excluded[:n], listing.ComparePrefix)
		out, excluded = union(out, excluded[:n]), excluded[n:]
		n = countWhile(set, func(item Item) bool { return r.narrowness(item.Prefix) == level })
		out, set = union(out, r.takeOut(set[:n], out)), set[n:]
	}
}

// takeOut keeps what is left of sorted items without what is out, and returns those
// that it cut. To wider items these are out too: what they list is dealt with, and
// nested ones would else each be cut anew by all that is excluded inside.
func (r *reader) takeOut(items []Item, out []netip.Prefix) (cut []netip.Prefix) {
	for _, item := range disjoint(items, func(item Item) netip.Prefix { return item.Prefix }) {
		inside := overlapping(out, item.Prefix)
		if len(inside) > 0 {
			cut = append(cut, item.Prefix)
		}
		for p := range without(item.Prefix, inside) {
			if r.items = append(r.items, Item{Line: item.Line, Prefix: p}); len(r.items) > r.limit {
				return cut
			}
		}
	}
	return cut
}

func countWhile[T any](all []T, holds func(T) bool) int {
	if n := slices.IndexFunc(all, func(v T) bool { return !holds(v) }); n >= 0 {
		return n
	}
	return len(all)
}

// union merges sorted, disjoint prefixes.
func union(a, b []netip.Prefix) []netip.Prefix {
	if len(b) == 0 {
		return a
	}
	all := make([]netip.Prefix, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		first := &a
		if listing.ComparePrefix(b[0], a[0]) < 0 {
			first = &b
		}
		all, *first = append(all, (*first)[0]), (*first)[1:]
	}
	all = append(append(all, a...), b...)
	return disjoint(all, func(p netip.Prefix) netip.Prefix { return p })
}

// narrowness is how narrow an entry is to the data set. An ip4set is made of single
// addresses, /24s, /16s and /8s, over which it spreads all else.
func (r *reader) narrowness(p netip.Prefix) int {
	if r.format == IP4Set {
		return max(1, (p.Bits()+7)/8)
	}
	return p.Bits()
}

// listed returns the items, sorted and without overlaps.
func (r *reader) listed() []Item {
	slices.SortStableFunc(r.items, func(a, b Item) int { return listing.ComparePrefix(a.Prefix, b.Prefix) })
	return disjoint(r.items, func(item Item) netip.Prefix { return item.Prefix })
}

// disjoint drops, in place, what something before it covers. Sorted, whatever
// covers an element stands before it.
func disjoint[T any](sorted []T, prefix func(T) netip.Prefix) []T {
	kept := sorted[:0]
	for _, v := range sorted {
		if len(kept) == 0 || !covers(prefix(kept[len(kept)-1]), prefix(v)) {
			kept = append(kept, v)
		}
	}
	return kept
}

func covers(wide, p netip.Prefix) bool { return wide.Bits() <= p.Bits() && wide.Contains(p.Addr()) }

// overlapping returns the part of sorted, disjoint prefixes that overlaps p.
func overlapping(sorted []netip.Prefix, p netip.Prefix) []netip.Prefix {
	from, _ := slices.BinarySearchFunc(sorted, p, listing.ComparePrefix)
	if from > 0 && covers(sorted[from-1], p) {
		from--
	}
	to := from
	for to < len(sorted) && sorted[to].Overlaps(p) {
		to++
	}
	return sorted[from:to]
}

// without returns what is left of p, halving it where an exclusion lies
// inside. The exclusions are sorted and disjoint. Each of them costs at most as
// many pieces as an address has bits, so this ends soon.
func without(p netip.Prefix, excluded []netip.Prefix) func(yield func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) { subtract(p, excluded, yield) }
}

func subtract(p netip.Prefix, excluded []netip.Prefix, yield func(netip.Prefix) bool) bool {
	switch excluded = overlapping(excluded, p); {
	case len(excluded) == 0:
		return yield(p)
	case covers(excluded[0], p):
		return true
	}
	bits := p.Bits() + 1
	upper := p.Addr().AsSlice()
	upper[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	addr, _ := netip.AddrFromSlice(upper)
	return subtract(netip.PrefixFrom(p.Addr(), bits), excluded, yield) &&
		subtract(netip.PrefixFrom(addr, bits), excluded, yield)
}
