package dnsd

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Sizes and flag bits of the wire format (RFC 1035 §4.1.1, RFC 6891 §6.1.2).
const (
	headerSize    = 12
	maxName       = 255
	maxLabel      = 63
	optionHead    = 4
	minUDP        = 512   // what every asker takes (RFC 1035 §4.2.1)
	maxUDP        = 1232  // what we send at most, and say that we take: fits every path unfragmented
	maxTCP        = 65535 // two octets of length (RFC 1035 §4.2.2)
	flagQR        = 1 << 15
	flagAA        = 1 << 10
	flagTC        = 1 << 9
	flagRD        = 1 << 8
	flagDO        = 1 << 15
	opcodeShift   = 11
	opcodeMask    = 0xF
	pointerMask   = 0xC0
	fixedRecord   = 10 // type, class, TTL, length: what follows the owner name
	fixedQuestion = 4  // type, class
)

// request is a question as it stands in a packet. Package dns is too lenient
// to read it with: it takes a header that announces a question and has none,
// forgets an OPT record that it could not read, and does not tell in which
// section it found one.
type request struct {
	id     uint16
	flags  uint16
	opcode int
	fault  int // rcode that the packet earns by its form alone, or dns.RcodeSuccess

	question []byte // the question section as asked, empty unless it is one whole question
	name     []byte // its name on the wire, without the root label
	qtype    uint16
	qclass   uint16

	edns edns

	packet    []byte
	signed    int   // where the TSIG record begins, which is the last; 0: there is none
	missigned bool  // there is one where none may be
	seal      *seal // signs the answer; nil: not signed

	// What the rules say of who asks, which [View.examine] finds out.
	cookies Cookies
	cookie  [cookieSize]byte // for the answer, unless cookies is NoCookie
	nsid    string           // for the answer
	access  *AccessRule      // nil: none
	limit   limit
}

// edns is what the OPT record of a request says. It was asked whenever an OPT
// record stands in the additional section, even one that earns an error.
type edns struct {
	asked   bool
	do      bool
	version uint8
	size    uint16
	count   int
	options []byte
	broken  bool   // an OPT record in the wrong place or with a name, or options that are malformed
	cookie  []byte // the data of the first COOKIE option
	nsid    bool   // the name server's identifier is asked for
}

// parse reads a packet. It reports false for what must not be answered at all:
// an answer, since two servers would never stop, and less than a header.
func parse(packet []byte) (q request, ok bool) {
	ok = q.read(packet)
	return q, ok
}

// read is parse into a request that is there already.
func (q *request) read(packet []byte) bool {
	*q = request{packet: packet}
	if len(packet) < headerSize {
		return false
	}
	q.id = binary.BigEndian.Uint16(packet[0:])
	q.flags = binary.BigEndian.Uint16(packet[2:])
	if q.flags&flagQR != 0 {
		return false
	}
	q.opcode = int(q.flags >> opcodeShift & opcodeMask)
	questions := int(binary.BigEndian.Uint16(packet[4:]))
	off, whole := q.readQuestions(packet, questions)
	if whole {
		whole = q.readRecords(packet, off)
	}
	if q.edns.asked && q.edns.version == 0 {
		q.edns.readOptions()
	}
	q.fault = q.judge(questions, whole)
	return true
}

// judge returns the rcode for the form of a request, in the order in which the
// RFCs let one error hide another.
func (q *request) judge(questions int, whole bool) int {
	switch {
	case q.opcode == dns.OpcodeNotify && whole && questions == 1 && !q.missigned && q.edns.count <= 1 && !q.edns.broken && q.edns.version == 0:
		return dns.RcodeSuccess
	case q.opcode != dns.OpcodeQuery: // RFC 8906 §3.1.4: known by the header alone
		return dns.RcodeNotImplemented
	case !whole:
		return dns.RcodeFormatError
	case questions != 1 && !q.asksForCookie(questions): // RFC 9619 §4
		return dns.RcodeFormatError
	case q.missigned: // RFC 8945 §5.1
		return dns.RcodeFormatError
	case q.edns.count > 1 || q.edns.broken: // RFC 6891 §6.1.1, §6.1.2
		return dns.RcodeFormatError
	case q.edns.version > 0: // RFC 6891 §6.1.3
		return dns.RcodeBadVers
	}
	return dns.RcodeSuccess
}

// readQuestions walks the question section and remembers the question when it
// is the only one. It returns where the section ends.
func (q *request) readQuestions(packet []byte, count int) (int, bool) {
	off := headerSize
	for range count {
		end, ok := skipName(packet, off, false)
		if !ok || len(packet)-end < fixedQuestion {
			return 0, false
		}
		off = end + fixedQuestion
	}
	if count == 1 {
		end := off - fixedQuestion
		q.question = packet[headerSize:off]
		q.name = packet[headerSize : end-1]
		q.qtype = binary.BigEndian.Uint16(packet[end:])
		q.qclass = binary.BigEndian.Uint16(packet[end+2:])
	}
	return off, true
}

// owner returns the name that was asked, as package dns writes it.
func (q *request) owner() string {
	name, _, err := dns.UnpackDomainName(q.question, 0)
	if err != nil {
		return "." // cannot be: the name was walked before
	}
	return name
}

// readRecords walks the three sections of records, looking only at OPT and TSIG.
// What follows the last record is ignored, as BIND and NSD do.
func (q *request) readRecords(packet []byte, off int) bool {
	for section := range 3 {
		records := int(binary.BigEndian.Uint16(packet[6+2*section:]))
		for n := range records {
			end, ok := skipName(packet, off, true)
			if !ok || len(packet)-end < fixedRecord {
				return false
			}
			fixed := packet[end : end+fixedRecord]
			length := int(binary.BigEndian.Uint16(fixed[8:]))
			data := end + fixedRecord
			if len(packet)-data < length {
				return false
			}
			switch binary.BigEndian.Uint16(fixed) {
			case dns.TypeOPT:
				q.edns.read(fixed, packet[data:data+length], packet[off] == 0, section == 2)
			case dns.TypeTSIG:
				q.signed = off
				q.missigned = q.missigned || section < 2 || n < records-1
			}
			off = data + length
		}
	}
	return true
}

// read takes in one OPT record: its fixed part, its options, whether its owner
// is the root, and whether it stands in the additional section.
func (e *edns) read(fixed, options []byte, root, additional bool) {
	e.broken = e.broken || !root || !additional // RFC 6891 §6.1.1, §6.1.2
	if !additional {
		return
	}
	e.count++
	if e.asked {
		return
	}
	e.asked = true
	e.size = binary.BigEndian.Uint16(fixed[2:])
	e.version = fixed[5] // after the extended rcode, which means nothing in a request
	e.do = binary.BigEndian.Uint16(fixed[6:])&flagDO != 0
	e.options = options
}

// readOptions looks through the options. Every one must lie within the record;
// beyond that, those that we do not know are ignored.
func (e *edns) readOptions() {
	for rest := e.options; len(rest) > 0; {
		if len(rest) < optionHead {
			e.broken = true
			return
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if len(rest)-optionHead < length {
			e.broken = true
			return
		}
		switch data := rest[optionHead : optionHead+length]; binary.BigEndian.Uint16(rest) {
		case dns.EDNS0COOKIE:
			if !wellFormedCookie(data) {
				e.broken = true
				return
			}
			if e.cookie == nil { // of several only the first counts (RFC 7873 §5.2)
				e.cookie = data
			}
		case dns.EDNS0NSID:
			e.nsid = true
		}
		rest = rest[optionHead+length:]
	}
}

// skipName returns where the name at off ends. Compressed names are allowed
// only where a name can have stood before (RFC 1035 §4.1.4), so not in the
// question; where a pointer leads is not followed, as we read none of those names.
func skipName(packet []byte, off int, compressed bool) (int, bool) {
	start := off
	for off < len(packet) {
		length := int(packet[off])
		switch {
		case length == 0:
			return off + 1, off+1-start <= maxName
		case length&pointerMask == pointerMask:
			return off + 2, compressed && len(packet)-off >= 2
		case length > maxLabel: // RFC 6891 §5: extended label types are gone
			return 0, false
		}
		off += 1 + length
	}
	return 0, false
}

// room returns how long the answer may be, before it is signed.
func (q *request) room(over Transport) int {
	if q.seal != nil {
		return q.most(over) - q.seal.size()
	}
	return q.most(over)
}

func (q *request) most(over Transport) int {
	switch {
	case over == TCP:
		return maxTCP
	case !q.edns.asked:
		return minUDP
	}
	return max(minUDP, min(int(q.edns.size), maxUDP)) // RFC 6891 §6.2.3
}
