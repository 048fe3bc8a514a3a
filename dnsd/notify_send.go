package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// notification is one message to one secondary.
type notification struct {
	id       notified
	target   target
	sequence uint64
	soa      *dns.SOA
}

// refusedError is an answer that is no acknowledgement.
type refusedError struct{ rcode int }

func (e *refusedError) Error() string {
	return "it answered " + dns.RcodeToString[e.rcode]
}

// exchange sends the message, and returns nil when the secondary has said that it
// has heard.
func (m *notification) exchange(ctx context.Context, timeout time.Duration) error {
	packet, seal, err := m.pack(uint64(time.Now().Unix()))
	if err != nil {
		return err
	}
	var dialer net.Dialer
	if m.target.From.IsValid() {
		dialer.LocalAddr = &net.UDPAddr{IP: m.target.From.AsSlice(), Zone: m.target.From.Zone()}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "udp", m.target.To.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(packet); err != nil {
		return err
	}
	answer := make([]byte, maxUDP)
	var odd error // an answer that is none may be anybody's
	for {
		n, err := conn.Read(answer)
		if ctx.Err() != nil {
			return errors.Join(odd, fmt.Errorf("no answer within %s", timeout))
		}
		if err != nil {
			return err
		}
		var refused *refusedError
		odd = answers(answer[:n], packet, seal)
		if odd == nil || errors.As(odd, &refused) {
			return odd
		}
	}
}

// pack makes the message: the question, and as a hint the new SOA
// (RFC 1996 §3.7), signed if there is a key.
func (m *notification) pack(now uint64) ([]byte, *seal, error) {
	msg := new(dns.Msg)
	msg.SetNotify(m.id.zone)
	msg.Answer = []dns.RR{m.soa}
	packet, err := msg.Pack()
	if err != nil || m.target.key == nil {
		return packet, nil, err
	}
	packet, seal := m.target.key.signRequest(packet, now)
	return packet, seal, nil
}

// answers tells whether a packet is the answer to what was sent
// (RFC 1996 §4.7), and what it says.
func answers(packet, sent []byte, seal *seal) error {
	q := request{packet: packet}
	if len(packet) < headerSize || binary.BigEndian.Uint16(packet) != binary.BigEndian.Uint16(sent) {
		return errors.New("something came back that is no answer")
	}
	flags := binary.BigEndian.Uint16(packet[2:])
	if flags&flagQR == 0 || int(flags>>opcodeShift&opcodeMask) != dns.OpcodeNotify {
		return errors.New("something came back that is no answer")
	}
	off, whole := q.readQuestions(packet, int(binary.BigEndian.Uint16(packet[4:])))
	if !whole || !q.readRecords(packet, off) {
		return errors.New("the answer cannot be read")
	}
	rcode := int(flags & 0xf)
	if seal != nil && (q.signed > 0 || rcode == dns.RcodeSuccess) {
		if err := newInboundSeal(seal).verify(packet, q.signed, time.Now()); err != nil {
			return err
		}
	}
	if rcode != dns.RcodeSuccess {
		return &refusedError{rcode}
	}
	return nil
}
