package zonefile

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"backscatter/listing"
)

// Format is a kind of file that the list is written as.
type Format string

// The formats. The files of a directory are called by the zone and the format:
// bl.example.ip4set.
const (
	IP4Set  Format = "ip4set"  // rbldnsd, IPv4
	IP6Trie Format = "ip6trie" // rbldnsd, IPv6
	Master  Format = "zone"    // RFC 1035 §5: BIND, NSD, Knot, PowerDNS, Unbound
	Plain   Format = "txt"     // one address or prefix a line
)

// Formats lists every format that can be written.
var Formats = []Format{IP4Set, IP6Trie, Master, Plain}

// ParseFormat returns the format with the given name.
func ParseFormat(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", fmt.Errorf("format %q: want one of ip4set, ip6trie, zone, txt", name)
}

// File returns the name of a zone's file in the format.
func (f Format) File(z *Zone) string { return strings.TrimSuffix(z.Name, ".") + "." + string(f) }

// comment is how a line of the format begins that says nothing.
func (f Format) comment() string {
	if f == Master {
		return "; "
	}
	return "# "
}

// Stats counts what was written.
type Stats struct {
	Entries int   // entries of the list, test points not counted
	Bytes   int64 // size of the file
}

// Write writes the zone as a file of the given format. The bytes follow from
// the zone's settings and the snapshot alone. rbldnsd's formats are stamped
// with the snapshot's time and expire two days later; for a list that may be
// older than that see [WriteAt].
func Write(w io.Writer, f Format, z *Zone, s *listing.Snapshot) (Stats, error) {
	return WriteAt(w, f, z, s, s.Time())
}

// WriteAt writes as Write does, for use at the given time: the stamp of
// rbldnsd's formats is moved on from the snapshot's time by whole days, so that
// a list that did not change does not expire, and the bytes stay the same for
// a day.
func WriteAt(w io.Writer, f Format, z *Zone, s *listing.Snapshot, now time.Time) (Stats, error) {
	body, ok := map[Format]func(*writer){
		IP4Set: (*writer).ip4set, IP6Trie: (*writer).ip6trie, Master: (*writer).master, Plain: (*writer).plain,
	}[f]
	if !ok {
		return Stats{}, fmt.Errorf("write format %q: not known", f)
	}
	out := &writer{buf: bufio.NewWriterSize(w, 1<<16), zone: z, snapshot: s, format: f, now: now}
	out.linef("%s %s: hosts that send backscatter, %s", strings.TrimSuffix(z.Name, "."), f, useNote)
	out.linef("serial=%d time=%s", s.Serial(), stamp(s.Time()))
	if at := s.Decommissioned(); !at.IsZero() {
		out.linef("decommissioned=%s: the list has ended and is empty", stamp(at))
	}
	body(out)
	out.linef("END serial=%d entries=%d", s.Serial(), out.stats.Entries)
	if err := out.flush(); err != nil {
		return out.stats, fmt.Errorf("write %s: %w", f.File(z), err)
	}
	return out.stats, nil
}

const useNote = "for use on mail with a null sender (MAIL FROM:<>) only"

// writer writes one file. An error of the underlying writer stays in buf, and
// the first of our own in err; both end the walk over the entries.
type writer struct {
	buf      *bufio.Writer
	zone     *Zone
	snapshot *listing.Snapshot
	format   Format
	now      time.Time
	stats    Stats
	line     []byte // reused
	err      error
}

// put writes a line and forgets it; it reports whether to go on.
func (w *writer) put() bool {
	w.line = append(w.line, '\n')
	n, err := w.buf.Write(w.line)
	w.stats.Bytes += int64(n)
	w.line = w.line[:0]
	return err == nil && w.err == nil
}

// linef writes a comment.
func (w *writer) linef(format string, args ...any) {
	w.text(w.format.comment() + fmt.Sprintf(format, args...))
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

// all4 and all6 are what the formats of one family hold.
var (
	all4 = netip.MustParsePrefix("0.0.0.0/0")
	all6 = netip.MustParsePrefix("::/0")
)

// entries walks over what the zone carries within p, as it shows it.
func (w *writer) entries(p netip.Prefix, yield func(listing.Entry) bool) {
	for e := range w.snapshot.Within(p) {
		if e, ok := w.zone.carry(e); ok && !yield(e) {
			return
		}
	}
}

// plain writes addresses and prefixes, without the test points: a firewall
// that blocked them would be none the better.
func (w *writer) plain() {
	each := func(e listing.Entry) bool {
		w.stats.Entries++
		w.line = appendSubject(w.line, e.Prefix)
		return w.put()
	}
	w.entries(all4, each)
	w.entries(all6, each)
}
