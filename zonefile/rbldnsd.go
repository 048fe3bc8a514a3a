package zonefile

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// lifetime is how long after its stamp rbldnsd serves a file. Behind that it
// answers SERVFAIL, so it is generous.
const lifetime = "+2d"

// zoneHeader writes what is said once of a zone.
func (w *writer) zoneHeader() {
	soa := w.Zone.SOA(w.Snapshot.Sequence())
	bare := func(name string) string { return strings.TrimSuffix(name, ".") }
	w.special("$SOA", soa.Hdr.Ttl, bare(soa.Ns), bare(soa.Mbox), soa.Serial, soa.Refresh, soa.Retry, soa.Expire, soa.Minttl)
	names := []any{seconds(ttlNS, 0)}
	for _, ns := range w.Zone.NS {
		names = append(names, bare(dns.Fqdn(ns)))
	}
	w.special("$NS", names...)
	w.special("$TIMESTAMP", stampAt(w.Snapshot, w.Now).UTC().Format("2006:01:02:15:04:05"), lifetime)
}

// setHeader writes what each data set says. Each has its own $TTL: rbldnsd
// takes 2100 s for a second one that has none.
func (w *writer) setHeader() {
	w.special("$TTL", w.Zone.TTLSeconds())
	if w.Zone.URL != "" {
		w.text("$1 " + w.Zone.URL)
	}
}

func (w *writer) special(keyword string, values ...any) {
	w.line = append(w.line, keyword...)
	for _, v := range values {
		w.line = append(w.line, ' ')
		switch v := v.(type) {
		case uint32:
			w.line = appendUint(w.line, v)
		case string:
			w.line = append(w.line, v...)
		}
	}
	w.put()
}

// stampAt is the snapshot's time, moved on by whole days towards now.
func stampAt(s *listing.Snapshot, now time.Time) time.Time {
	made := s.Time()
	return made.Add(max(0, now.Sub(made)).Truncate(24 * time.Hour))
}

// groupKey is what the words of a text depend on: entries that share it share
// a default line.
type groupKey struct {
	class   listing.Class
	mixed   bool
	summary listing.Summary
}

func keyOf(e listing.Entry) groupKey {
	k := groupKey{class: e.Class, mixed: isMixed(e), summary: e.Summary}
	if e.Class == listing.ClassManual {
		k.summary.Events, k.summary.Last = 0, 0
	} else {
		k.summary.Since = 0
	}
	return k
}

func (k groupKey) compare(o groupKey) int {
	mixed := func(k groupKey) int {
		if k.mixed {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(k.class, o.class), cmp.Compare(mixed(k), mixed(o)),
		cmp.Compare(k.summary.Until, o.summary.Until), cmp.Compare(k.summary.Last, o.summary.Last),
		cmp.Compare(k.summary.Since, o.summary.Since), cmp.Compare(k.summary.Events, o.summary.Events))
}

// group is the IPv4 hosts that one default line stands for.
type group struct {
	key    groupKey
	entry  listing.Entry // one of them
	pieces [][]uint32    // in order; each of its own, so that growing copies nothing
	last   []uint32      // that is not full, and comes behind the pieces
}

// pieceHosts is how many hosts a piece has at most: so little is left over in the
// last one, of groups of which there may be thousands.
const pieceHosts = 1 << 12

// spare is the pieces that hold nothing any more: what one part of a file leaves, the
// next fills. Of millions of hosts there is so one copy at a time.
type spare struct{ free [][]uint32 }

// piece returns one for so many hosts at least, which is empty.
func (s *spare) piece(n int) []uint32 {
	last := len(s.free) - 1
	if n < pieceHosts || last < 0 {
		return make([]uint32, 0, min(n, pieceHosts))
	}
	piece := s.free[last]
	s.free = s.free[:last]
	return piece
}

// take takes back what a group has.
func (s *spare) take(g *group) {
	for _, piece := range append(g.pieces, g.last) {
		if cap(piece) == pieceHosts {
			s.free = append(s.free, piece[:0])
		}
	}
	g.pieces, g.last = nil, nil
}

// grow makes room for another host.
func (g *group) grow(from *spare) {
	if len(g.last) > 0 {
		g.pieces = append(g.pieces, g.last)
	}
	g.last = from.piece(max(2*cap(g.last), 16))
}

// ip4setBody writes IPv4 for rbldnsd. Hosts stand as bare addresses, since some
// consumers keep a line only if the whole of it is an address; so they are
// grouped under default lines, in which rbldnsd puts the address for '$'. Four
// bytes for each are all the memory that this takes. A prefix has its own text,
// which names the prefix as our own answers do.
type ip4setBody struct {
	*writer

	whole  bool // a file of its own, and not a part of one
	groups map[groupKey]*group
	told   []*group // by the number of what hosts tell
	nets   []listing.Entry
	widest int
}

func (b *ip4setBody) begin() {
	b.groups = map[groupKey]*group{}
	b.widest = all4.Addr().BitLen()
}

func (b *ip4setBody) entry(e listing.Entry) bool {
	if !e.Prefix.Addr().Is4() {
		return true
	}
	b.nets, b.widest = append(b.nets, e), min(b.widest, e.Prefix.Bits())
	return true
}

func (b *ip4setBody) hosts(some []listing.Host, told []carried) bool {
	if b.told == nil {
		b.told = make([]*group, len(told))
	}
	for _, h := range some {
		g := b.told[h.Told]
		if g == nil {
			g = b.group(told[h.Told].entry)
			b.told[h.Told] = g
		}
		if len(g.last) == cap(g.last) {
			g.grow(b.spare)
		}
		n := len(g.last)
		g.last = g.last[:n+1]
		g.last[n] = h.Addr
	}
	return true
}

// group returns the group of an entry.
func (b *ip4setBody) group(e listing.Entry) *group {
	key := keyOf(e)
	g := b.groups[key]
	if g == nil {
		g = &group{key: key, entry: e}
		b.groups[key] = g
	}
	return g
}

func (b *ip4setBody) end() {
	if b.whole {
		b.zoneHeader()
		b.maxRange(b.widest)
	}
	b.setHeader()
	b.text("!127.0.0.1") // RFC 5782 §5, whatever else is written here
	for _, e := range b.Zone.testPoints(b.Snapshot) {
		b.defaultLine(e)
		b.line = e.Prefix.Addr().AppendTo(b.line)
		b.put()
	}
	for _, g := range slices.SortedFunc(maps.Values(b.groups), func(x, y *group) int { return x.key.compare(y.key) }) {
		b.defaultLine(g.entry)
		if !b.lines(g) {
			return
		}
		b.spare.take(g)
	}
	for _, e := range b.nets {
		b.stats.Entries++
		b.ownLine(e)
	}
	b.groups, b.told = nil, nil
}

// maxRange bounds what an address can mean: a file that was cut off within one
// lists no /16 (rbldnsd reads "198.51" as one).
func (w *writer) maxRange(widest int) {
	w.text("$MAXRANGE4 /" + string(appendUint(nil, uint32(widest))))
}

// linesAtOnce is how many bytes of hosts are handed on at once, or a few more.
const linesAtOnce = 1 << 18

// lines writes a line for each host of a group.
func (b *ip4setBody) lines(g *group) bool {
	for _, piece := range append(g.pieces, g.last) {
		b.line = appendHosts(b.line, piece)
		b.stats.Entries += len(piece)
		if len(b.line) >= linesAtOnce && !b.putLines() {
			return false
		}
	}
	return b.putLines()
}

// appendHosts appends a line for each host. What is stored too much of an octet the
// next one covers.
func appendHosts(dst []byte, hosts []uint32) []byte {
	n := len(dst)
	dst = slices.Grow(dst, len(hosts)*hostLine+4)[:n+len(hosts)*hostLine+4]
	for _, host := range hosts {
		line := (*[hostLine + 4]byte)(dst[n:])
		a, b, c, d := &octets[host>>24], &octets[host>>16&255], &octets[host>>8&255], &octets[host&255]
		binary.LittleEndian.PutUint32(line[:], a.text)
		end := a.size
		binary.LittleEndian.PutUint32(line[end&15:], b.text)
		end += b.size
		binary.LittleEndian.PutUint32(line[end&15:], c.text)
		end += c.size
		binary.LittleEndian.PutUint32(line[end&15:], d.text)
		end += d.size
		line[(end-1)&15] = '\n'
		n += end
	}
	return dst[:n]
}

// octets are the octets as they stand in a line, with a dot behind.
var octets = func() (all [256]octetText) {
	for i := range all {
		text := append(strconv.AppendUint(nil, uint64(i), 10), '.')
		all[i] = octetText{binary.LittleEndian.Uint32(append(text, 0, 0)), len(text)}
	}
	return all
}()

type octetText struct {
	text uint32 // four bytes, the lowest first
	size int    // of which so many count
}

// defaultLine writes the code and the text of the bare addresses that follow.
func (w *writer) defaultLine(e listing.Entry) {
	w.appendValue(e)
	w.line = appendWords(append(w.line, '$'), e)
	w.put()
}

// ownLine writes an entry with a text of its own: '$' would be the address
// that was asked, and the text of an entry is one for all its addresses.
func (w *writer) ownLine(e listing.Entry) bool {
	w.line = append(e.Prefix.AppendTo(w.line), ' ')
	w.appendValue(e)
	w.line = appendSubject(w.line, e.Prefix)
	w.line = appendWords(w.line, e)
	return w.put()
}

func (w *writer) appendValue(e listing.Entry) {
	w.line = append(w.line, ':')
	w.line = Code(e.Class).AppendTo(w.line)
	w.line = append(w.line, ':')
	if w.Zone.URL != "" {
		w.line = append(w.line, "$1"...)
	}
}

// ip6trieBody writes IPv6 for rbldnsd. Each line has a text of its own: an IPv6
// entry is always a prefix, and '$' would tell the address that was asked.
type ip6trieBody struct {
	*writer

	whole bool // as in ip4setBody
}

func (b *ip6trieBody) begin() {
	if b.whole {
		b.zoneHeader()
	}
	b.setHeader()
	for _, e := range b.Zone.testPoints(b.Snapshot) {
		// RFC 5782 §5: ::ffff:7f00:2. In a zone that has IPv4 data too rbldnsd
		// answers from that, with the same text.
		v4 := e.Prefix.Addr().As4()
		b.line = fmt.Appendf(b.line, "::ffff:%x:%x ", binary.BigEndian.Uint16(v4[:2]), binary.BigEndian.Uint16(v4[2:]))
		b.appendValue(e)
		b.line = appendSubject(b.line, e.Prefix)
		b.line = appendWords(b.line, e)
		b.put()
	}
}

func (b *ip6trieBody) entry(e listing.Entry) bool {
	if e.Prefix.Addr().Is4() {
		return true
	}
	b.stats.Entries++
	return b.ownLine(e)
}

func (b *ip6trieBody) end() {}

// section is a data set of a combined file: one family of the zone, or of a
// sub-zone that carries one class alone.
type section struct {
	zone   *Zone
	format Format
	name   string // of the sub-zone, relative
}

// line is how the section begins (rbldnsd(8), "combined Dataset").
func (s section) line() string {
	name := s.name
	if name == "@" {
		name = "all"
	}
	return fmt.Sprintf("$DATASET %s:%s %s", s.format, name, s.name)
}

// sections are the parts of a zone's file in the format; a file that has none
// is one section of itself.
func sections(f Format, z *Zone) []section {
	if f != Combined {
		return []section{{zone: z, format: f}}
	}
	out := []section{{z, IP4Set, "@"}, {z, IP6Trie, "@"}}
	for _, class := range listing.Classes {
		if z.Classes.Has(class) {
			sub := z.only(class)
			out = append(out, section{sub, IP4Set, class.String()}, section{sub, IP6Trie, class.String()})
		}
	}
	return out
}

// only is the sub-zone of one class.
func (z *Zone) only(class listing.Class) *Zone {
	sub := *z
	sub.Name, sub.Classes = class.String()+"."+z.Name, listing.ClassSetOf(class)
	return &sub
}

// combinedBody writes a file of sections. They stand one after the other, so
// each walks over the snapshot by itself: the other way is to keep all of them.
type combinedBody struct {
	*writer

	widest int
}

func (b *combinedBody) begin() {
	b.zoneHeader()
	b.widest = all4.Addr().BitLen()
}

func (b *combinedBody) entry(e listing.Entry) bool {
	if e.Prefix.Addr().Is4() {
		b.widest = min(b.widest, e.Prefix.Bits())
	}
	return true
}

func (b *combinedBody) end() {
	b.maxRange(b.widest) // for all sections: a later one could only make it smaller
	for _, s := range sections(Combined, b.Zone) {
		b.text(s.line())
		part := &writer{List: b.List, buf: b.buf, format: s.format, spare: b.spare}
		part.Zone = s.zone
		if s.format == IP4Set {
			part.body = &ip4setBody{writer: part}
		} else {
			part.body = &ip6trieBody{writer: part}
		}
		part.begin()
		part.walkInto([]*writer{part})
		part.end()
		b.stats.Bytes += part.stats.Bytes
		if s.name == "@" {
			b.stats.Entries += part.stats.Entries
		}
	}
}
