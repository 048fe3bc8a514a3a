package zonefile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// Bounds of one record, which parentheses may spread over lines (RFC 1035 §5.1).
const (
	maxRecordLines = 64
	maxRecord      = 16 << 10
)

// zoneReader is what reading a master file needs beside a reader. Each record is
// handed to the parser by itself, so that what is wrong with one costs this one,
// and nothing can include or generate others.
type zoneReader struct {
	origin, owner string // absolute; owner is that of the record before
	apex          string // of the zone; empty before the first record
	owners        []zoneOwner

	pending     strings.Builder // lines of a record whose parentheses are open
	open, lines int
}

// zoneOwner is a name of the file that stands for addresses.
type zoneOwner struct {
	prefix netip.Prefix
	line   int
	wild   bool // what stands for its prefix is a wildcard
	listed bool // it has an A record
}

// zone takes a line of a master file (RFC 1035 §5) that somebody made of a DNSBL:
// A records under the reversed addresses, hosts and wildcards.
func (r *reader) zone([]byte) error {
	z := r.master
	line := string(r.text) // untrimmed: a blank at its beginning means something
	if z.lines == 0 && strings.HasPrefix(line, "$") {
		return z.directive(line)
	}
	z.open += parentheses(line)
	if z.lines++; z.lines > maxRecordLines || z.pending.Len()+len(line) > maxRecord {
		z.reset()
		return fmt.Errorf("a record of more than %d lines or %d bytes", maxRecordLines, maxRecord)
	}
	z.pending.WriteString(line)
	z.pending.WriteByte('\n')
	if z.open > 0 {
		return nil
	}
	record := z.pending.String()
	z.reset()
	return r.record(record)
}

func (z *zoneReader) reset() {
	z.pending.Reset()
	z.open, z.lines = 0, 0
}

// parentheses counts those that a line opens and does not close, outside of
// strings and comments.
func parentheses(line string) (open int) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ';':
			return open
		case c == '(':
			open++
		case c == ')':
			open--
		}
	}
	return open
}

func (z *zoneReader) directive(line string) error {
	text, _, _ := strings.Cut(line, ";")
	fields := strings.Fields(text)
	switch keyword := strings.ToUpper(fields[0]); {
	case keyword == "$TTL" && len(fields) == 2:
		return nil
	case keyword == "$ORIGIN" && len(fields) == 2:
		origin, ok := z.absolute(fields[1])
		if !ok {
			z.origin, z.owner = unknownOrigin, ""
			return fmt.Errorf("%q is no domain name", fields[1])
		}
		z.origin = origin
		return nil
	case keyword == "$INCLUDE", keyword == "$GENERATE":
		return fmt.Errorf("%s is not followed: a list of others names no files of ours, and is not made by multiplication", keyword)
	}
	return errors.New("want $ORIGIN with a name or $TTL with a number")
}

// unknownOrigin stands for one that cannot be read (RFC 2606 §2): no name below it is
// that of an address.
const unknownOrigin = "origin.invalid."

func (z *zoneReader) absolute(name string) (string, bool) {
	switch {
	case name == "@":
		name = z.origin
	case !strings.HasSuffix(name, "."):
		name += "." + strings.TrimPrefix(z.origin, ".")
	}
	_, ok := dns.IsDomainName(name)
	return strings.ToLower(name), ok
}

// record takes one whole record.
func (r *reader) record(text string) error {
	z := r.master
	if text[0] == ' ' || text[0] == '\t' {
		trimmed := strings.TrimSpace(text)
		if trimmed == "" || trimmed[0] == ';' {
			return nil
		}
		if z.owner == "" {
			return errors.New("has no owner, and stands behind none that could be read")
		}
		text = z.owner + text
	}
	owner := z.owner
	z.owner = "" // that of a record that cannot be read is not that of the one before
	p := dns.NewZoneParser(strings.NewReader(text), z.origin, "")
	p.SetDefaultTTL(uint32(DefaultTTL.Seconds())) // what it is does not matter
	rr, ok := p.Next()
	if err := p.Err(); err != nil {
		if at, ok := errors.AsType[*dns.ParseError](err); ok {
			return errors.New("no record: " + strings.TrimPrefix(at.Error(), "dns: "))
		}
		return err
	}
	if !ok {
		z.owner = owner
		return nil // a comment
	}
	if _, more := p.Next(); more || p.Err() != nil {
		return errors.New("more than one record")
	}
	z.owner = strings.ToLower(rr.Header().Name)
	if z.apex == "" {
		z.apex = z.origin
		if _, isSOA := rr.(*dns.SOA); isSOA {
			z.apex = z.owner
		}
	}
	return r.zoneRecord(rr)
}

// zoneRecord takes what a record lists. What tells about the zone itself, or
// about names that are no addresses, is passed over, unless it is a code.
func (r *reader) zoneRecord(rr dns.RR) error {
	z := r.master
	a, isA := rr.(*dns.A)
	code := false
	if isA {
		v4 := a.A.To4()
		if v4 == nil {
			return errors.New("no record: A without an address")
		}
		code = v4[0] == 127
	}
	relative, inside := strings.CutSuffix(z.owner, strings.TrimPrefix("."+z.apex, "."))
	if z.owner == z.apex || !inside {
		if code {
			return fmt.Errorf("%s is no name below %s", z.owner, z.apex)
		}
		return nil
	}
	relative = strings.TrimSuffix(relative, ".")
	p, known := readOwner([]byte(relative))
	switch rr.(type) {
	case *dns.CNAME, *dns.DNAME, *dns.NS:
		if known {
			return fmt.Errorf("%s of an address: what it leads to is not known here", dns.TypeToString[rr.Header().Rrtype])
		}
		return nil
	}
	switch {
	case !known && code:
		return fmt.Errorf("%q is no reversed address and no wildcard of one", relative)
	case !known:
		return nil
	case isA && !code:
		return fmt.Errorf("answers %s: want a code in 127.0.0.0/8 (RFC 5782 §2.1)", a.A)
	}
	z.owners = append(z.owners, zoneOwner{prefix: p, line: r.number, wild: strings.HasPrefix(relative, "*."), listed: isA})
	if isA && !testNet.Overlaps(p) {
		_, err := r.key(p)
		return err
	}
	return nil
}

// finishZone turns the names into what a server would answer for: a wildcard
// covers nothing at or below a name that exists beside it (RFC 4592 §2.2.1), of
// which only what has an A record is listed.
func (r *reader) finishZone() error {
	z := r.master
	if z.lines > 0 {
		return errors.New("the file ends within parentheses")
	}
	// Of one name those that list it come first.
	slices.SortStableFunc(z.owners, func(a, b zoneOwner) int {
		if c := listing.ComparePrefix(a.prefix, b.prefix); c != 0 || a.listed == b.listed {
			return c
		}
		if a.listed {
			return -1
		}
		return 1
	})
	z.owners = slices.CompactFunc(z.owners, func(a, b zoneOwner) bool { return a.prefix == b.prefix })
	for i, o := range z.owners {
		if !o.listed || testNet.Overlaps(o.prefix) {
			continue
		}
		p, err := r.key(o.prefix)
		if err != nil {
			continue // told when it was read
		}
		for piece := range without(p, z.blocked(i)) {
			r.items = append(r.items, Item{Line: o.line, Prefix: piece})
		}
	}
	return nil
}

// blocked returns what the names inside a wildcard take out of it: the child of
// the wildcard that each of them makes exist. They are sorted and disjoint.
func (z *zoneReader) blocked(at int) (out []netip.Prefix) {
	outer := z.owners[at]
	if !outer.wild {
		return nil
	}
	step := 4
	if outer.prefix.Addr().Is4() {
		step = 8
	}
	for _, inner := range z.owners[at+1:] {
		if !outer.prefix.Contains(inner.prefix.Addr()) {
			break
		}
		child, _ := inner.prefix.Addr().Prefix(outer.prefix.Bits() + step)
		if len(out) == 0 || out[len(out)-1] != child {
			out = append(out, child)
		}
	}
	return out
}
