package dnsd

import (
	"encoding/binary"
	"fmt"
	"maps"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// noError in place of an extended error says that there is none; code 0 is one
// (RFC 8914 §4.1).
const noError = -1

// extendedSize is the data of an extended error without words (RFC 8914 §2).
const extendedSize = 2

// reply is an answer before it is put on the wire. It owns its records: the
// packer writes into them.
type reply struct {
	kind          Kind
	class         listing.Class // of Listed
	rcode         int
	reason        int  // of Dropped
	always        bool // whoever asks
	authoritative bool
	truncated     bool
	extended      int    // RFC 8914, or noError
	words         string // with it

	names      map[string]int // where the packet has names that the records repeat
	answer     []dns.RR
	authority  []dns.RR
	additional []dns.RR // may be left out without harm (RFC 2181 §9)
}

// failure is a reply that has nothing but an rcode.
func failure(kind Kind, rcode, extended int) reply {
	return reply{kind: kind, rcode: rcode, extended: extended}
}

// spare leaves the extended error out of a reply that tells nothing else and would
// be longer with it than its question, unless who asks is known to be himself: it
// would pay to ask in somebody's name, for nothing that he is owed (RFC 8914 §3).
func (r *reply) spare(q *request, over Transport) {
	if r.extended == noError || q.proven(over) || len(r.answer)+len(r.authority)+len(r.additional) > 0 {
		return
	}
	if headerSize+len(q.question)+q.optSize()+optionHead+extendedSize+len(r.words) > len(q.packet) {
		r.extended = noError
	}
}

// append puts the reply on the wire behind dst, in at most limit bytes. What
// can be spared goes first, the extended error before all (RFC 8914 §3); when
// that is not enough the sections go and TC is set (RFC 2181 §9).
func (r *reply) append(dst []byte, q *request, limit int) ([]byte, bool, error) {
	for {
		out, err := r.pack(dst, q, false)
		if err != nil {
			return dst, false, err
		}
		switch {
		case len(out)-len(dst) <= limit:
			return out, r.truncated, nil
		case r.extended != noError:
			r.extended = noError
		case len(r.additional) > 0:
			r.additional = nil
		default:
			r.answer, r.authority = nil, nil
			out, err := r.pack(dst, q, true)
			return out, true, err
		}
	}
}

// pack writes header, question and sections. The question is copied, so that
// its case stands as it was asked (0x20), and every owner name points into it.
func (r *reply) pack(dst []byte, q *request, truncated bool) ([]byte, error) {
	base := len(dst)
	out := appendHeader(dst, q, r, truncated)
	out = append(out, q.question...)

	names := maps.Clone(r.names) // packing adds to it
	for _, section := range [][]dns.RR{r.answer, r.authority, r.additional} {
		for _, rr := range section {
			var err error
			if out, err = appendRecord(out, base, rr, names); err != nil {
				return dst, err
			}
		}
	}
	if q.edns.asked {
		out = appendOPT(out, q, r.rcode, r.extended, r.words)
	}
	return out, nil
}

// appendHeader writes the header. Of the asker's flags only RD comes back
// (RFC 1035 §4.1.1). AD stays clear, since nothing was validated (RFC 6840 §5.8),
// and so does CD in an authoritative answer (RFC 4035 §3.1.6).
func appendHeader(dst []byte, q *request, r *reply, truncated bool) []byte {
	truncated = truncated || r.truncated
	flags := flagQR | q.flags&flagRD | uint16(q.opcode)<<opcodeShift | uint16(r.rcode)&0xF
	if r.authoritative {
		flags |= flagAA
	}
	if truncated {
		flags |= flagTC
	}
	questions, additional := 0, len(r.additional)
	if len(q.question) > 0 {
		questions = 1
	}
	if q.edns.asked {
		additional++
	}
	dst = binary.BigEndian.AppendUint16(dst, q.id)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	for _, n := range []int{questions, len(r.answer), len(r.authority), additional} {
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	}
	return dst
}

// appendRecord packs one record of a message that begins at base.
func appendRecord(out []byte, base int, rr dns.RR, names map[string]int) ([]byte, error) {
	off := len(out)
	need := dns.Len(rr)
	out = append(out, make([]byte, need)...)
	end, err := dns.PackRR(rr, out[base:], off-base, names, true)
	if err != nil {
		return nil, fmt.Errorf("pack %s record of %s: %w", dns.Type(rr.Header().Rrtype), rr.Header().Name, err)
	}
	return out[:base+end], nil
}

// appendOPT writes the record that answers an asker's own (RFC 6891 §6.1.1):
// version 0, the upper bits of the rcode, DO as it was asked (RFC 3225 §3), all
// other flags clear, and the options that it asked for.
func appendOPT(dst []byte, q *request, rcode, extended int, words string) []byte {
	var flags uint16
	if q.edns.do {
		flags = flagDO
	}
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, dns.TypeOPT)
	dst = binary.BigEndian.AppendUint16(dst, maxUDP)
	dst = append(dst, byte(rcode>>4), 0)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = append(dst, 0, 0)
	start := len(dst)
	if q.cookies != NoCookie { // RFC 7873 §5.2
		dst = append(appendOption(dst, dns.EDNS0COOKIE, cookieSize), q.cookie[:]...)
	}
	if q.nsid != "" { // RFC 5001 §2.3
		dst = append(appendOption(dst, dns.EDNS0NSID, len(q.nsid)), q.nsid...)
	}
	if extended != noError { // RFC 8914 §2
		dst = appendOption(dst, dns.EDNS0EDE, extendedSize+len(words))
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(extended)), words...)
	}
	binary.BigEndian.PutUint16(dst[start-2:], uint16(len(dst)-start))
	return dst
}

// appendOption writes the head of an option.
func appendOption(dst []byte, code uint16, length int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, code)
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// optSize returns how long the OPT record of an answer is, without an extended
// error; none is 0.
func (q *request) optSize() int {
	if !q.edns.asked {
		return 0
	}
	size := optSize
	if q.cookies != NoCookie {
		size += optionHead + cookieSize
	}
	if q.nsid != "" {
		size += optionHead + len(q.nsid)
	}
	return size
}
