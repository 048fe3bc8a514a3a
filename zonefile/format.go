package zonefile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"backscatter/listing"
)

// Format is a kind of file that a list is in.
type Format string

// The formats. The files of a directory are called by the zone and the format:
// bl.example.ip4set.
const (
	IP4Set   Format = "ip4set"   // rbldnsd, IPv4
	IP6Trie  Format = "ip6trie"  // rbldnsd, IPv6
	Combined Format = "combined" // rbldnsd, both, with a sub-zone for each class
	Master   Format = "zone"     // RFC 1035 §5: BIND, NSD, Knot, PowerDNS, Unbound
	Plain    Format = "txt"      // one address or prefix a line
	JSONL    Format = "jsonl"    // one listing a line, as a JSON object
	Removals Format = "removals" // what left the list lately, and when
)

// Formats lists every format that can be written.
var Formats = []Format{IP4Set, IP6Trie, Combined, Master, Plain, JSONL, Removals}

// ParseFormat returns the format with the given name.
func ParseFormat(name string) (Format, error) { return parseFormat(name, Formats) }

func parseFormat(name string, known []Format) (Format, error) {
	if f := Format(name); slices.Contains(known, f) {
		return f, nil
	}
	return "", fmt.Errorf("format %q: want one of %s", name, FormatNames(known))
}

// FormatNames lists the names of formats: a, b, c.
func FormatNames(formats []Format) string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}

// File returns the name of a zone's file in the format.
func (f Format) File(z *Zone) string { return z.bare() + "." + string(f) }

// comment is how a line of the format begins that says nothing; empty when no
// line can say nothing.
func (f Format) comment() string {
	switch f {
	case Master:
		return "; "
	case JSONL:
		return ""
	}
	return "# "
}

// Stats counts what was written.
type Stats struct {
	Entries int   // entries of the list, test points not counted
	Bytes   int64 // size of the file
}

// List is what files are made of.
type List struct {
	Zone     *Zone
	Snapshot *listing.Snapshot
	// Now is the time of use: the stamp of rbldnsd's formats is moved on towards
	// it from the snapshot's time by whole days, so that a list that did not
	// change does not expire, and the bytes stay the same for a day.
	Now      time.Time
	Departed []Departure // for [Removals]; see [Departures]
}

// Write writes the zone as a file of the given format. The bytes follow from
// the zone's settings and the snapshot alone. rbldnsd's formats are stamped
// with the snapshot's time and expire two days later; for a list that may be
// older than that see [List].
func Write(w io.Writer, f Format, z *Zone, s *listing.Snapshot) (Stats, error) {
	return List{Zone: z, Snapshot: s, Now: s.Time()}.Write(w, f)
}

// Write writes a file of the given format.
func (l List) Write(w io.Writer, f Format) (Stats, error) {
	stats, err := l.WriteAll(Output{Format: f, To: w})
	if err != nil {
		return Stats{}, err
	}
	return stats[0], nil
}

// Output is a file to write.
type Output struct {
	Format Format
	To     io.Writer
}

// WriteAll writes several files in one walk over the snapshot.
func (l List) WriteAll(outputs ...Output) ([]Stats, error) {
	writers := make([]*writer, len(outputs))
	free := &spare{}
	for i, o := range outputs {
		w := &writer{List: l, buf: bufio.NewWriterSize(o.To, 1<<16), format: o.Format, spare: free}
		newBody, ok := bodies[o.Format]
		if !ok {
			return nil, fmt.Errorf("write format %q: not known", o.Format)
		}
		w.body = newBody(w)
		writers[i] = w
	}
	for _, w := range writers {
		w.linef("%s %s: hosts that send backscatter, %s", l.Zone.bare(), w.format, useNote)
		w.linef("serial=%d time=%s", l.Snapshot.Serial(), stamp(l.Snapshot.Time()))
		if at := l.Snapshot.Decommissioned(); !at.IsZero() {
			w.linef("decommissioned=%s: the list has ended", stamp(at))
		}
		w.begin()
	}
	l.walkInto(writers)
	stats := make([]Stats, len(writers))
	for i, w := range writers {
		w.end()
		w.linef("END serial=%d entries=%d", l.Snapshot.Serial(), w.stats.Entries)
		if err := w.flush(); err != nil {
			return nil, fmt.Errorf("write %s: %w", w.format.File(l.Zone), err)
		}
		stats[i] = w.stats
	}
	return stats, nil
}

// walkInto hands the writers what the zone carries. When one of them fails, all is
// for nothing, and it ends.
func (l List) walkInto(writers []*writer) {
	l.walk(func(some []listing.Host, told []carried) bool {
		for _, w := range writers {
			if !w.body.hosts(some, told) {
				return false
			}
		}
		return true
	}, func(e listing.Entry) bool {
		for _, w := range writers {
			if !w.entry(e) {
				return false
			}
		}
		return true
	})
}

// all4 is what the formats of IPv4 hold.
var all4 = netip.MustParsePrefix("0.0.0.0/0")

func hostPrefix(host uint32) netip.Prefix {
	var v4 [4]byte
	binary.BigEndian.PutUint32(v4[:], host)
	return netip.PrefixFrom(netip.AddrFrom4(v4), 32)
}

const useNote = "for use on mail with a null sender (MAIL FROM:<>) only"

// body is what makes one format of the entries. Its hosts, which takes IPv4 hosts as
// they are walked over, and its entry report whether to go on.
type body interface {
	begin()
	hosts(some []listing.Host, told []carried) bool
	entry(e listing.Entry) bool
	end()
}

var bodies = map[Format]func(*writer) body{
	IP4Set:   func(w *writer) body { return &ip4setBody{writer: w, whole: true} },
	IP6Trie:  func(w *writer) body { return &ip6trieBody{writer: w, whole: true} },
	Combined: func(w *writer) body { return &combinedBody{writer: w} },
	Master:   func(w *writer) body { return masterBody{writer: w} },
	Plain:    func(w *writer) body { return lineBody{writer: w, appendEntry: appendPlain} },
	JSONL:    func(w *writer) body { return lineBody{writer: w, appendEntry: appendJSON} },
	Removals: func(w *writer) body { return removalsBody{writer: w} },
}

// writer writes one file. An error of the underlying writer stays in buf, and
// the first of our own in err; both end the walk over the entries.
type writer struct {
	List
	body

	buf    *bufio.Writer
	format Format
	stats  Stats
	line   []byte // reused
	spare  *spare // of all files that are written together
	err    error
}

// hosts hands hosts on as any other entries, for the bodies that make no difference.
func (w *writer) hosts(some []listing.Host, told []carried) bool {
	for _, h := range some {
		e := told[h.Told].entry
		e.Prefix = hostPrefix(h.Addr)
		if !w.entry(e) {
			return false
		}
	}
	return true
}

// put writes a line and forgets it; it reports whether to go on.
func (w *writer) put() bool {
	w.line = append(w.line, '\n')
	return w.putLines()
}

// putLines does the same for lines that are whole.
func (w *writer) putLines() bool {
	n, err := w.buf.Write(w.line)
	w.stats.Bytes += int64(n)
	w.line = w.line[:0]
	return err == nil && w.err == nil
}

// linef writes a comment, where the format has any.
func (w *writer) linef(format string, args ...any) {
	if sign := w.format.comment(); sign != "" {
		w.text(sign + fmt.Sprintf(format, args...))
	}
}

func (w *writer) text(line string) {
	w.line = append(w.line, line...)
	w.put()
}

func (w *writer) flush() error {
	if w.err != nil {
		return w.err
	}
	return w.buf.Flush()
}

// lineBody writes one line for each entry, and no test points: a firewall that
// blocked them would be none the better.
type lineBody struct {
	*writer

	appendEntry func([]byte, listing.Entry) []byte
}

func (b lineBody) begin() {}
func (b lineBody) end()   {}

func (b lineBody) entry(e listing.Entry) bool {
	b.stats.Entries++
	b.line = b.appendEntry(b.line, e)
	return b.put()
}

func appendPlain(dst []byte, e listing.Entry) []byte { return appendSubject(dst, e.Prefix) }

// appendJSON appends a [jsonEntry]. Nothing in it needs an escape.
func appendJSON(dst []byte, e listing.Entry) []byte {
	dst = e.Prefix.AppendTo(append(dst, `{"prefix":"`...))
	dst = append(append(dst, `","class":"`...), e.Class.String()...)
	dst = Code(e.Class).AppendTo(append(dst, `","code":"`...))
	if e.Summary.Since != 0 {
		dst = appendDate(append(dst, `","since":"`...), e.Summary.Since)
	}
	if e.Summary.Until != 0 {
		dst = appendDate(append(dst, `","until":"`...), e.Summary.Until)
	}
	dst = appendDeed(append(dst, `","reason":"`...), e)
	return append(dst, `"}`...)
}

// jsonEntry is a line of [JSONL].
type jsonEntry struct {
	Prefix string `json:"prefix"`
	Class  string `json:"class"`
	Code   string `json:"code"`
	Since  string `json:"since"`  // a day in UTC
	Until  string `json:"until"`  // likewise; missing when permanent
	Reason string `json:"reason"` // as the text record tells it
}
