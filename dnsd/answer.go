package dnsd

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

const (
	// leastTTL is what the TTL of a listing that ends soon is never cut below:
	// it would only be asked for again and again.
	leastTTL = 30
	// statusTTL is short, as _status tells an age.
	statusTTL = 30
	// limitedTTL is that of what is answered because of who asks, which may change
	// any moment.
	limitedTTL = 60
)

// Transport is how a packet came.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP
)

// String returns the transport's name.
func (t Transport) String() string { return transportNames[t] }

var transportNames = [...]string{UDP: "udp", TCP: "tcp"}

// View is all that an answer depends on beside the packet and its transport.
type View struct {
	Zones    *zonefile.Set
	Snapshot *listing.Snapshot
	Version  string     // for CHAOS version.bind; empty: not told
	Hostname string     // for CHAOS hostname.bind; empty: not told
	Now      time.Time  // to the second is enough
	Rules    *Rules     // nil: there are none
	Client   netip.Addr // who asks; not valid: not known, and no rule is about him

	Secondaries *Secondaries // nil: nothing is shared
}

// Verdict says what became of a packet, for those who count.
type Verdict struct {
	Kind      Kind
	Type      uint16 // as asked; 0 when the packet has no whole question
	Rcode     int
	Truncated bool
	Cookies   Cookies
	Class     listing.Class // of Listed: the one that is answered
	Err       error         // why the answer is SERVFAIL, if it is for a reason of ours

	reason int // of Dropped
}

// Answer appends to dst the message that answers a packet, or nothing when the
// packet must not be answered ([Dropped]). It is the whole of the protocol and a
// pure function: it changes nothing, waits for nothing, and reads no clock.
func Answer(dst, packet []byte, over Transport, v View) ([]byte, Verdict) {
	q, ok := parse(packet)
	if !ok {
		return dst, Verdict{Kind: Dropped}
	}
	v.examine(&q)
	return v.respond(dst, &q, over)
}

// respond appends the message that answers a request which was examined and, if
// there are limits, weighed.
func (v *View) respond(dst []byte, q *request, over Transport) ([]byte, Verdict) {
	verdict := Verdict{Type: q.qtype, Cookies: q.cookies}
	r := v.resolve(q, over)
	verdict.Kind, verdict.Rcode, verdict.Class = r.kind, r.rcode, r.class
	if r.kind == Dropped {
		verdict.reason = r.reason
		return dst, verdict
	}
	r.spare(q, over)
	q.spareSeal(over)
	out, truncated, err := r.append(dst, q, q.room(over))
	if err != nil {
		r = failure(Failed, dns.RcodeServerFailure, noError)
		verdict.Kind, verdict.Rcode, verdict.Class, verdict.Err = r.kind, r.rcode, r.class, err
		out, _, _ = r.append(dst, q, q.room(over)) // has no records, the only part that can fail
	}
	verdict.Truncated = truncated
	if q.seal != nil {
		out = q.seal.sign(out, len(dst), v.seconds())
	}
	return out, verdict
}

// resolve decides what to answer, as far as the rules let it be answered.
func (v *View) resolve(q *request, over Transport) reply {
	switch q.limit {
	case dropped:
		return reply{kind: Dropped, reason: overRate}
	case slipped:
		return reply{kind: Limited, truncated: true, extended: noError}
	}
	r := v.decide(q, over)
	if q.access == nil || r.always {
		return r
	}
	switch {
	case q.access.Action == Ignore:
		return reply{kind: Dropped, reason: ignored}
	case q.access.Action == Refuse && r.authoritative:
		return failure(Denied, dns.RcodeRefused, int(dns.ExtendedErrorCodeProhibited))
	}
	return r
}

// decide finds the answer.
func (v *View) decide(q *request, over Transport) reply {
	switch {
	case q.fault == dns.RcodeNotImplemented:
		return failure(NotImplemented, q.fault, int(dns.ExtendedErrorCodeNotSupported))
	case q.fault == dns.RcodeBadVers:
		return failure(BadVersion, q.fault, noError)
	case q.fault == dns.RcodeNotAuth: // RFC 8945 §5.2
		return failure(Refused, q.fault, noError)
	case q.fault != dns.RcodeSuccess:
		return failure(Malformed, q.fault, noError)
	case q.opcode == dns.OpcodeNotify:
		return v.notified(q)
	case q.wantsCookie(over, v.Rules):
		return failure(Cookie, dns.RcodeBadCookie, noError)
	case len(q.question) == 0:
		return aboutCookie(q)
	case q.qclass == dns.ClassCHAOS:
		return v.chaos(q)
	case q.qclass != dns.ClassINET:
		return failure(Refused, dns.RcodeRefused, int(dns.ExtendedErrorCodeNotAuthoritative))
	case q.qtype == dns.TypeAXFR && over == UDP: // RFC 5936 §4.2 defines none
		return failure(NotImplemented, dns.RcodeNotImplemented, int(dns.ExtendedErrorCodeNotSupported))
	case !v.ready():
		return failure(Failed, dns.RcodeServerFailure, int(dns.ExtendedErrorCodeNotReady))
	}
	zone, cut := v.Zones.FindWire(q.name)
	if zone == nil {
		return failure(Refused, dns.RcodeRefused, int(dns.ExtendedErrorCodeNotAuthoritative))
	}
	a := answerer{
		View: v, q: q, over: over, zone: zone,
		reply: reply{
			authoritative: true,
			extended:      noError,
			// Found there in whatever case it was asked, so that an answer is no
			// longer for a resolver that mixes case.
			names: map[string]int{zone.Name: headerSize + cut},
		},
	}
	a.inZone(zonefile.ParseLabels(q.name[:cut]))
	return a.reply
}

// ready reports whether there is anything to answer from.
func (v *View) ready() bool { return v.Zones != nil && v.Snapshot != nil }

// chaos tells who we are, if that is configured (RFC 4892 §2).
func (v *View) chaos(q *request) reply {
	text := ""
	if q.qtype == dns.TypeTXT || q.qtype == dns.TypeANY {
		switch name := string(bytes.ToLower(q.name)); name {
		case "\x07version\x04bind", "\x07version\x06server":
			text = v.Version
		case "\x08hostname\x04bind", "\x02id\x06server":
			text = v.Hostname
		}
	}
	if text == "" {
		return failure(Refused, dns.RcodeRefused, noError)
	}
	owner := q.owner()
	text = strings.ReplaceAll(text[:min(len(text), 255)], `\`, `\\`) // package dns unescapes it
	return reply{
		kind: Chaos, authoritative: true, extended: noError,
		names: map[string]int{owner: headerSize},
		answer: []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS},
			Txt: []string{text},
		}},
	}
}

// answerer makes the reply for a name in one of our zones.
type answerer struct {
	*View
	reply

	q    *request
	over Transport
	zone *zonefile.Zone
}

func (a *answerer) inZone(kind zonefile.Kind, addr netip.Addr) {
	if a.q.qtype == dns.TypeAXFR || a.q.qtype == dns.TypeIXFR {
		a.transfer(kind)
		return
	}
	switch {
	case kind == zonefile.Apex:
		a.apex()
	case kind == zonefile.Status:
		a.status()
	case kind.IsAddress() && a.denied(addr):
		a.deny(kind)
	case kind.IsAddress():
		a.always = testPoints.Contains(addr)
		if e, ok := a.zone.Lookup(a.Snapshot, addr); ok {
			a.listed(addr, e)
			return
		}
		a.kind = Unlisted
		a.negative(kind.Exists())
	case kind == zonefile.Partial:
		a.kind = Partial
		a.negative(true)
	default:
		a.host()
	}
}

// host answers for the name of a name server that lies in the zone or below the
// name, as may another zone, or denies what is no name at all.
func (a *answerer) host() {
	owner := a.q.owner()
	records := a.zone.HostRecords(owner)
	if len(records) == 0 {
		a.kind = NoAddress
		below := a.Zones.HasBelow(a.q.name)
		if below {
			a.kind = Partial
		}
		a.negative(below)
		return
	}
	a.kind, a.always = Apex, true // counted with the zone's own names
	for _, rr := range records {
		if a.wants(rr.Header().Rrtype, dns.TypeA) {
			rr.Header().Name = a.owner() // in the case that was asked
			a.answer = append(a.answer, rr)
		}
	}
	if len(a.answer) == 0 {
		a.negative(true)
	}
}

// transfer answers what asks for the zone as a whole. Over UDP an incremental
// transfer is answered with the SOA alone, which makes the secondary come back
// over TCP if its serial is older (RFC 1995 §2).
func (a *answerer) transfer(kind zonefile.Kind) {
	switch {
	case kind != zonefile.Apex:
		a.reply = failure(Refused, dns.RcodeRefused, int(dns.ExtendedErrorCodeNotAuthoritative))
	case a.over == UDP:
		a.kind = Transfer
		a.answer = []dns.RR{a.zone.SOA(a.Snapshot.Sequence())}
	default:
		a.reply = failure(Refused, dns.RcodeRefused, int(dns.ExtendedErrorCodeProhibited))
	}
}

// apex answers for the zone's own name.
func (a *answerer) apex() {
	a.kind, a.always = Apex, true
	records := append([]dns.RR{a.zone.SOA(a.Snapshot.Sequence())}, a.zone.NSRecords()...)
	records = append(records, a.zone.ApexRecords(a.Snapshot)...)
	for _, rr := range records {
		if a.wants(rr.Header().Rrtype, dns.TypeSOA) {
			a.answer = append(a.answer, rr)
		}
	}
	switch {
	case len(a.answer) == 0:
		a.negative(true)
	case a.q.qtype == dns.TypeNS:
		a.glue(records)
	}
}

// glue adds the addresses of the name servers whose names lie in the zone
// (RFC 1035 §3.3.11).
func (a *answerer) glue(records []dns.RR) {
	for _, ns := range a.zone.NS {
		if !strings.EqualFold(dns.Fqdn(ns), a.zone.Name) {
			a.additional = append(a.additional, a.zone.HostRecords(ns)...)
			continue
		}
		for _, rr := range records {
			if t := rr.Header().Rrtype; t == dns.TypeA || t == dns.TypeAAAA {
				a.additional = append(a.additional, rr)
			}
		}
	}
}

// status answers for _status with the serial and the age of the evidence.
func (a *answerer) status() {
	a.kind = Status
	if !a.wants(dns.TypeTXT, dns.TypeTXT) {
		a.negative(true)
		return
	}
	a.answer = []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: a.owner(), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: statusTTL},
		Txt: a.zone.Status(a.Snapshot, a.Now),
	}}
}

// listed answers for an address that is listed under an entry.
func (a *answerer) listed(addr netip.Addr, e listing.Entry) {
	a.kind, a.class = Listed, e.Class
	withA, withTXT := a.wants(dns.TypeA, dns.TypeA), a.wants(dns.TypeTXT, dns.TypeA)
	if !withA && !withTXT {
		a.negative(true)
		return
	}
	owner := a.owner()
	if withA {
		a.answer = append(a.answer, a.zone.A(owner, e))
	}
	if withTXT {
		a.answer = append(a.answer, a.zone.TXT(owner, e))
	}
	for _, rr := range a.answer {
		rr.Header().Ttl = a.ttl(a.zone, addr)
	}
}

// ttl returns the TTL of a listed address: the zone's, or less if the listing
// ends soon, so that it does not live on in caches.
func (v *View) ttl(zone *zonefile.Zone, addr netip.Addr) uint32 {
	ttl := zone.TTLSeconds()
	until, ends := v.Snapshot.Until(addr)
	if !ends {
		return ttl
	}
	return uint32(min(time.Duration(ttl), max(leastTTL, until.Sub(v.Now)/time.Second)))
}

// negative answers that the name has no such record, or that it does not exist.
// The SOA tells how long that may be kept (RFC 2308 §5): the lesser of its TTL
// and its last field, which zonefile makes the same.
func (a *answerer) negative(exists bool) {
	if !exists {
		a.rcode = dns.RcodeNameError
	}
	a.authority = []dns.RR{a.zone.SOA(a.Snapshot.Sequence())}
}

// wants reports whether records of a type are asked for. To a question for any
// type one RRset is an answer (RFC 8482 §4.1), and over UDP, where the asker
// may be forged, it is all that is told (§4.4); TCP gets all.
func (a *answerer) wants(rrtype, one uint16) bool {
	if a.q.qtype != dns.TypeANY {
		return a.q.qtype == rrtype
	}
	return a.over == TCP || rrtype == one
}

// owner returns the name that was asked, and tells the packer where it stands.
func (a *answerer) owner() string {
	owner := a.q.owner()
	a.names[owner] = headerSize
	return owner
}
