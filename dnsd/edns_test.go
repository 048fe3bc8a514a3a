package dnsd_test

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"backscatter/dnsd"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// raw builds a packet of parts, for what no packer would write.
func raw(flags uint16, counts [4]uint16, parts ...[]byte) []byte {
	packet := binary.BigEndian.AppendUint16([]byte{0x47, 0x11}, flags)
	for _, n := range counts {
		packet = binary.BigEndian.AppendUint16(packet, n)
	}
	return slices.Concat(append([][]byte{packet}, parts...)...)
}

// wire returns a name as it stands in packets.
func wire(name string) []byte {
	var out []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		out = append(append(out, byte(len(label))), label...)
	}
	return append(out, 0)
}

func ask(name string, qtype, class uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(wire(name), qtype), class)
}

// optRR returns an OPT record as an asker sends it.
func optRR(size uint16, version byte, flags uint16, options ...byte) []byte {
	rr := binary.BigEndian.AppendUint16([]byte{0}, dns.TypeOPT)
	rr = binary.BigEndian.AppendUint16(rr, size)
	rr = append(rr, 0, version)
	rr = binary.BigEndian.AppendUint16(rr, flags)
	rr = binary.BigEndian.AppendUint16(rr, uint16(len(options)))
	return append(rr, options...)
}

func unhex(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

const (
	optPlain  = "OPT version 0 size 1232"
	optDo     = "OPT version 0 size 1232 do"
	soaAsk    = "bl.example."
	unknown   = "0064 0000" // ISC's option 100, empty
	subnet    = "0008 0007 0001 18 00 c00002"
	nsid      = "0003 0000"
	expire    = "0009 0000"
	flagsRD   = 0x0100
	flagsCD   = 0x0010
	flagsAD   = 0x0020
	flagsZ    = 0x0040
	flagsTC   = 0x0200
	flagsAA   = 0x0400
	flagsRA   = 0x0080
	opcode15  = 15 << 11
	notifyOp  = 4 << 11
	reservedO = 0x0040 // a reserved flag of EDNS
)

// wireCase is a packet, and what must come back.
type wireCase struct {
	name   string
	rule   string
	packet []byte
	want   reply
}

// over is what comes back over a transport: over UDP an error is not told in more
// words than its question has, when it may be that of another.
func (c wireCase) over(t dnsd.Transport) reply {
	r := c.want
	if t == dnsd.UDP && len(r.Answer)+len(r.Authority) == 0 && len(r.Additional) == 1 {
		opt, _, _ := strings.Cut(r.Additional[0], " ede ")
		r.Additional = []string{opt}
	}
	return r
}

func withOPT(r reply, opt string) reply {
	r.Additional = append(slices.Clone(r.Additional), opt)
	return r
}

// complianceCases are the checks of ISC's EDNS compliance tester, RFC 8906 §8,
// asked of a zone of ours.
func complianceCases() []wireCase {
	soa := ask(soaAsk, dns.TypeSOA, dns.ClassINET)
	one, withOpt := [4]uint16{1}, [4]uint16{1, 0, 0, 1}
	full := found(soaBL)
	badvers := reply{Rcode: "BADVERS", Additional: []string{optPlain}}
	many := slices.Concat(unhex(unknown), unhex(subnet), unhex(nsid), unhex(expire))
	rd := full
	rd.Flags = "aa rd"
	return []wireCase{
		{"plain", "RFC 8906 §8.1.1", raw(0, one, soa), full},
		{"unknown type", "RFC 8906 §8.1.2", raw(0, one, ask(soaAsk, 1000, 1)), nodata(soaBL)},
		{"CD", "RFC 8906 §8.1.3.1, RFC 4035 §3.1.6", raw(flagsCD, one, soa), full},
		{"AD", "RFC 8906 §8.1.3.2, RFC 6840 §5.8", raw(flagsAD, one, soa), full},
		{"reserved bit", "RFC 8906 §8.1.3.3", raw(flagsZ, one, soa), full},
		{"RD", "RFC 8906 §8.1.3.4", raw(flagsRD, one, soa), rd},
		{"TC, AA and RA in a question", "RFC 1035 §4.1.1", raw(flagsTC|flagsAA|flagsRA, one, soa), full},
		{"unknown opcode", "RFC 8906 §8.1.4", raw(opcode15, [4]uint16{}), reply{Rcode: "NOTIMP"}},
		{"unknown opcode with flags", "RFC 8906 §8.1.4", raw(opcode15|flagsRD|flagsAD|flagsCD|flagsZ|flagsTC|flagsAA, [4]uint16{}), reply{Rcode: "NOTIMP", Flags: "rd"}},
		{"EDNS", "RFC 8906 §8.2.1", raw(0, withOpt, soa, optRR(4096, 0, 0)), withOPT(full, optPlain)},
		{"EDNS version 1", "RFC 8906 §8.2.2", raw(0, withOpt, soa, optRR(4096, 1, 0)), badvers},
		{"unknown option", "RFC 8906 §8.2.3", raw(0, withOpt, soa, optRR(4096, 0, 0, unhex(unknown)...)), withOPT(full, optPlain)},
		{"unknown EDNS flag", "RFC 8906 §8.2.4", raw(0, withOpt, soa, optRR(4096, 0, reservedO)), withOPT(full, optPlain)},
		{"version 1 with an unknown flag", "RFC 8906 §8.2.5", raw(0, withOpt, soa, optRR(4096, 1, reservedO)), badvers},
		{"version 1 with an unknown option", "RFC 8906 §8.2.6", raw(0, withOpt, soa, optRR(4096, 1, 0, unhex(unknown)...)), badvers},
		{"DO", "RFC 8906 §8.2.8, RFC 3225 §3", raw(0, withOpt, soa, optRR(4096, 0, 0x8000)), withOPT(full, optDo)},
		{"version 1 with DO", "RFC 8906 §8.2.9", raw(0, withOpt, soa, optRR(4096, 1, 0x8000)), reply{Rcode: "BADVERS", Additional: []string{optDo}}},
		{"several options", "RFC 8906 §8.2.10", raw(0, withOpt, soa, optRR(4096, 0, 0, many...)), withOPT(full, optPlain)},
		{"version 255 and several options", "RFC 6891 §6.1.3", raw(0, withOpt, soa, optRR(4096, 255, 0, many...)), badvers},
	}
}

func ednsCases() []wireCase {
	soa, outside := ask(soaAsk, dns.TypeSOA, 1), ask("example.net.", dns.TypeSOA, 1)
	big := ask("big.example.", dns.TypeNS, 1)
	unlisted := ask("65.2.0.192.bl.example.", dns.TypeA, 1)
	withOpt, two := [4]uint16{1, 0, 0, 1}, [4]uint16{1, 0, 0, 2}
	plain := optRR(1232, 0, 0)
	formerr := reply{Rcode: "FORMERR", Additional: []string{optPlain}}
	bare := reply{Rcode: "FORMERR"}
	truncated := reply{Rcode: "NOERROR", Flags: "aa tc", Additional: []string{optPlain}}
	a1 := slices.Concat(wire("x.example."), unhex("0001 0001 00000000 0004 c0000201"))
	return []wireCase{
		{"refused", "RFC 8914 §4.21", raw(0, withOpt, outside, plain), reply{Rcode: "REFUSED", Additional: []string{optPlain + " ede 20"}}},
		{"another class", "RFC 8914 §4.21", raw(0, withOpt, ask(soaAsk, dns.TypeSOA, dns.ClassHESIOD), plain), reply{Rcode: "REFUSED", Additional: []string{optPlain + " ede 20"}}},
		{"unlisted", "RFC 6891 §6.1.1", raw(0, withOpt, unlisted, plain), withOPT(nxdomain(soaBL), optPlain)},
		{"other opcode", "RFC 8914 §4.22", raw(notifyOp, withOpt, soa, plain), reply{Rcode: "NOTIMP", Additional: []string{optPlain + " ede 21"}}},
		{"truncated", "RFC 6891 §7", raw(0, withOpt, big, optRR(512, 0, 0)), truncated},
		{"size 0 means 512", "RFC 6891 §6.2.3", raw(0, withOpt, unlisted, optRR(0, 0, 0)), withOPT(nxdomain(soaBL), optPlain)},
		{"more than our own size", "RFC 6891 §6.2.4", raw(0, withOpt, big, optRR(65535, 0, 0)), truncated},
		{"two OPT", "RFC 6891 §6.1.1", raw(0, two, soa, plain, plain), formerr},
		{"two OPT, one behind other records", "RFC 6891 §6.1.1", raw(0, [4]uint16{1, 0, 0, 3}, soa, plain, a1, plain), formerr},
		{"OPT behind other records", "RFC 6891 §6.1.1", raw(0, two, soa, a1, plain), withOPT(found(soaBL), optPlain)},
		{"OPT with a name", "RFC 6891 §6.1.2", raw(0, withOpt, soa, wire("x."), plain[1:]), formerr},
		{"OPT with a compressed name", "RFC 6891 §6.1.2", raw(0, withOpt, soa, unhex("c00c"), plain[1:]), formerr},
		{"OPT as answer", "RFC 6891 §6.1.1", raw(0, [4]uint16{1, 1}, soa, plain), bare},
		{"OPT as authority", "RFC 6891 §6.1.1", raw(0, [4]uint16{1, 0, 1}, soa, plain), bare},
		{"OPT as answer and where it belongs", "RFC 6891 §6.1.1", raw(0, [4]uint16{1, 1, 0, 1}, soa, plain, plain), formerr},
		{"option longer than its record", "RFC 6891 §6.1.2", raw(0, withOpt, soa, optRR(1232, 0, 0, unhex("0064 0005 00")...)), formerr},
		{"half an option's head", "RFC 6891 §6.1.2", raw(0, withOpt, soa, optRR(1232, 0, 0, unhex("0064 00")...)), formerr},
		{"malformed options of a version that is not ours", "RFC 6891 §6.1.3", raw(0, withOpt, soa, optRR(1232, 1, 0, unhex("0064 0005 00")...)), reply{Rcode: "BADVERS", Additional: []string{optPlain}}},
		{"record longer than the packet", "RFC 1035 §4.1.3", raw(0, withOpt, soa, plain[:len(plain)-1]), bare},
		{"no question", "RFC 9619 §4", raw(0, [4]uint16{0, 0, 0, 1}, plain), formerr},
		{"two questions", "RFC 9619 §4", raw(0, [4]uint16{2, 0, 0, 1}, soa, soa, plain), formerr},
		{"upper bits of the rcode in a question", "RFC 6891 §6.1.3", raw(0, withOpt, soa, unhex("00 0029 04d0 ff 00 0000 0000")), withOPT(found(soaBL), optPlain)},
	}
}

// TestEDNS asks the pure function, and then over sockets.
func TestEDNS(t *testing.T) {
	t.Parallel()
	v := view(t)
	addr := serve(t, options(t)).Addrs()[0]
	for _, c := range slices.Concat(complianceCases(), ednsCases()) {
		t.Run(c.name, func(t *testing.T) {
			for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
				if over == dnsd.TCP && strings.Contains(c.want.Flags, "tc") {
					continue // fits
				}
				response, _ := dnsd.Answer(nil, c.packet, over, v)
				if diff := cmp.Diff(c.over(over), words(t, c.packet, response)); diff != "" {
					t.Errorf("%s over %s (-want +got):\n%s", c.rule, over, diff)
				}
				if got := exchange(t, over, addr, c.packet); !slices.Equal(got, response) {
					t.Errorf("over %s %x, want %x", over, got, response)
				}
			}
		})
	}
}

// TestExtendedErrorsAreSpared refuses who may be forged no more than he asked, and
// tells all others why.
func TestExtendedErrorsAreSpared(t *testing.T) {
	t.Parallel()
	v := ruledView(t, dnsd.Rules{})
	p := newPaths(v)
	good := cookieOf(t, exchangeWith(t, v, cookieOption(firstCookie)))
	long := append([]byte{0, 100, 0, 10}, make([]byte, 10)...) // longer than what would be told
	const why = " ede 20"
	for _, c := range []struct {
		name    string
		options []byte
		over    dnsd.Transport
		want    string
	}{
		{"who may be forged", nil, dnsd.UDP, optPlain},
		{"over TCP", nil, dnsd.TCP, optPlain + why},
		{"a client's cookie", cookieOption(firstCookie), dnsd.UDP, optPlain + " option 10"},
		{"a wrong cookie", cookieOption(wrongCookie), dnsd.UDP, optPlain + " option 10"},
		{"a good cookie", cookieOption(good), dnsd.UDP, optPlain + " option 10" + why},
		{"a long question", long, dnsd.UDP, optPlain + why},
	} {
		request := askWith("www.example.net.", dns.TypeA, c.options...)
		response, _ := dnsd.Answer(nil, request, c.over, v)
		want := reply{Rcode: "REFUSED", Additional: []string{c.want}}
		if diff := cmp.Diff(want, words(t, request, response)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
		p.check(t, request)
	}
}

// exchangeWith returns the answer for the zone's own name to a question with options.
func exchangeWith(t *testing.T, v dnsd.View, options []byte) []byte {
	t.Helper()
	response, _ := dnsd.Answer(nil, askWith(soaAsk, dns.TypeSOA, options...), dnsd.UDP, v)
	return response
}

// TestAnswerFits asks for more and more until it does not fit any more, with
// each size that an asker may say that it takes.
func TestAnswerFits(t *testing.T) {
	t.Parallel()
	v := view(t)
	for size := range 1400 {
		m := question("big.example.", dns.TypeNS)
		m.SetEdns0(uint16(size), false)
		response, verdict := dnsd.Answer(nil, packed(t, m), dnsd.UDP, v)
		if limit := max(512, min(size, 1232)); len(response) > limit {
			t.Fatalf("%d bytes to an asker that takes %d", len(response), limit)
		}
		if !verdict.Truncated {
			t.Fatalf("not counted as truncated")
		}
	}
}
