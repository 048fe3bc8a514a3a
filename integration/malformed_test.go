package integration_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// malformed returns packets that are no questions, or nearly questions.
func malformed(t *testing.T, rng *rand.Rand) (packets [][]byte) {
	t.Helper()
	question := new(dns.Msg).SetQuestion("66.2.0.192.bl.example.", dns.TypeTXT).SetEdns0(1232, true)
	whole, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		packets = append(packets, whole[:n]) // cut off
	}
	for range 3000 { // some bytes changed, or inserted
		p := slices.Clone(whole)
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(p))
			if rng.IntN(3) == 0 {
				p = slices.Insert(p, at, byte(rng.Uint32()))
			} else {
				p[at] = byte(rng.Uint32())
			}
		}
		packets = append(packets, p)
	}
	for range 500 { // noise
		p := make([]byte, rng.IntN(1500))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		packets = append(packets, p)
	}
	header := func(flags, questions, answers, authority, additional uint16) []byte {
		var p []byte
		for _, v := range []uint16{0x4242, flags, questions, answers, authority, additional} {
			p = binary.BigEndian.AppendUint16(p, v)
		}
		return p
	}
	name := func(wire string) []byte { return append(header(0, 1, 0, 0, 0), wire...) }
	body, opt := whole[12:], whole[len(whole)-11:]
	return append(
		packets,
		header(0, 0, 0, 0, 0),
		header(0, 1, 0, 0, 0),
		header(0, 65535, 65535, 65535, 65535),
		name("\xc0\x0c\x00\x01\x00\x01"),          // points at itself
		name("\x01a\xc0\x0c\x00\x01\x00\x01"),     // and round
		name("\xff\xff\x00\x01\x00\x01"),          // beyond the end
		name("\x40a\x00\x00\x01\x00\x01"),         // a label type that is none
		name("\x3fa\x00\x01\x00\x01"),             // longer than the packet
		name(strings.Repeat("\x01a", 200)+"\x00"), // over 255 octets
		slices.Concat(header(0, 2, 0, 0, 0), body, body),
		slices.Concat(header(0x8000, 1, 0, 0, 1), body), // an answer
		slices.Concat(header(0x7800, 1, 0, 0, 1), body), // an unknown opcode
		slices.Concat(header(0, 1, 0, 0, 2), body, opt), // two OPT
	)
}

// checkReply wants what came back for a packet to be a reply to it. The packet
// is nil when there is none with that id that is not answered yet.
func checkReply(packet, reply []byte) error {
	var m dns.Msg
	switch err := m.Unpack(reply); {
	case err != nil:
		return fmt.Errorf("the reply is malformed: %w", err)
	case !m.Response:
		return errors.New("what came back is no reply")
	case packet == nil:
		return errors.New("nobody asked")
	case len(packet) < 12:
		return errors.New("a reply to a packet without a whole header")
	case packet[2]&0x80 != 0:
		return errors.New("a reply to a reply, which two servers would go on with for ever")
	}
	return nil
}

// TestMalformedQuestions sends what is no DNS to the live server: it answers
// with a reply or with silence, and goes on.
func TestMalformedQuestions(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(seedOf(t), 0))
	d := startDaemon(t, quick)
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	packets := malformed(t, rng)
	t.Run("udp", func(t *testing.T) { malformedUDP(t, d, packets) })
	t.Run("tcp", func(t *testing.T) { malformedTCP(t, d, packets, rng) })
	for _, network := range []string{"udp", "tcp"} {
		if got := newAsker(t, network, d.dns).data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
			t.Errorf("192.0.2.66 is answered with %s over %s", got, network)
		}
	}
	d.stop()
}

// malformedUDP sends each packet under an id of its own, and behind it a good
// question, whose answer tells that the server goes on.
func malformedUDP(t *testing.T, d *daemon, packets [][]byte) {
	t.Helper()
	conn, err := net.Dial("udp", d.dns)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const markers = 1 << 15 // the ids of good questions begin here
	open := map[uint16][]byte{}
	answered := 0
	buf := make([]byte, 64<<10)
	for n, packet := range packets {
		if len(packet) >= 2 {
			packet = slices.Clone(packet)
			binary.BigEndian.PutUint16(packet, uint16(n))
			open[uint16(n)] = packet
		}
		marker := new(dns.Msg).SetQuestion("2.0.0.127.bl.example.", dns.TypeA)
		marker.Id = markers + uint16(n)
		good, err := marker.Pack()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{packet, good} {
			if _, err := conn.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		for id := uint16(0); id != marker.Id; {
			_ = conn.SetReadDeadline(time.Now().Add(patience)) // of an open socket
			size, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("no answer after packet %x: %v", packet, err)
			}
			if size < 12 {
				t.Fatalf("%x came back after packet %x", buf[:size], packet)
			}
			if id = binary.BigEndian.Uint16(buf); id >= markers {
				continue
			}
			answered++
			if err := checkReply(open[id], buf[:size]); err != nil {
				t.Errorf("packet %x is answered with %x: %v", open[id], buf[:size], err)
			}
			delete(open, id)
		}
	}
	t.Logf("%d of %d packets were answered", answered, len(packets))
}

// malformedTCP sends packets and lengths that are none over many connections,
// and leaves some of them open in the middle.
func malformedTCP(t *testing.T, d *daemon, packets [][]byte, rng *rand.Rand) {
	t.Helper()
	for range 300 {
		conn, err := net.Dial("tcp", d.dns)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience)) // of an open connection
		packet := packets[rng.IntN(len(packets))]
		size := len(packet)
		if rng.IntN(2) == 0 {
			size = rng.IntN(1 << 16)
		}
		_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(size)), packet...))
		if err == nil && rng.IntN(4) > 0 {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // it may have been closed at the other end
			}
			stream, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection stays open after packet %x of length %d", packet, size)
			}
			if !wellFormed(stream) {
				t.Errorf("packet %x of length %d is answered with %x", packet, size, stream)
			}
			conn.Close()
			continue
		}
		t.Cleanup(func() { conn.Close() }) // and nothing further from this client until then
	}
}

// wellFormed reports whether a stream holds whole replies and nothing else.
func wellFormed(stream []byte) bool {
	for len(stream) > 0 {
		var m dns.Msg
		if len(stream) < 2 {
			return false
		}
		size := 2 + int(binary.BigEndian.Uint16(stream))
		if len(stream) < size || m.Unpack(stream[2:size]) != nil || !m.Response {
			return false
		}
		stream = stream[size:]
	}
	return true
}
