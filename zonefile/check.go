package zonefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/netip"

	"backscatter/listing"
)

// check reads a file that was written back, line by line, and compares what it
// lists with what the snapshot has: an export is published only when the bytes
// on the disk mean the list, whole, with its test points. It returns their sum.
func (l List) check(r io.Reader, f Format) ([]byte, error) {
	parts := sections(f, l.Zone)
	want := l.tallies(parts)
	entries := want[0].entries
	if f == Combined {
		entries += want[1].entries
	}
	in := &checker{
		list: l, section: parts[0], parts: parts, common: f == Combined, tally: &tally{}, want: want,
		end: fmt.Sprintf("%sEND serial=%d entries=%d", f.comment(), l.Snapshot.Serial(), entries), ended: f.comment() == "",
	}
	body := &ahead{in: r, sum: sha256.New()}
	var err error
	for text := range body.blocks(copyBlock) {
		if err == nil {
			err = in.take(text)
		}
	}
	switch {
	case body.err != nil:
		return nil, body.err
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", in.number, err)
	case !in.ended:
		return nil, fmt.Errorf("does not end with %q: cut off", in.end)
	case len(in.parts) > 1 || in.common:
		return nil, fmt.Errorf("does not have %q", in.parts[0].line())
	}
	return body.sum.Sum(nil), in.compare()
}

// tallies counts what each section has to list, in one walk.
func (l List) tallies(parts []section) []tally {
	want := make([]tally, len(parts))
	if parts[0].format == Removals {
		want[0].entries, want[0].names = len(l.Departed), len(l.Departed)
		return want
	}
	for i, part := range parts {
		for _, e := range part.zone.testPoints(l.Snapshot) {
			want[i].testPoint(part.format, e.Class)
		}
	}
	if len(parts) == 1 && parts[0].format == IP4Set { // by far the most are hosts
		t := want[0]
		l.walk(func(some []listing.Host, told []carried) bool {
			t.entries += len(some)
			t.names += len(some)
			sum := t.sum
			for _, h := range some {
				sum += sumHost(told[h.Told].seed, h.Addr)
			}
			t.sum = sum
			return true
		}, func(e listing.Entry) bool {
			t.entry(IP4Set, e)
			return true
		})
		want[0] = t
		return want
	}
	for e := range l.Snapshot.All() {
		for i, part := range parts {
			if e, ok := part.zone.carry(e); ok {
				want[i].entry(part.format, e)
			}
		}
	}
	return want
}

// tally is a count and a sum, in any order, of what a file lists.
type tally struct {
	entries int
	names   int // more than entries where wildcards are several
	sum     uint64
	test    listing.ClassSet
	tests   int
}

// testPoint counts a test point as the format shows it: in a zone file under
// both its names.
func (t *tally) testPoint(f Format, class listing.Class) {
	switch f {
	case Plain, JSONL:
		return
	case Master:
		t.tests++
	}
	t.tests++
	t.test |= listing.ClassSetOf(class)
}

// entry counts an entry of the snapshot as the format shows it.
func (t *tally) entry(f Format, e listing.Entry) {
	if is4 := e.Prefix.Addr().Is4(); f == IP4Set && !is4 || f == IP6Trie && is4 {
		return
	}
	t.entries++
	switch f {
	case Master:
		for piece := range pieces(e.Prefix) {
			t.add(piece, e.Class)
		}
	case Plain:
		t.add(e.Prefix, listing.ClassOther)
	default:
		t.add(e.Prefix, e.Class)
	}
}

func (t *tally) add(p netip.Prefix, class listing.Class) {
	t.names++
	addr := p.Addr().As16()
	t.sum += mix(seed(binary.BigEndian.Uint64(addr[:8]), p.Bits(), class) + binary.BigEndian.Uint64(addr[8:]))
}

// hosts is add for IPv4 hosts that share a seed.
func (t *tally) hosts(seed uint64, hosts []uint32) {
	t.names += len(hosts)
	sum := t.sum
	for _, host := range hosts {
		sum += sumHost(seed, host)
	}
	t.sum = sum
}

// sumHost is what add sums up for an IPv4 host.
func sumHost(seed uint64, host uint32) uint64 { return mix(seed + (0xffff<<32 | uint64(host))) }

// seed4 is the seed of IPv4 hosts.
func seed4(class listing.Class) uint64 { return seed(0, all4.Addr().BitLen(), class) }

// seed comes of all of a prefix and its class but for the second half of the address.
func seed(half uint64, bits int, class listing.Class) uint64 {
	return mix(mix(half) + uint64(bits)<<8 + uint64(class))
}

// mix has each bit of a number change about half of those of its result: it folds the
// product with an odd number that has no pattern, as wyhash does.
func mix(h uint64) uint64 {
	high, low := bits.Mul64(h^0xbf58476d1ce4e5b9, 0x94d049bb133111eb)
	return high ^ low
}

// checker understands the lines that our own writers write, and no others.
type checker struct {
	section // that the line is in
	*tally

	list     List
	number   int           // of lines
	end      string        // the last of them
	ended    bool          // it was the last so far
	parts    []section     // this one and those that must follow
	want     []tally       // of the same
	common   bool          // the line stands before the first section
	class    listing.Class // of the default line in force
	excluded bool          // 127.0.0.1 is
	some     [1 << 10]uint32
}

// compare tells what is wrong with the section that ends.
func (c *checker) compare() error {
	got, want := c.tally, c.want[0]
	switch {
	case got.test != want.test || got.tests != want.tests:
		return fmt.Errorf("has %d test points, of %q, want %d, of %q", got.tests, got.test, want.tests, want.test)
	case c.format == IP4Set && !c.excluded:
		return errors.New("does not exclude 127.0.0.1 (RFC 5782 §5)")
	case got.names != want.names || got.sum != want.sum:
		return fmt.Errorf("lists %d names, want the %d of the snapshot", got.names, want.names)
	}
	return nil
}

// begin goes on to the section that the line names.
func (c *checker) begin(line []byte) error {
	if c.common {
		c.common = false
	} else {
		if err := c.compare(); err != nil {
			return err
		}
		c.parts, c.want = c.parts[1:], c.want[1:]
	}
	if len(c.parts) == 0 || string(line) != c.parts[0].line() {
		return fmt.Errorf("%q: not expected here", line)
	}
	c.section, c.tally, c.class, c.excluded = c.parts[0], &tally{}, 0, false
	return nil
}

// take takes whole lines. By far the most are IPv4 hosts outside the test net, and
// worth the haste.
func (c *checker) take(text []byte) error {
	for len(text) > 0 {
		if (c.format == IP4Set || c.format == Plain) && !c.common { // seed4 of no class is that of Plain
			n, taken := readHosts(c.some[:], text)
			c.hosts(seed4(c.class), c.some[:n])
			c.number += n
			if text = text[taken:]; n == len(c.some) {
				continue
			}
		}
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		c.number++
		if !whole || len(line) == 0 {
			return fmt.Errorf("%.80q: not a whole line", line)
		}
		if c.ended = c.format.comment() == "" || string(line) == c.end; !c.ended || c.format == JSONL {
			if err := c.line(line); err != nil {
				return err
			}
		}
		text = rest
	}
	return nil
}

func (c *checker) line(line []byte) error {
	switch {
	case c.format == JSONL:
		return c.object(line)
	case bytes.HasPrefix(line, []byte("$DATASET ")):
		return c.begin(line)
	case bytes.HasPrefix(line, []byte(c.format.comment())), line[0] == '$':
		return nil
	case c.common:
		return fmt.Errorf("%q: stands before the first data set", line)
	case c.format == Removals:
		return c.removal(line)
	case c.format == Master:
		return c.master(line)
	case c.format == Plain:
		return c.name(line, listing.ClassOther)
	case c.format == IP4Set && string(line) == "!127.0.0.1":
		c.excluded = true
		return nil
	case c.format == IP4Set && line[0] == ':':
		var err error
		c.class, err = readValue(line)
		return err
	}
	name, value, own := bytes.Cut(line, []byte(" "))
	class := c.class
	if own {
		var err error
		if class, err = readValue(value); err != nil {
			return err
		}
	}
	return c.name(name, class)
}

// removal counts what left the list, in order.
func (c *checker) removal(line []byte) error {
	if c.names == len(c.list.Departed) || string(line) != c.list.Departed[c.names].line() {
		return fmt.Errorf("%q: not what left the list", line)
	}
	c.names++
	return nil
}

// readValue reads ":127.0.0.N:text".
func readValue(text []byte) (listing.Class, error) {
	code, words, ok := bytes.Cut(bytes.TrimPrefix(text, []byte(":")), []byte(":"))
	class, known := readCode(code)
	if !ok || !known || len(words) == 0 {
		return 0, fmt.Errorf("%q: want a code and a text", text)
	}
	return class, nil
}

func readCode(code []byte) (listing.Class, bool) {
	last, ok := bytes.CutPrefix(code, []byte("127.0.0."))
	class, isOctet := octet(last)
	return listing.Class(class), ok && isOctet
}

// name counts an address or a prefix.
func (c *checker) name(text []byte, class listing.Class) error {
	if addr, n, ok := parseOctets(text); ok && n == 4 { // by far the most
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], addr)
		return c.prefix(netip.PrefixFrom(netip.AddrFrom4(v4), 32), class)
	}
	p, err := netip.ParsePrefix(string(text))
	if addr, e := netip.ParseAddr(string(text)); e == nil {
		addr = addr.Unmap()
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return fmt.Errorf("%q: no address and no prefix", text)
	}
	return c.prefix(p, class)
}

// object reads a line of JSON lines, which begins as we write it.
func (c *checker) object(line []byte) error {
	var values [3][]byte
	rest, ok := line, json.Valid(line)
	for i, key := range []string{`{"prefix":"`, `,"class":"`, `,"code":"`} {
		if ok {
			rest, ok = bytes.CutPrefix(rest, []byte(key))
			values[i], rest, _ = bytes.Cut(rest, []byte(`"`))
		}
	}
	if !ok {
		return fmt.Errorf("%q: no listing", line)
	}
	class, known := readCode(values[2])
	if !known || class.String() != string(values[1]) {
		return fmt.Errorf("class %q and code %q: do not belong together", values[1], values[2])
	}
	return c.name(bytes.TrimSuffix(values[0], []byte("/32")), class) // of a host
}

func (c *checker) prefix(p netip.Prefix, class listing.Class) error {
	if !testNet.Overlaps(p) {
		c.add(p, class)
		return nil
	}
	if e, ok := c.zone.testPoint(c.list.Snapshot, p.Addr()); !ok || !p.IsSingleIP() || e.Class != class || c.format == Plain || c.format == JSONL {
		return fmt.Errorf("%s is listed, and must not be (RFC 5782 §5)", p)
	}
	c.test |= listing.ClassSetOf(class)
	c.tests++
	return nil
}

// master reads a line of a zone file: "owner A code", the owner relative to
// the origin, is a listing; "owner TTL IN A code", absolute, is a test point or
// a host; what follows under the same owner or is of another type is no listing.
func (c *checker) master(line []byte) error {
	owner, data, _ := bytes.Cut(line, []byte("\t"))
	if len(owner) == 0 {
		return nil
	}
	if code, ok := bytes.CutPrefix(data, []byte("A\t")); ok {
		class, known := readCode(code)
		p, isName := readOwner(owner)
		if !known || !isName {
			return fmt.Errorf("%q: no listing", line)
		}
		return c.prefix(p, class)
	}
	if _, code, ok := bytes.Cut(data, []byte("\tIN\tA\t")); ok {
		if kind, addr := c.zone.Parse(string(owner)); kind.IsAddress() {
			class, _ := readCode(code)
			return c.prefix(netip.PrefixFrom(addr, addr.BitLen()), class)
		}
	}
	return nil
}

// readOwner is the reverse of appendOwner, without the final dot: it reads
// the owner of a host or a wildcard, relative to the zone.
func readOwner(owner []byte) (netip.Prefix, bool) {
	known, wild := bytes.CutPrefix(owner, []byte("*."))
	if !wild {
		addr, ok := readRelative(nil, owner)
		return netip.PrefixFrom(addr, addr.BitLen()), ok
	}
	// Which family a wildcard is of shows when zeros complete it.
	n := bytes.Count(known, []byte(".")) + 1
	for _, family := range []struct{ labels, step int }{{4, 8}, {nibbles6, 4}} {
		if n >= family.labels {
			continue
		}
		addr, ok := readRelative(bytes.Repeat([]byte("\x010"), family.labels-n), known)
		if ok && addr.BitLen() == family.labels*family.step {
			return netip.PrefixFrom(addr, n*family.step), true
		}
	}
	return netip.Prefix{}, false
}

// readRelative reads labels in wire format and those of a name behind them.
func readRelative(before, owner []byte) (netip.Addr, bool) {
	var buf [maxWire]byte
	wire, ok := appendWire(append(buf[:0], before...), owner)
	if !ok {
		return netip.Addr{}, false
	}
	kind, addr := ParseLabels(wire)
	return addr, kind.IsAddress()
}
