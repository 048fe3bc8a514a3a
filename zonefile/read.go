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
var Readable = []Format{Plain, IP4Set, IP4TSet, IP4Trie, IP6Trie, Combined, Master, JSONL}

// Formats of rbldnsd that are read only.
const (
	IP4TSet Format = "ip4tset" // bare addresses
	IP4Trie Format = "ip4trie" // addresses and prefixes
)

// ParseReadable returns the format with the given name, if it can be read.
func ParseReadable(name string) (Format, error) { return parseFormat(name, Readable) }

// parsers take one line of a format, but for [Combined], which consists of them.
var parsers = map[Format]func(*reader, []byte) error{
	Plain: (*reader).plain, JSONL: (*reader).jsonl, Master: (*reader).zone,
	IP4Set: (*reader).ip4set, IP4TSet: (*reader).ip4tset, IP4Trie: (*reader).ip4trie, IP6Trie: (*reader).ip6trie,
}

// Read reads a list that somebody made, for import, as far as it means
// addresses. It returns what the file lists, sorted and without
// overlaps, and the lines that cannot be taken. Test points (127.0.0.0/24) are
// passed over, exclusions are taken out of what they exclude, and repetitions
// are merged. The error is for a file that is not to be trusted at all.
func Read(r io.Reader, f Format) ([]Item, []Problem, error) {
	return read(&reader{lines: newLines(r), key: listable}, f)
}

// ReadWide is like [Read], for prefixes that are to be exempted: they may be as
// wide as a large provider.
func ReadWide(r io.Reader, f Format) ([]Item, []Problem, error) {
	return read(&reader{lines: newLines(r), key: exemptable}, f)
}

// listable returns what is listed for a prefix.
func listable(p netip.Prefix) (netip.Prefix, error) {
	key, err := listing.PrefixKey(p)
	return key.Prefix(), err
}

// What a list of exemptions may hold: beyond that it is a slip.
const (
	minExempt4 = 8
	minExempt6 = 16
)

func exemptable(p netip.Prefix) (netip.Prefix, error) {
	p, err := listing.ParsePrefix(p.String()) // wants no bits behind the length
	least := minExempt6
	if p.Addr().Is4() {
		least = minExempt4
	}
	if err == nil && p.Bits() < least {
		err = fmt.Errorf("%s is wider than /%d: exempt it by hand, if it is meant", p, least)
	}
	return p, err
}

func read(in *reader, f Format) ([]Item, []Problem, error) {
	parse, ok := parsers[f]
	if f == Combined {
		parse, ok = (*reader).combined, true
	}
	if !ok {
		return nil, nil, fmt.Errorf("read format %q: want one of %s", f, FormatNames(Readable))
	}
	if f == Master {
		in.master = &zoneReader{origin: "."}
	}
	for in.next() {
		if err := in.line(parse); err != nil {
			in.problems = append(in.problems, in.problem(err.Error()))
		}
		if len(in.problems) > maxProblems {
			return nil, in.problems, fmt.Errorf("read list: more than %d lines cannot be taken, is it %s at all", maxProblems, f)
		}
		if in.size() > maxItems {
			return nil, in.problems, fmt.Errorf("read list: more than %d entries", maxItems)
		}
	}
	if in.err == nil && in.master != nil {
		if err := in.finishZone(); err != nil {
			in.problems = append(in.problems, in.problem(err.Error()))
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
	widest   int                                      // $MAXRANGE4, as bits
	key      func(netip.Prefix) (netip.Prefix, error) // what is taken for a prefix
	master   *zoneReader                              // of a master file alone

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
	return r.addText(string(text))
}

// addText takes an address or a prefix.
func (r *reader) addText(text string) error {
	addr, err := netip.ParseAddr(text)
	p := netip.PrefixFrom(addr, addr.BitLen())
	if err != nil {
		if p, err = netip.ParsePrefix(text); err != nil {
			_, err := listing.ParseKey(text) // says what it is not
			return err
		}
	} else if addr = addr.Unmap().WithZone(""); addr.IsValid() {
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	return r.add(p)
}

func (r *reader) add(p netip.Prefix) error {
	p, err := r.key(p)
	if err != nil {
		return err
	}
	r.put(p)
	return nil
}

func (r *reader) put(p netip.Prefix) {
	if !testNet.Overlaps(p) {
		r.items = append(r.items, Item{Line: r.number, Prefix: p})
	}
}

// size is how much was collected.
func (r *reader) size() int {
	n := len(r.items) + len(r.excluded)
	if r.master != nil {
		n += len(r.master.owners)
	}
	return n
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
