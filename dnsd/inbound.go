package dnsd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"backscatter/zonefile"

	"github.com/miekg/dns"
)

const (
	// inboundStall is how long a primary may send nothing.
	inboundStall = 30 * time.Second
	// maxInbound is how many octets one answer may have: more than that of the
	// largest list that is taken.
	maxInbound = 4 << 30
)

// exchange asks a primary over one TCP connection, and reads what comes back. It
// belongs to one goroutine.
type exchange struct {
	net.Conn

	name string // of the zone
	zone []byte // the same in wire format, in lower case
	key  *key   // nil: nothing is signed
	in   *bufio.Reader

	id     uint16
	seal   *inboundSeal // of the question that was asked last; nil: not signed
	buf    []byte       // a message
	off    int          // where its next record begins
	left   int          // records of it that were not read
	bytes  int64        // of the answer
	owner  [maxName]byte
	record zonefile.Record
}

// close closes the connection, and with it what is being read.
func (x *exchange) close() { _ = x.Close() } // nothing is lost that mattered

// ask sends a question. For an incremental transfer the SOA tells what we have
// (RFC 1995 §3).
func (x *exchange) ask(qtype uint16, have *dns.SOA, now time.Time) error {
	m := new(dns.Msg)
	m.SetQuestion(x.name, qtype)
	m.RecursionDesired = false
	if have != nil {
		m.Ns = []dns.RR{have}
	}
	packet, err := m.Pack()
	if err != nil {
		return err
	}
	x.id, x.seal, x.left, x.bytes = m.Id, nil, 0, 0
	if x.key != nil {
		var s *seal
		packet, s = x.key.signRequest(packet, uint64(now.Unix()))
		x.seal = newInboundSeal(s)
	}
	if err := x.SetDeadline(now.Add(inboundStall)); err != nil {
		return err
	}
	_, err = x.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
	return err
}

// rcodeError is an answer that says no.
type rcodeError struct{ rcode int }

func (e *rcodeError) Error() string { return "it answered " + dns.RcodeToString[e.rcode] }

// next returns the next record of the answer, from the next message if this one
// has no more. It is valid until then.
func (x *exchange) next() (*zonefile.Record, error) {
	for empty := 0; x.left == 0; empty++ {
		if empty > 1 {
			return nil, errors.New("it sends messages without records")
		}
		if err := x.message(); err != nil {
			return nil, err
		}
	}
	x.left--
	return x.readRecord()
}

// message reads the next message, and verifies its signature.
func (x *exchange) message() error {
	if err := x.SetDeadline(time.Now().Add(inboundStall)); err != nil {
		return err
	}
	var length [lengthSize]byte
	if _, err := io.ReadFull(x.in, length[:]); err != nil {
		return fmt.Errorf("it ends early: %w", err)
	}
	size := int(binary.BigEndian.Uint16(length[:]))
	if x.buf = x.buf[:0]; cap(x.buf) < size {
		x.buf = make([]byte, 0, maxTCP)
	}
	x.buf = x.buf[:size]
	if _, err := io.ReadFull(x.in, x.buf); err != nil {
		return fmt.Errorf("it ends early: %w", err)
	}
	if x.bytes += int64(size); x.bytes > maxInbound {
		return fmt.Errorf("it has more than %d octets", int64(maxInbound))
	}
	return x.open()
}

// open reads the header, and finds where the records begin.
func (x *exchange) open() error {
	q := request{packet: x.buf}
	if len(x.buf) < headerSize || binary.BigEndian.Uint16(x.buf) != x.id {
		return errors.New("something came that is no answer")
	}
	flags := binary.BigEndian.Uint16(x.buf[2:])
	if flags&flagQR == 0 || int(flags>>opcodeShift&opcodeMask) != dns.OpcodeQuery || flags&flagTC != 0 {
		return errors.New("something came that is no whole answer")
	}
	off, whole := q.readQuestions(x.buf, int(binary.BigEndian.Uint16(x.buf[4:])))
	if !whole || !q.readRecords(x.buf, off) || q.missigned {
		return errors.New("a message cannot be read")
	}
	rcode := int(flags & 0xf)
	if x.seal != nil {
		if err := x.seal.verify(x.buf, q.signed, time.Now()); err != nil && (rcode == dns.RcodeSuccess || q.signed > 0) {
			return err
		}
	}
	if rcode != dns.RcodeSuccess {
		return &rcodeError{rcode}
	}
	x.off, x.left = off, int(binary.BigEndian.Uint16(x.buf[6:]))
	return nil
}

// done wants the answer to end here, signed to its end.
func (x *exchange) done() error {
	if x.left > 0 {
		return errors.New("it goes on behind its end")
	}
	if x.seal != nil && x.seal.unsigned > 0 {
		return errors.New("its last message is not signed")
	}
	return nil
}

// readRecord reads the record at off. That it is whole was seen before.
func (x *exchange) readRecord() (*zonefile.Record, error) {
	end, _ := skipName(x.buf, x.off, true)
	fixed := x.buf[end : end+fixedRecord]
	data := end + fixedRecord
	length := int(binary.BigEndian.Uint16(fixed[8:]))
	labels, ok := x.below(x.off)
	if !ok || binary.BigEndian.Uint16(fixed[2:]) != dns.ClassINET {
		return nil, errors.New("it has a record of something else than the zone")
	}
	x.record = zonefile.Record{
		Labels: labels, Type: binary.BigEndian.Uint16(fixed), TTL: binary.BigEndian.Uint32(fixed[4:]),
		Data: x.buf[data : data+length], Message: x.buf, Offset: x.off,
	}
	x.off = data + length
	return &x.record, nil
}

// below reads the name at off, and returns its labels before the zone's name.
// Pointers lead back, each further than the one before, so they come to an end
// (RFC 1035 §4.1.4).
func (x *exchange) below(off int) ([]byte, bool) {
	name := x.owner[:0]
	for bound := off; off < len(x.buf); {
		switch length := int(x.buf[off]); {
		case length&pointerMask == pointerMask:
			if off+1 >= len(x.buf) {
				return nil, false
			}
			off = int(binary.BigEndian.Uint16(x.buf[off:])) &^ (pointerMask << 8)
			if off >= bound {
				return nil, false
			}
			bound = off
		case length > maxLabel || off+1+length > len(x.buf) || len(name)+1+length > maxName:
			return nil, false
		case length == 0:
			name = append(name, 0)
			cut := len(name) - len(x.zone)
			return name[:max(0, cut)], cut >= 0 && zonefile.SameName(name[cut:], x.zone) && endsAtLabel(name, cut)
		default:
			name = append(name, x.buf[off:off+1+length]...)
			off += 1 + length
		}
	}
	return nil, false
}

// endsAtLabel reports whether a label begins at cut.
func endsAtLabel(name []byte, cut int) bool {
	at := 0
	for at < cut {
		at += 1 + int(name[at])
	}
	return at == cut
}

// soa reads a record as the zone's SOA; false when it is none.
func (x *exchange) soa(r *zonefile.Record) (*dns.SOA, bool, error) {
	if r.Type != dns.TypeSOA {
		return nil, false, nil
	}
	rr, _, err := dns.UnpackRR(r.Message, r.Offset)
	if err != nil {
		return nil, false, fmt.Errorf("its SOA: %w", err)
	}
	soa, ok := rr.(*dns.SOA)
	if !ok || len(r.Labels) > 0 {
		return nil, false, errors.New("it has an SOA that is not of the zone")
	}
	return soa, true, nil
}

// dial connects to a primary. What is done with it ends with ctx.
func (c *Copier) dial(ctx context.Context, to string) (*exchange, func(), error) {
	conn, err := c.o.Dial(ctx, to)
	if err != nil {
		return nil, nil, err
	}
	x := &exchange{Conn: conn, name: c.o.Zone, zone: c.zone, key: c.key, in: bufio.NewReaderSize(conn, maxTCP)}
	stop := context.AfterFunc(ctx, x.close)
	return x, func() { stop(); x.close() }, nil
}
