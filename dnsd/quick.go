package dnsd

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

const (
	optSize   = 11                    // an OPT record without options (RFC 6891 §6.1.2)
	aSize     = 2 + fixedRecord + 4   // an A record under a compressed name
	txtMost   = 2 + fixedRecord + 256 // a TXT record of one string
	udpBuffer = 4096 + 64             // room for a question; those of a batch do not share lines of the processor's cache
)

// worker answers what comes in over UDP, in batches. It belongs to one
// goroutine. What resolvers really send it answers in the very buffer that the
// question came in, without memory of its own; all else it leaves to [Answer].
type worker struct {
	server  *Server
	counts  *tally
	local   netip.AddrPort // where it listens
	view    View           // of the batch; without zones and snapshot until the first packet
	asked   request
	loaded  bool
	account account
	pending pending
	probe   probe
	library library
	scratch []byte
}

func (s *Server) worker(f family) *worker {
	return &worker{server: s, counts: s.metrics.tally(UDP, f), scratch: make([]byte, 0, maxUDP)}
}

// done ends a batch: what was counted is told, and who waits for questions must not
// keep a snapshot alive.
func (w *worker) done() {
	w.pending.tell(w.counts)
	w.account.tell(w.server.limiter)
	w.view, w.loaded = View{}, false
}

// datagram is a packet and who sent it.
type datagram struct {
	packet []byte
	client netip.AddrPort
}

// handle answers one packet, come what may, and returns the answer, which may
// stand in the packet's own buffer. The next one, if there is one, is only looked at.
func (w *worker) handle(d, next datagram) (out []byte) {
	packet, client := d.packet, d.client
	defer func() {
		if p := recover(); p != nil {
			out = w.keep(packet, w.server.rescue(w.scratch[:0], packet, UDP, w.counts, p))
		}
	}()
	if !w.loaded {
		w.view, w.loaded = w.server.view(), true
		w.probe.look(&w.server.streams)
	}
	w.expect(next)
	w.view.Client = client.Addr()
	q := &w.asked
	if !q.read(packet) {
		w.counts.count(Verdict{Kind: Dropped})
		return nil
	}
	if w.probe.on {
		w.probe.begin(packet, client, w.local)
	}
	w.server.admit(q, UDP, &w.view, &w.account)
	out, verdict, ok := w.quick(packet, q)
	if ok {
		w.pending.count(w.counts, verdict)
		if watch := w.server.watch.Load(); watch != nil {
			watch.see(q, &w.view, verdict)
		}
	} else {
		out, verdict = w.server.answer(w.scratch[:0], q, UDP, w.counts, &w.view)
		out = w.keep(packet, out)
	}
	if w.probe.on {
		w.probe.end(out, verdict)
	}
	return out
}

// expect has what the answer to a question is going to be read from brought near while
// another is answered: in a large list, waiting for it takes longer than all the rest.
func (w *worker) expect(d datagram) {
	end, ok := skipName(d.packet, headerSize, false)
	if !ok || !w.view.ready() {
		return
	}
	name := d.packet[headerSize : end-1]
	if r := w.view.Rules; r != nil && r.Rates.Same > 0 {
		l := w.server.limiter
		key := l.hashName(limitedClient(d.client.Addr()), name)
		prefetch(unsafe.Pointer(&l.rates.sets[key%counterSets]))
	}
	// The first four labels, wherever the zone begins.
	end = 0
	for labels := 0; labels < 4 && end < len(name); labels++ {
		end += 1 + int(name[end])
	}
	if _, addr := zonefile.ParseLabels(name[:end]); addr.Is4() {
		prefetch(unsafe.Pointer(w.view.Snapshot.Near(addr)))
	}
}

// keep moves an answer from the scratch, which the next one needs.
func (w *worker) keep(packet, answer []byte) []byte { return append(packet[:0], answer...) }

// quick answers a packet in its own buffer if it is one of the many. If not,
// it leaves the packet as it was.
func (w *worker) quick(packet []byte, q *request) ([]byte, Verdict, bool) {
	if q.fault != dns.RcodeSuccess || q.qclass != dns.ClassINET || !w.view.ready() ||
		q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR || !q.plain(w.view.Rules) {
		return nil, Verdict{}, false
	}
	zone, cut := w.view.Zones.FindWire(q.name)
	if zone == nil {
		return nil, Verdict{}, false
	}
	d := draft{out: packet[:headerSize+len(q.question)], room: q.room(UDP) - q.optSize(), asked: q}
	verdict := Verdict{Type: q.qtype, Cookies: q.cookies}
	var ok bool
	switch kind, addr := zonefile.ParseLabels(q.name[:cut]); {
	case kind == zonefile.Apex:
		verdict.Kind = Apex
		ok = w.shaped(&d, zone, 0, shapeOf(q.qtype))
	case kind == zonefile.Partial:
		verdict.Kind = Partial
		ok = w.shaped(&d, zone, cut, negativeShape)
	case kind.IsAddress():
		if e, listed := zone.Lookup(w.view.Snapshot, addr); listed {
			verdict.Kind, verdict.Class = Listed, e.Class
			ok = w.listed(&d, zone, cut, addr, e, q.qtype)
			break
		}
		verdict.Kind = Unlisted
		if !kind.Exists() {
			verdict.Rcode = dns.RcodeNameError
		}
		ok = w.shaped(&d, zone, cut, negativeShape)
	case kind == zonefile.None:
		ok = w.host(&d, zone, cut, &verdict)
	default: // _status, which tells an age
		return nil, Verdict{}, false
	}
	if !ok {
		return nil, Verdict{}, false
	}
	return d.finish(verdict.Rcode), verdict, true
}

// shaped answers with a shape of the zone.
func (w *worker) shaped(d *draft, zone *zonefile.Zone, cut, which int) bool {
	s, err := w.library.get(&w.view, zone, which)
	return err == nil && d.fill(s, cut)
}

// host answers for the name of a name server that lies in the zone, which
// resolvers ask for as often as its address has left their caches, and for what is
// no name at all: a list of addresses is often asked for domains.
func (w *worker) host(d *draft, zone *zonefile.Zone, cut int, verdict *Verdict) bool {
	s, known, err := w.library.host(&w.view, zone, d.asked.name, d.asked.qtype)
	switch {
	case err != nil:
		return false
	case s != nil:
		verdict.Kind = Apex
		return d.fill(s, 0) // its names point to the question's
	case known:
		verdict.Kind = Apex
	case w.view.Zones.HasBelow(d.asked.name):
		verdict.Kind = Partial
	default:
		verdict.Kind, verdict.Rcode = NoAddress, dns.RcodeNameError
	}
	return w.shaped(d, zone, cut, negativeShape)
}

// listed answers for an address that is listed.
func (w *worker) listed(d *draft, zone *zonefile.Zone, cut int, addr netip.Addr, e listing.Entry, qtype uint16) bool {
	switch qtype {
	case dns.TypeA, dns.TypeANY: // RFC 8482 §4.1
		if len(d.out)+aSize > d.room {
			return false
		}
		d.begin(dns.TypeA, w.view.ttl(zone, addr))
		code := zonefile.Code(e.Class).As4()
		d.out = append(append(d.out, 0, 4), code[:]...)
	case dns.TypeTXT:
		if len(d.out)+txtMost > d.room {
			return false
		}
		d.begin(dns.TypeTXT, w.view.ttl(zone, addr))
		length := len(d.out)
		d.out = zone.AppendText(append(d.out, 0, 0, 0), e)
		text := len(d.out) - length - 3
		binary.BigEndian.PutUint16(d.out[length:], uint16(text+1))
		d.out[length+2] = byte(text) // one string of 255 bytes at most (RFC 1035 §3.3)
	default:
		return w.shaped(d, zone, cut, negativeShape)
	}
	d.records = [3]uint16{1}
	return true
}

// draft is an answer that is being written over its question's packet.
type draft struct {
	out     []byte // the packet up to where the answer is written
	room    int    // how long it may be without an OPT record
	asked   *request
	records [3]uint16
}

// fill writes a shape for a name that has so many bytes more than the zone's.
func (d *draft) fill(s *shape, more int) bool {
	if !s.usable || len(d.out)+len(s.tail) > d.room {
		return false
	}
	d.records = s.records
	d.out = s.appendTo(d.out, more)
	return true
}

// begin writes a record for the name that was asked, up to the length of its data.
func (d *draft) begin(rrtype uint16, ttl uint32) {
	d.out = binary.BigEndian.AppendUint16(d.out, pointerMask<<8|headerSize)
	d.out = binary.BigEndian.AppendUint16(d.out, rrtype)
	d.out = binary.BigEndian.AppendUint16(d.out, dns.ClassINET)
	d.out = binary.BigEndian.AppendUint32(d.out, ttl)
}

// finish writes the OPT record and the header, of which the ID and the count of
// questions stay as they are. The flags are as appendHeader explains them.
func (d *draft) finish(rcode int) []byte {
	if d.asked.edns.asked {
		d.records[2]++
		d.out = appendOPT(d.out, d.asked, rcode, noError, "")
	}
	binary.BigEndian.PutUint16(d.out[2:], flagQR|flagAA|d.asked.flags&flagRD|uint16(rcode))
	for i, n := range d.records {
		binary.BigEndian.PutUint16(d.out[6+2*i:], n)
	}
	return d.out
}
