package zonefile

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// lifetime is how long after its stamp rbldnsd serves a file. Behind that it
// answers SERVFAIL, so it is generous.
const lifetime = "+2d"

// rbldnsdHeader writes the specials that both formats begin with. Each file has
// its own $TTL: rbldnsd takes 2100 s for a second dataset that has none.
func (w *writer) rbldnsdHeader() {
	soa := w.zone.SOA(w.snapshot.Sequence())
	bare := func(name string) string { return strings.TrimSuffix(name, ".") }
	w.special("$SOA", soa.Hdr.Ttl, bare(soa.Ns), bare(soa.Mbox), soa.Serial, soa.Refresh, soa.Retry, soa.Expire, soa.Minttl)
	names := []any{seconds(ttlNS, 0)}
	for _, ns := range w.zone.NS {
		names = append(names, bare(dns.Fqdn(ns)))
	}
	w.special("$NS", names...)
	w.special("$TTL", w.zone.TTLSeconds())
	w.special("$TIMESTAMP", stampAt(w.snapshot, w.now).UTC().Format("2006:01:02:15:04:05"), lifetime)
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
	key   groupKey
	entry listing.Entry // one of them
	count int
	next  int // where its next host goes
}

// ip4set writes IPv4 for rbldnsd. Hosts stand as bare addresses, since some
// consumers keep a line only if the whole of it is an address; so they are
// grouped under default lines, in which rbldnsd puts the address for '$'. A
// prefix has its own text, which names the prefix as our own answers do.
func (w *writer) ip4set() {
	groups, nets, widest := w.groups()
	w.rbldnsdHeader()
	// A file that was cut off within an address lists no /16 (rbldnsd reads
	// "198.51" as one).
	w.text("$MAXRANGE4 /" + string(appendUint(nil, uint32(widest))))
	if w.zone.URL != "" {
		w.text("$1 " + w.zone.URL)
	}
	w.text("!127.0.0.1") // RFC 5782 §5, whatever else is written here
	for _, e := range w.zone.testPoints(w.snapshot) {
		w.defaultLine(e)
		w.line = e.Prefix.Addr().AppendTo(w.line)
		w.put()
	}
	hosts := w.hosts(groups)
	for _, g := range groups {
		w.defaultLine(g.entry)
		for _, host := range hosts[g.next-g.count : g.next] {
			w.stats.Entries++
			w.line = appendHost(w.line, host)
			if !w.put() {
				return
			}
		}
	}
	for _, e := range nets {
		w.stats.Entries++
		w.ownLine(e)
	}
}

// groups counts the hosts of each group, and collects the few entries that are
// wider than a host.
func (w *writer) groups() (groups []*group, nets []listing.Entry, widest int) {
	byKey := map[groupKey]*group{}
	widest = all4.Addr().BitLen()
	w.entries(all4, func(e listing.Entry) bool {
		if !e.Prefix.IsSingleIP() {
			nets, widest = append(nets, e), min(widest, e.Prefix.Bits())
			return true
		}
		key := keyOf(e)
		g, ok := byKey[key]
		if !ok {
			g = &group{key: key, entry: e}
			byKey[key] = g
			groups = append(groups, g)
		}
		g.count++
		return true
	})
	slices.SortFunc(groups, func(a, b *group) int { return a.key.compare(b.key) })
	at := 0
	for _, g := range groups {
		g.next = at
		at += g.count
	}
	return groups, nets, widest
}

// hosts returns all hosts, those of each group together and in order: four
// bytes each are all the memory that the export takes.
func (w *writer) hosts(groups []*group) []uint32 {
	total := 0
	byKey := make(map[groupKey]*group, len(groups))
	for _, g := range groups {
		byKey[g.key] = g
		total += g.count
	}
	hosts := make([]uint32, total)
	w.entries(all4, func(e listing.Entry) bool {
		if e.Prefix.IsSingleIP() {
			g := byKey[keyOf(e)]
			v4 := e.Prefix.Addr().As4()
			hosts[g.next] = binary.BigEndian.Uint32(v4[:])
			g.next++
		}
		return true
	})
	return hosts
}

func appendHost(dst []byte, host uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		dst = append(appendUint(dst, host>>shift&0xff), '.')
	}
	return dst[:len(dst)-1]
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
	if w.zone.URL != "" {
		w.line = append(w.line, "$1"...)
	}
}

// ip6trie writes IPv6 for rbldnsd. Each line has a text of its own: an IPv6
// entry is always a prefix, and '$' would tell the address that was asked.
func (w *writer) ip6trie() {
	w.rbldnsdHeader()
	if w.zone.URL != "" {
		w.text("$1 " + w.zone.URL)
	}
	for _, e := range w.zone.testPoints(w.snapshot) {
		// RFC 5782 §5: ::ffff:7f00:2. In a zone that has IPv4 data too rbldnsd
		// answers from that, with the same text.
		v4 := e.Prefix.Addr().As4()
		w.line = fmt.Appendf(w.line, "::ffff:%x:%x ", binary.BigEndian.Uint16(v4[:2]), binary.BigEndian.Uint16(v4[2:]))
		w.appendValue(e)
		w.line = appendSubject(w.line, e.Prefix)
		w.line = appendWords(w.line, e)
		w.put()
	}
	w.entries(all6, func(e listing.Entry) bool {
		w.stats.Entries++
		return w.ownLine(e)
	})
}
