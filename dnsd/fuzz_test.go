package dnsd_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// FuzzAnswer hands over any packet. It wants no panic, no answer to what is
// none of a question, and of each answer that it is well formed, fits, is an
// answer to this packet, and has OPT exactly when it was asked.
func FuzzAnswer(f *testing.F) {
	for _, c := range slices.Concat(complianceCases(), ednsCases(), malformedCases()) {
		f.Add(c.packet, false)
		f.Add(c.packet, true)
	}
	for _, c := range allCases() {
		f.Add(c.packet(f), c.only == "tcp")
	}
	for _, d := range dressed(longestName, dns.TypeA) {
		f.Add(d.packet, false)
		f.Add(d.packet, true)
	}
	v := view(f)
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		over := dnsd.UDP
		if tcp {
			over = dnsd.TCP
		}
		before := slices.Clone(packet)
		response, verdict := dnsd.Answer(nil, packet, over, v)
		if !bytes.Equal(before, packet) {
			t.Fatal("the packet was changed")
		}
		if verdict.Err != nil {
			t.Fatal(verdict.Err)
		}
		dropped := len(packet) < 12 || packet[2]&0x80 != 0
		if dropped != (len(response) == 0) || dropped != (verdict.Kind == dnsd.Dropped) {
			t.Fatalf("answered %x, counted as %s", response, verdict.Kind)
		}
		if !dropped {
			checkAnswer(t, packet, response, tcp)
		}
	})
}

func checkAnswer(t *testing.T, packet, response []byte, tcp bool) {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(response); err != nil {
		t.Fatalf("not well formed: %v\n%x", err, response)
	}
	checkHeader(t, packet, response)
	if n := int(binary.BigEndian.Uint16(response[10:])); n != len(m.Extra) {
		t.Errorf("%d additional records announced, %d there", n, len(m.Extra))
	}
	if repacked, err := m.Pack(); err != nil || len(repacked) < len(response) {
		t.Errorf("what package dns makes of it is %d bytes long, it was %d: %v", len(repacked), len(response), err)
	}
	limit := 65535
	asked, err := readByPackageDNS(packet)
	opt := asked.IsEdns0()
	if !tcp {
		limit = 512
		if opt != nil {
			limit = max(512, min(1232, int(opt.UDPSize())))
		} else if m.IsEdns0() != nil {
			limit = 1232
		}
	}
	if len(response) > limit {
		t.Errorf("%d bytes, the limit is %d", len(response), limit)
	}
	// Where package dns reads the whole of a packet, it and we must have seen the
	// same OPT record.
	if err == nil && !asked.Response && asked.Opcode == dns.OpcodeQuery && (opt != nil) != (m.IsEdns0() != nil) {
		t.Errorf("EDNS asked %t, answered %t", opt != nil, m.IsEdns0() != nil)
	}
	if m.Truncated && len(m.Answer)+len(m.Ns) > 0 {
		t.Error("truncated, and there are records")
	}
}

func readByPackageDNS(packet []byte) (*dns.Msg, error) {
	m := new(dns.Msg)
	err := m.Unpack(packet)
	return m, err
}

// FuzzName asks for any name below a zone, and compares with the answer table.
func FuzzName(f *testing.F) {
	for _, c := range allCases() {
		f.Add([]byte(c.ask))
	}
	v := view(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		labels, request := labelsOf(text)
		if request == nil {
			return
		}
		response, verdict := dnsd.Answer(nil, request, dnsd.UDP, v)
		var m dns.Msg
		if err := m.Unpack(response); err != nil {
			t.Fatalf("not well formed: %v\n%x", err, response)
		}
		want, code := oracle(labels)
		if m.Rcode != want || (code != 0) != (verdict.Kind == dnsd.Listed) {
			t.Errorf("%q: %s, counted as %s, want %s", labels, dns.RcodeToString[m.Rcode], verdict.Kind, dns.RcodeToString[want])
		}
	})
}

// labelsOf cuts text at its dots and makes a question of it, if it is short
// enough. Any byte may stand in a label.
func labelsOf(text []byte) (labels []string, request []byte) {
	name := []byte{}
	for label := range bytes.SplitSeq(text, []byte{'.'}) {
		if len(label) == 0 || len(label) > 63 {
			return nil, nil
		}
		labels = append(labels, string(label))
		name = append(append(name, byte(len(label))), label...)
	}
	if name = append(name, wire("bl.example.")...); len(name) > 255 {
		return nil, nil
	}
	if last := labels[len(labels)-1]; len(last) == len("bounce") && bytes.EqualFold([]byte(last), []byte("bounce")) {
		return nil, nil // another zone
	}
	return labels, raw(0, [4]uint16{1}, name, unhex("0001 0001"))
}
