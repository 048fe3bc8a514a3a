package zonefile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// testNet belongs to the test points of RFC 5782 §5. No listing inside it is
// ever visible: what it answers is fixed.
var testNet = netip.MustParsePrefix("127.0.0.0/24")

// Lookup returns the published entry that addr (IPv4, mapped, or IPv6) is
// listed under in this zone, test points included. Its Class is the one that
// this zone answers with: the heaviest of those that it carries. Lookup does
// not allocate.
func (z *Zone) Lookup(s *listing.Snapshot, addr netip.Addr) (listing.Entry, bool) {
	addr = addr.Unmap()
	if testNet.Contains(addr) {
		return z.testPoint(s, addr)
	}
	e, ok := s.Lookup(addr)
	if !ok {
		return listing.Entry{}, false
	}
	return z.carry(e)
}

// carry returns the entry as this zone shows it, if it does.
func (z *Zone) carry(e listing.Entry) (listing.Entry, bool) {
	class := e.ClassIn(z.Classes)
	if class == listing.ClassOther || testNet.Overlaps(e.Prefix) {
		return listing.Entry{}, false
	}
	e.Class = class
	return e, true
}

// testPoint answers for 127.0.0.0/24: 127.0.0.2 and the address of each code
// in use are listed, 127.0.0.1 is not (RFC 5782 §5). In a list that has ended none
// is, by which those who look know it (RFC 6471 §3.4).
func (z *Zone) testPoint(s *listing.Snapshot, addr netip.Addr) (listing.Entry, bool) {
	if !s.Decommissioned().IsZero() {
		return listing.Entry{}, false
	}
	class := listing.Class(addr.As4()[3])
	if class != listing.ClassBounce && !(z.Classes & listing.AllClasses).Has(class) {
		return listing.Entry{}, false
	}
	return listing.Entry{
		Prefix:  netip.PrefixFrom(addr, addr.BitLen()),
		Classes: listing.ClassSetOf(class),
		Class:   class,
	}, true
}

// testPoints returns the entries of all test points, sorted.
func (z *Zone) testPoints(s *listing.Snapshot) []listing.Entry {
	var points []listing.Entry
	for last := range 256 {
		if e, ok := z.testPoint(s, netip.AddrFrom4([4]byte{127, 0, 0, byte(last)})); ok {
			points = append(points, e)
		}
	}
	return points
}

func isTestPoint(e listing.Entry) bool { return testNet.Overlaps(e.Prefix) }

// Code returns the address that a class answers with, RFC 5782 §2.1.
func Code(class listing.Class) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(class)}) }

// Text returns what the TXT record of an entry says: one string of at most 255
// bytes of printable ASCII, the URL at its front. The entry is one that
// [Zone.Lookup] returned, and all addresses of it have the same text.
func (z *Zone) Text(e listing.Entry) string { return string(z.AppendText(nil, e)) }

// AppendText appends what [Zone.Text] returns. It does not allocate if dst has
// room for 255 bytes.
func (z *Zone) AppendText(dst []byte, e listing.Entry) []byte {
	start := len(dst)
	dst = append(dst, z.URL...)
	dst = appendSubject(dst, e.Prefix)
	dst = appendWords(dst, e)
	// Validate makes sure that this cuts nothing.
	return dst[:min(len(dst), start+maxText)]
}

// appendSubject appends what the text is about: an IPv4 host as its address,
// all else as a prefix.
func appendSubject(dst []byte, p netip.Prefix) []byte {
	if p.Addr().Is4() && p.IsSingleIP() {
		return p.Addr().AppendTo(dst)
	}
	return p.AppendTo(dst)
}

// appendWords appends what follows the address: the same for all entries that
// share class and summary.
func appendWords(dst []byte, e listing.Entry) []byte {
	dst = append(dst, " backscatter: "...)
	if isTestPoint(e) {
		return append(dst, "test point, always listed (RFC 5782)"...)
	}
	dst = appendDeed(dst, e)
	if e.Summary.Until != 0 {
		dst = append(dst, "; expires "...)
		dst = appendDate(dst, e.Summary.Until)
	} else {
		dst = append(dst, "; permanent"...)
	}
	return append(dst, "; for use on MAIL FROM:<> only"...)
}

// appendDeed says what the listed party did, or that an operator listed it.
func appendDeed(dst []byte, e listing.Entry) []byte {
	if e.Class == listing.ClassManual {
		dst = append(dst, "listed by an operator"...)
		if e.Summary.Since != 0 {
			dst = append(dst, " on "...)
			dst = appendDate(dst, e.Summary.Since)
		}
		return dst
	}
	words := deeds[e.Class]
	mixed := isMixed(e)
	if mixed {
		words.one, words.many = "message", "messages"
	}
	switch n := e.Summary.Events; {
	case n == 1:
		dst = append(append(dst, "1 "...), words.one...)
		dst = append(dst, " to a forged sender"...)
	case n > 1:
		if n > 9 {
			dst = append(dst, "at least "...) // listing.RoundEvents rounds down
		}
		dst = append(strconv.AppendUint(dst, uint64(n), 10), ' ')
		fallthrough
	default:
		dst = append(append(dst, words.many...), " to forged senders"...)
	}
	if mixed {
		dst = append(append(append(dst, ", "...), words.among...), " among them"...)
	}
	if e.Summary.Last != 0 {
		dst = append(dst, ", last "...)
		dst = appendDate(dst, e.Summary.Last)
	}
	return dst
}

// isMixed reports whether the entry is about several classes. The count is of
// all together then, and must not be told as the count of one.
func isMixed(e listing.Entry) bool {
	return e.Class != listing.ClassManual && e.Classes&^listing.ClassSetOf(e.Class, listing.ClassManual) != 0
}

// deeds names what each class sent: one, many, and many among others.
var deeds = [...]struct{ one, many, among string }{
	listing.ClassBounce:    {"bounce", "bounces", "bounces"},
	listing.ClassNotice:    {"virus or spam notice", "virus or spam notices", "notices"},
	listing.ClassAutoreply: {"auto-reply", "auto-replies", "auto-replies"},
	listing.ClassChallenge: {"challenge", "challenges", "challenges"},
	listing.ClassCallout:   {"callout", "callouts", "callouts"},
	listing.ClassManual:    {},
}

func appendDate(dst []byte, d listing.Date) []byte { return d.Time().AppendFormat(dst, time.DateOnly) }

// SOA returns the zone's SOA record at the given sequence. Its TTL and its
// MINIMUM are both the negative TTL, so that their lesser, which negative
// answers are kept for (RFC 2308 §5), is always the one configured.
func (z *Zone) SOA(sequence uint64) *dns.SOA {
	return &dns.SOA{
		Hdr:     z.header(z.Name, dns.TypeSOA, z.NegativeSeconds()),
		Ns:      dns.Fqdn(z.NS[0]),
		Mbox:    dns.Fqdn(z.Hostmaster),
		Serial:  listing.SerialOf(sequence),
		Refresh: seconds(z.Refresh, DefaultRefresh),
		Retry:   seconds(z.Retry, DefaultRetry),
		Expire:  seconds(z.Expire, DefaultExpire),
		Minttl:  z.NegativeSeconds(),
	}
}

// NSRecords returns the NS records of the apex.
func (z *Zone) NSRecords() []dns.RR {
	rrs := make([]dns.RR, 0, len(z.NS))
	for _, ns := range z.NS {
		rrs = append(rrs, &dns.NS{Hdr: z.header(z.Name, dns.TypeNS, seconds(ttlNS, 0)), Ns: dns.Fqdn(ns)})
	}
	return rrs
}

// ApexRecords returns the A, AAAA and TXT records of the apex: those that are
// configured, and for a list that has ended one that says so.
func (z *Zone) ApexRecords(s *listing.Snapshot) []dns.RR {
	rrs := z.addressRecords(z.Name, z.Addresses)
	texts := z.Texts
	if at := s.Decommissioned(); !at.IsZero() {
		texts = append(slices.Clone(texts), endedText(at))
	}
	for _, t := range texts {
		rrs = append(rrs, &dns.TXT{Hdr: z.header(z.Name, dns.TypeTXT, z.TTLSeconds()), Txt: []string{escape(t)}})
	}
	return rrs
}

func endedText(at time.Time) string {
	return "This list ended on " + at.UTC().Format(time.DateOnly) +
		". It is empty, its test entries too. Please take it out of your configuration (RFC 6471 section 3.4)."
}

// A returns the A record of an entry that [Zone.Lookup] returned, under the
// given owner name.
func (z *Zone) A(owner string, e listing.Entry) *dns.A {
	return &dns.A{Hdr: z.header(owner, dns.TypeA, z.TTLSeconds()), A: Code(e.Class).AsSlice()}
}

// TXT returns the TXT record of an entry that [Zone.Lookup] returned, under
// the given owner name.
func (z *Zone) TXT(owner string, e listing.Entry) *dns.TXT {
	return &dns.TXT{Hdr: z.header(owner, dns.TypeTXT, z.TTLSeconds()), Txt: []string{z.Text(e)}}
}

func (z *Zone) header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// escape writes a text as miekg/dns and master files want it (RFC 1035 §5.1).
func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// StatusOwner returns the name that tells the state of the zone.
func (z *Zone) StatusOwner() string { return statusLabel + "." + z.Name }

// Status returns the strings of the TXT record of _status: serial, time and
// number of entries of the whole list, which every copy of the zone has, and
// then time and age of the newest evidence, which only the live server knows.
// They let any monitor measure a mirror with dig. A mirror of ours tells instead
// when what it has was made, and how old that is.
func (z *Zone) Status(s *listing.Snapshot, now time.Time) []string {
	told := z.statusCopied(s)
	if !z.Copied.IsZero() {
		return append(told, "mirror="+stamp(z.Copied), fmt.Sprintf("age=%d", max(0, now.Sub(z.Copied))/time.Second))
	}
	newest := s.NewestEvidence()
	if newest.IsZero() {
		return append(told, "evidence=none")
	}
	age := max(0, now.Sub(newest).Truncate(time.Second))
	return append(told, "evidence="+stamp(newest), fmt.Sprintf("age=%d", age/time.Second))
}

// statusCopied is the part of the status that follows from the serial, so that
// transfers and files can carry it.
func (z *Zone) statusCopied(s *listing.Snapshot) []string {
	told := statusWords(s.Serial(), s.Time(), cmp.Or(z.Whole, s.Len()))
	if at := s.Decommissioned(); !at.IsZero() {
		told = append(told, "decommissioned="+stamp(at))
	}
	return told
}

func statusWords(serial uint32, published time.Time, entries int) []string {
	return []string{fmt.Sprintf("serial=%d", serial), "time=" + stamp(published), fmt.Sprintf("entries=%d", entries)}
}

// StatusTXT returns the record that transfers and files carry for _status.
func (z *Zone) StatusTXT(s *listing.Snapshot) *dns.TXT {
	return &dns.TXT{Hdr: z.header(z.StatusOwner(), dns.TypeTXT, z.TTLSeconds()), Txt: z.statusCopied(s)}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
