package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"backscatter/listing"
)

// Item is something that a file lists.
type Item struct {
	Line   int          // where it stands
	Prefix netip.Prefix // [listing.PrefixKey] takes it
}

// Readable lists every format that can be read.
var Readable = []Format{Plain, IP4Set, IP4TSet, IP4Trie, IP6Trie, Combined, JSONL}

// Formats of rbldnsd that are read only.
const (
	IP4TSet Format = "ip4tset" // bare addresses
	IP4Trie Format = "ip4trie" // addresses and prefixes
)

// ParseReadable returns the format with the given name, if it can be read.
func ParseReadable(name string) (Format, error) { return parseFormat(name, Readable) }

// parsers take one line of a format, but for [Combined], which consists of them.
var parsers = map[Format]func(*reader, []byte) error{
	Plain: (*reader).plain, JSONL: (*reader).jsonl,
	IP4Set: (*reader).ip4set, IP4TSet: (*reader).ip4tset, IP4Trie: (*reader).ip4trie, IP6Trie: (*reader).ip6trie,
}

// Read reads a list that somebody made, for import, as far as it means
// addresses. It returns what the file lists, sorted and without
// overlaps, and the lines that cannot be taken. Test points (127.0.0.0/24) are
// passed over, exclusions are taken out of what they exclude, and repetitions
// are merged. The error is for a file that is not to be trusted at all.
func Read(r io.Reader, f Format) ([]Item, []Problem, error) {
	parse, ok := parsers[f]
	if f == Combined {
		parse, ok = (*reader).combined, true
	}
	if !ok {
		return nil, nil, fmt.Errorf("read format %q: want one of %s", f, FormatNames(Readable))
	}
	in := &reader{lines: newLines(r), widest: 0}
	for in.next() {
		if err := in.line(parse); err != nil {
			in.problems = append(in.problems, in.problem(err.Error()))
		}
		if len(in.problems) > maxProblems {
			return nil, in.problems, fmt.Errorf("read list: more than %d lines cannot be taken, is it %s at all", maxProblems, f)
		}
		if len(in.items)+len(in.excluded) > maxItems {
			return nil, in.problems, fmt.Errorf("read list: more than %d entries", maxItems)
		}
	}
	if in.err != nil {
		return nil, in.problems, fmt.Errorf("read list, line %d: %w", in.number+1, in.err)
	}
	return in.listed(), in.problems, nil
}

// reader collects what one file lists.
type reader struct {
	*lines
	items    []Item
	excluded []netip.Prefix
	problems []Problem
	widest   int // $MAXRANGE4, as bits

	inside func(*reader, []byte) error // takes the lines of the data set that a combined file is in
}

// line takes one line, or tells why it cannot.
func (r *reader) line(parse func(*reader, []byte) error) error {
	switch text := bytes.TrimSpace(r.text); {
	case r.long:
		return fmt.Errorf("longer than %d bytes", maxLine)
	case len(text) == 0:
		return nil
	case r.cut && text[0] != '#' && text[0] != ';':
		return errors.New("the file ends without a newline, so this may be half an address: complete it")
	default:
		return parse(r, text)
	}
}

// plain takes a line of one address or prefix, with or without a comment.
func (r *reader) plain(text []byte) error {
	if i := bytes.IndexAny(text, "#;"); i >= 0 {
		text = bytes.TrimSpace(text[:i])
	}
	if len(text) == 0 {
		return nil
	}
	if bytes.ContainsAny(text, " \t") {
		return errors.New("want one address or prefix a line")
	}
	key, err := listing.ParseKey(string(text))
	if err != nil {
		return err
	}
	r.add(key)
	return nil
}

func (r *reader) add(key listing.Key) {
	if p := key.Prefix(); !testNet.Overlaps(p) {
		r.items = append(r.items, Item{Line: r.number, Prefix: p})
	}
}

// listed returns the items without overlaps and without what is excluded.
func (r *reader) listed() []Item {
	slices.SortStableFunc(r.items, func(a, b Item) int { return listing.ComparePrefix(a.Prefix, b.Prefix) })
	items := disjoint(r.items, func(item Item) netip.Prefix { return item.Prefix })
	if len(r.excluded) == 0 {
		return items
	}
	slices.SortFunc(r.excluded, listing.ComparePrefix)
	excluded := disjoint(r.excluded, func(p netip.Prefix) netip.Prefix { return p })
	var left []Item
	for _, item := range items {
		for p := range without(item.Prefix, overlapping(excluded, item.Prefix)) {
			left = append(left, Item{Line: item.Line, Prefix: p})
		}
	}
	return left
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
// inside. The exclusions are sorted and disjoint. What can be listed has at most
// 256 addresses, or 65536 IPv6 networks, so this ends soon.
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
