package dnsd

import (
	"encoding/binary"
	"errors"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

const (
	// envelopeSize is where a message of a transfer ends. What is packed in one
	// can then be pointed to by all that follows in it (RFC 1035 §4.1.4).
	envelopeSize = 16 << 10
	// mostCompared is how many bytes of the journal are read for one incremental
	// transfer: some two hundred thousand changes, and 60 MB of memory while they
	// are added up. Who is further behind takes the whole zone.
	mostCompared = 4 << 20
)

// TransferKind is what a request for a zone was answered with.
type TransferKind uint8

// The kinds of transfers.
const (
	Whole       TransferKind = iota // all of the zone, as was asked (AXFR)
	Incremental                     // what changed (IXFR)
	WholeAfter                      // all of the zone, in place of what changed (RFC 1995 §4)
	Current                         // nothing has changed (RFC 1995 §2)
	transferKinds
)

var transferKindNames = [transferKinds]string{"axfr", "ixfr", "ixfr_whole", "ixfr_current"}

// String returns the kind's name.
func (k TransferKind) String() string { return transferKindNames[k] }

// transfer is a zone, or what changed in it, on its way to a secondary. It is made
// from one snapshot, of which nothing is kept in memory for it.
type transfer struct {
	q      request
	view   View
	zone   *zonefile.Zone
	serial uint32 // that the secondary has
	kind   TransferKind
	change listing.Comparison // of an incremental one

	bytes   int64
	records int
}

// transferOf returns the transfer that a request asks for, if who asks may have
// it. Nil leaves the request to those who answer all others.
func (v *View) transferOf(q *request) *transfer {
	if q.opcode != dns.OpcodeQuery || q.fault != dns.RcodeSuccess || q.qclass != dns.ClassINET || q.qtype != dns.TypeAXFR && q.qtype != dns.TypeIXFR || !v.ready() {
		return nil
	}
	zone, cut := v.Zones.FindWire(q.name)
	if zone == nil || cut != 0 {
		return nil
	}
	var signed *key
	if q.seal != nil {
		signed = q.seal.key
	}
	if !v.Secondaries.allows(zone, v.Client, signed) {
		return nil
	}
	t := &transfer{q: *q, view: *v, zone: zone}
	if q.qtype == dns.TypeIXFR {
		serial, ok := heldSerial(q.packet)
		if !ok {
			return nil
		}
		t.serial, t.kind = serial, Incremental
	}
	return t
}

// heldSerial returns the serial that who asks for an incremental transfer has:
// that of the SOA in the authority section (RFC 1995 §3).
func heldSerial(packet []byte) (uint32, bool) {
	m := new(dns.Msg)
	if m.Unpack(packet) != nil || len(m.Ns) != 1 {
		return 0, false
	}
	soa, ok := m.Ns[0].(*dns.SOA)
	if !ok {
		return 0, false
	}
	return soa.Serial, true
}

// compare finds out what an incremental transfer consists of.
func (t *transfer) compare(compare func(from, to uint64, most int) (listing.Comparison, error)) error {
	to := t.view.Snapshot.Sequence()
	// Also who has more than we do gets the SOA, and then does as it thinks best.
	if order, ok := listing.CompareSerial(t.serial, listing.SerialOf(to)); ok && order >= 0 {
		t.kind = Current
		return nil
	}
	t.kind = WholeAfter
	from, ok := listing.SequenceOf(t.serial, to)
	if !ok || compare == nil || !t.view.Snapshot.Decommissioned().IsZero() {
		return nil
	}
	change, err := compare(from, to, mostCompared)
	if errors.Is(err, listing.ErrCut) || errors.Is(err, listing.ErrLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(change.Removed)+len(change.Added) <= t.view.Snapshot.Len() {
		t.kind, t.change = Incremental, change
	}
	return nil
}

// send hands the messages of the transfer to who writes them, one after the
// other, until all are or one could not be.
func (t *transfer) send(now func() time.Time, write func([]byte) error) error {
	e := envelope{transfer: t, now: now, write: write}
	e.begin()
	soa := func(sequence uint64) { e.record(t.zone.SOA(sequence)) }
	to := t.view.Snapshot.Sequence()
	switch t.kind {
	case Current:
		soa(to)
	case Incremental:
		soa(to)
		soa(t.change.From)
		e.changed(t.zone.FormerStatusTXT(t.change.From, t.change.Before, t.formerly()), t.change.Removed, t.change.Added)
		soa(to)
		e.changed(t.zone.StatusTXT(t.view.Snapshot), t.change.Added, t.change.Removed)
		soa(to)
	default:
		for _, rr := range t.zone.Head(t.view.Snapshot) {
			e.record(rr)
		}
		for entry := range t.view.Snapshot.All() {
			if entry, ok := t.zone.Carry(entry); ok && !e.entry(entry) {
				break
			}
		}
		soa(to)
	}
	e.flush()
	return e.err
}

// formerly is how many entries the list had.
func (t *transfer) formerly() int {
	return t.view.Snapshot.Len() - len(t.change.Added) + len(t.change.Removed)
}

// envelope packs records into messages. After an error it does nothing.
type envelope struct {
	*transfer

	now   func() time.Time
	write func([]byte) error
	err   error

	buf     []byte // a message behind its length
	room    int    // where the records of a message must end
	answers uint16
	names   map[string]int
	owner   ownerName
	text    []byte
}

// begin starts a message. Each repeats the question, so that every name can
// point to it (RFC 5936 §2.2.1 allows both).
func (e *envelope) begin() {
	if e.buf == nil {
		e.buf = make([]byte, lengthSize, lengthSize+maxTCP)
		e.room = lengthSize + envelopeSize - e.q.optSize()
		if e.q.seal != nil {
			e.room -= e.q.seal.size()
		}
	}
	e.buf = appendHeader(e.buf[:lengthSize], &e.q, &reply{authoritative: true, extended: noError}, false)
	e.buf = append(e.buf, e.q.question...)
	e.names = map[string]int{e.zone.Name: headerSize}
	e.owner.labels = 0
	e.answers = 0
}

// record adds any record.
func (e *envelope) record(rr dns.RR) {
	if e.err != nil {
		return
	}
	start := len(e.buf)
	out, err := appendRecord(e.buf, lengthSize, rr, e.names)
	if err != nil {
		e.err = err
		return
	}
	if len(out) > e.room && e.answers > 0 {
		e.buf = e.buf[:start]
		e.flush()
		e.begin()
		e.record(rr)
		return
	}
	e.buf = out
	e.answers++
	e.records++
}

// changed adds what an incremental transfer takes away or brings: a record of
// the zone's state, and the entries of a list, both sorted, that are not in the
// other as well, as this zone shows them.
func (e *envelope) changed(status dns.RR, list, other []listing.Entry) {
	e.record(status)
	for _, entry := range list {
		shown, ok := e.zone.Carry(entry)
		for len(other) > 0 && listing.ComparePrefix(other[0].Prefix, entry.Prefix) < 0 {
			other = other[1:]
		}
		if ok && len(other) > 0 && other[0].Prefix == entry.Prefix {
			opposite, also := e.zone.Carry(other[0])
			ok = !also || opposite.Class != shown.Class || e.zone.Text(opposite) != e.zone.Text(shown)
		}
		if ok && !e.entry(shown) {
			return
		}
	}
}

// entry adds the records of an entry, and reports whether to go on.
func (e *envelope) entry(entry listing.Entry) bool {
	if e.err != nil {
		return false
	}
	code, ttl := zonefile.Code(entry.Class).As4(), e.zone.TTLSeconds()
	e.text = e.zone.AppendText(e.text[:0], entry)
	for piece := range zonefile.Pieces(entry.Prefix) {
		if len(e.buf)+maxName+aSize+txtMost > e.room {
			if e.flush(); e.err != nil {
				return false
			}
			e.begin()
		}
		at := e.owner.next(piece, len(e.buf)-lengthSize)
		e.buf = appendFixed(append(e.buf, e.owner.fresh...), e.owner.pointer, dns.TypeA, ttl, len(code))
		e.buf = append(e.buf, code[:]...)
		e.buf = appendFixed(e.buf, at, dns.TypeTXT, ttl, 1+len(e.text))
		e.buf = append(append(e.buf, byte(len(e.text))), e.text...)
		e.answers += 2
		e.records += 2
	}
	return true
}

// appendFixed writes the end of a name, as a pointer, and what stands between it
// and the data of a record.
func appendFixed(dst []byte, pointer int, rrtype uint16, ttl uint32, length int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(pointerMask<<8|pointer))
	dst = binary.BigEndian.AppendUint16(dst, rrtype)
	dst = binary.BigEndian.AppendUint16(dst, dns.ClassINET)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// flush ends the message and hands it on.
func (e *envelope) flush() {
	if e.err != nil {
		return
	}
	binary.BigEndian.PutUint16(e.buf[lengthSize+6:], e.answers)
	if e.q.edns.asked { // its header has counted it
		e.buf = appendOPT(e.buf, &e.q, dns.RcodeSuccess, noError, "")
	}
	if e.q.seal != nil {
		e.buf = e.q.seal.sign(e.buf, lengthSize, uint64(e.now().Unix()))
	}
	binary.BigEndian.PutUint16(e.buf, uint16(len(e.buf)-lengthSize))
	e.bytes += int64(len(e.buf))
	e.err = e.write(e.buf)
}
