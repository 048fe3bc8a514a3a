package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"

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
	return read(&reader{lines: newLines(r), key: listable, limit: maxItems}, f)
}

// ReadWide is like [Read], for prefixes that are to be exempted: they may be as
// wide as a large provider.
func ReadWide(r io.Reader, f Format) ([]Item, []Problem, error) {
	return read(&reader{lines: newLines(r), key: exemptable, limit: maxItems}, f)
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
	if start, _ := in.r.Peek(len(gzipStart)); string(start) == gzipStart {
		return nil, nil, errors.New("read list: it is compressed by gzip: unpack it first, as 'gzip -dc FILE | backscatter import OPTIONS -' does")
	}
	in.format = f
	if f == Master {
		in.master = &zoneReader{origin: "."}
	}
	for in.next() {
		if err := in.line(parse); err != nil {
			in.tell(err)
		}
		if len(in.problems)-in.parts > maxProblems {
			return nil, in.problems, fmt.Errorf("read list: more than %d lines cannot be taken, is it %s at all", maxProblems, f)
		}
		if in.size() > in.limit {
			return nil, in.problems, in.tooMany()
		}
	}
	if in.err == nil && in.master != nil {
		if err := in.finishZone(); err != nil {
			in.tell(err)
		}
	}
	if in.err != nil {
		return nil, in.problems, fmt.Errorf("read list, line %d: %w", in.number+1, in.err)
	}
	in.endSet()
	if in.size() > in.limit {
		return nil, in.problems, in.tooMany()
	}
	return in.listed(), in.problems, nil
}

func (r *reader) tooMany() error { return fmt.Errorf("read list: more than %d entries", r.limit) }

// gzipStart is how compressed files begin (RFC 1952 §2.3.1).
const gzipStart = "\x1f\x8b"

// reader collects what one file lists.
type reader struct {
	*lines
	items    []Item
	limit    int // of what is collected
	problems []Problem
	parts    int                                      // of the problems are a [partError]
	most     uint64                                   // addresses of a range, by $MAXRANGE4; 0: any number
	key      func(netip.Prefix) (netip.Prefix, error) // what is taken for a prefix
	master   *zoneReader                              // of a master file alone

	// Of the data set that is read, of which a combined file has several:
	format   Format
	inside   func(*reader, []byte) error // takes its lines, in a combined file
	begun    int                         // the first of its items
	excluded []netip.Prefix
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
