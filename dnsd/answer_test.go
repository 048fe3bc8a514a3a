package dnsd_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// reply is an answer in words.
type reply struct {
	Rcode      string
	Flags      string
	Answer     []string
	Authority  []string
	Additional []string
}

// words writes an answer down, and wants it well formed first.
func words(tb testing.TB, request, response []byte) reply {
	tb.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(response); err != nil {
		tb.Fatalf("the answer is not well formed: %v\n%x", err, response)
	}
	checkHeader(tb, request, response)
	r := reply{
		Rcode:  rcode(m.Rcode),
		Flags:  flags(m),
		Answer: lines(m.Answer), Authority: lines(m.Ns),
	}
	for _, rr := range m.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			r.Additional = append(r.Additional, optWords(opt))
			continue
		}
		r.Additional = append(r.Additional, lines([]dns.RR{rr})...)
	}
	return r
}

// checkHeader wants of every answer: QR, the asker's ID and opcode, RA, AD, CD
// and Z clear, RD as asked, and either no question or the very bytes that were
// asked. Every owner name but the OPT record's points into the question.
func checkHeader(tb testing.TB, request, response []byte) {
	tb.Helper()
	const opcodeAndRD = 0x79
	if response[0] != request[0] || response[1] != request[1] {
		tb.Errorf("ID %x, asked with %x", response[:2], request[:2])
	}
	if response[2]&0x80 == 0 || response[2]&opcodeAndRD != request[2]&opcodeAndRD || response[3]&0xf0 != 0 {
		tb.Errorf("flags %x, asked with %x", response[2:4], request[2:4])
	}
	if response[5] == 0 {
		return
	}
	end := 12
	for response[end] != 0 {
		end += 1 + int(response[end])
	}
	end += 5
	if !slices.Equal(response[12:end], request[12:end]) {
		tb.Errorf("question %x, asked %x", response[12:end], request[12:end])
	}
	if len(response) > end && response[end] != 0 && response[end]&0xc0 != 0xc0 && !isSignature(response[end:]) {
		tb.Errorf("the name of the first record is not compressed: %x", response[end:])
	}
}

// isSignature reports whether a record with a whole name is a TSIG, whose name is
// signed, and stands as it is.
func isSignature(record []byte) bool {
	end := 0
	for record[end] != 0 {
		end += 1 + int(record[end])
	}
	return binary.BigEndian.Uint16(record[end+1:]) == dns.TypeTSIG
}

func rcode(code int) string {
	if code == dns.RcodeBadVers {
		return "BADVERS"
	}
	return dns.RcodeToString[code]
}

func flags(m *dns.Msg) string {
	var set []string
	for _, f := range []struct {
		name string
		on   bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"rd", m.RecursionDesired}} {
		if f.on {
			set = append(set, f.name)
		}
	}
	return strings.Join(set, " ")
}

func lines(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return out
}

func optWords(opt *dns.OPT) string {
	s := fmt.Sprintf("OPT version %d size %d", opt.Version(), opt.UDPSize())
	if opt.Do() {
		s += " do"
	}
	if rest := opt.Hdr.Ttl & 0x7fff; rest != 0 {
		s += fmt.Sprintf(" flags %#x", rest)
	}
	for _, o := range opt.Option {
		if ede, ok := o.(*dns.EDNS0_EDE); ok {
			s += fmt.Sprintf(" ede %d", ede.InfoCode)
			continue
		}
		s += fmt.Sprintf(" option %d", o.Option())
	}
	return s
}

const (
	soaTimers = "hostmaster.bl.example. 1795325400 3600 900 86400 300"
	soaBL     = "bl.example. 300 IN SOA ns1.bl.example. " + soaTimers
	soaBounce = "bounce.bl.example. 300 IN SOA bounce.bl.example. " + soaTimers
)

func a(name string, ttl int, code uint8) string {
	return fmt.Sprintf("%s %d IN A 127.0.0.%d", name, ttl, code)
}

func txt(name string, ttl int, e listing.Entry) string {
	return fmt.Sprintf("%s %d IN TXT %q", name, ttl, zoneBL().Text(e))
}

// answerCase is a row: what is asked, and what must come back. The flags are
// without qr, which all answers have.
type answerCase struct {
	name  string
	rule  string
	ask   string
	qtype uint16
	class uint16 // IN if 0
	only  string // "udp" or "tcp"; both if empty
	clock bool   // the answer depends on the second in which it is asked
	want  reply
}

func nodata(soa string) reply {
	return reply{Rcode: "NOERROR", Flags: "aa", Authority: []string{soa}}
}

func nxdomain(soa string) reply {
	return reply{Rcode: "NXDOMAIN", Flags: "aa", Authority: []string{soa}}
}

func found(answer ...string) reply {
	return reply{Rcode: "NOERROR", Flags: "aa", Answer: answer}
}

func refused() reply { return reply{Rcode: "REFUSED"} }

func nibbles(addr string) string {
	return zoneBL().Owner(netip.MustParseAddr(addr))
}

const (
	mapped    = "f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example."
	mapped66  = "2.4.2.0.0.0.0.c." + mapped // ::ffff:192.0.2.66
	mapped127 = ".0.0.0.0.f.7." + mapped
)

func listedCases() []answerCase {
	host, v6 := "66.2.0.192.bl.example.", nibbles("2001:db8:0:1::25")
	return []answerCase{
		{name: "listed A", rule: "RFC 5782 §2.1", ask: host, qtype: dns.TypeA, want: found(a(host, 600, 2))},
		{name: "listed TXT", rule: "RFC 5782 §2.1", ask: host, qtype: dns.TypeTXT, want: found(txt(host, 600, entries[0]))},
		{name: "listed AAAA", rule: "RFC 2308 §2.2", ask: host, qtype: dns.TypeAAAA, want: nodata(soaBL)},
		{name: "listed NS", rule: "RFC 2308 §2.2", ask: host, qtype: dns.TypeNS, want: nodata(soaBL)},
		{name: "listed unknown type", rule: "RFC 3597 §3", ask: host, qtype: 65280, want: nodata(soaBL)},
		{name: "listed meta type", rule: "RFC 6895 §3.1", ask: host, qtype: dns.TypeMAILB, want: nodata(soaBL)},
		{name: "listed ANY over UDP", rule: "RFC 8482 §4.1", ask: host, qtype: dns.TypeANY, only: "udp", want: found(a(host, 600, 2))},
		{name: "listed ANY over TCP", rule: "RFC 8482 §4.4", ask: host, qtype: dns.TypeANY, only: "tcp", want: found(a(host, 600, 2), txt(host, 600, entries[0]))},
		{name: "TTL cut to the end", rule: "RFC 1035 §3.2.1", ask: "67.2.0.192.bl.example.", qtype: dns.TypeA, clock: true, want: found(a("67.2.0.192.bl.example.", 100, 3))},
		{name: "TTL cut in TXT", rule: "RFC 1035 §3.2.1", ask: "67.2.0.192.bl.example.", qtype: dns.TypeTXT, clock: true, want: found(txt("67.2.0.192.bl.example.", 100, entries[1]))},
		{name: "TTL never under 30", rule: "RFC 1035 §3.2.1", ask: "68.2.0.192.bl.example.", qtype: dns.TypeA, clock: true, want: found(a("68.2.0.192.bl.example.", 30, 2))},
		{name: "heaviest class", rule: "RFC 5782 §2.3", ask: "69.2.0.192.bl.example.", qtype: dns.TypeA, want: found(a("69.2.0.192.bl.example.", 600, 2))},
		{name: "in an operator's prefix", rule: "RFC 5782 §2.1", ask: "200.100.51.198.bl.example.", qtype: dns.TypeA, want: found(a("200.100.51.198.bl.example.", 600, 9))},
		{name: "prefix's TXT", rule: "RFC 5782 §2.1", ask: "200.100.51.198.bl.example.", qtype: dns.TypeTXT, want: found(txt("200.100.51.198.bl.example.", 600, entries[5]))},
		{name: "IPv6 below a /64", rule: "RFC 5782 §2.4", ask: v6, qtype: dns.TypeA, want: found(a(v6, 600, 2))},
		{name: "IPv6 TXT", rule: "RFC 5782 §2.4", ask: v6, qtype: dns.TypeTXT, want: found(txt(v6, 600, entries[6]))},
		{name: "IPv4 mapped into IPv6", rule: "RFC 4291 §2.5.5.2", ask: mapped66, qtype: dns.TypeA, want: found(a(mapped66, 600, 2))},
		{name: "mixed case", rule: "RFC 4343 §4.1", ask: "66.2.0.192.bL.ExAmPlE.", qtype: dns.TypeA, want: found(a("66.2.0.192.bL.ExAmPlE.", 600, 2))},
		{name: "mixed case hex digits", rule: "RFC 4343 §4.1", ask: upperHex(nibbles("2001:db8:ab:cdef::1")), qtype: dns.TypeA, want: found(a(upperHex(nibbles("2001:db8:ab:cdef::1")), 600, 9))},
		{name: "sub-zone of one class", rule: "RFC 5782 §2.3", ask: "66.2.0.192.bounce.bl.example.", qtype: dns.TypeA, want: found(a("66.2.0.192.bounce.bl.example.", 300, 2))},
		{name: "sub-zone takes only its class", rule: "RFC 5782 §2.3", ask: "70.2.0.192.bounce.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBounce)},
		{name: "test point", rule: "RFC 5782 §5", ask: "2.0.0.127.bl.example.", qtype: dns.TypeA, want: found(a("2.0.0.127.bl.example.", 600, 2))},
		{name: "test point of a class", rule: "RFC 5782 §5", ask: "9.0.0.127.bl.example.", qtype: dns.TypeA, want: found(a("9.0.0.127.bl.example.", 600, 9))},
		{name: "test point of IPv6", rule: "RFC 5782 §5", ask: "2.0" + mapped127, qtype: dns.TypeA, want: found(a("2.0"+mapped127, 600, 2))},
	}
}

// upperHex changes the case of hex digits only.
func upperHex(name string) string {
	digits, zone := name[:len(name)-len("bl.example.")], name[len(name)-len("bl.example."):]
	return strings.ToUpper(digits) + zone
}

func unlistedCases() []answerCase {
	longer := "0." + nibbles("2001:db8:0:1::25")
	return []answerCase{
		{name: "unlisted A", rule: "RFC 2308 §2.1", ask: "65.2.0.192.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "unlisted TXT", rule: "RFC 2308 §2.1", ask: "65.2.0.192.bl.example.", qtype: dns.TypeTXT, want: nxdomain(soaBL)},
		{name: "unlisted ANY", rule: "RFC 8482 §4", ask: "65.2.0.192.bl.example.", qtype: dns.TypeANY, want: nxdomain(soaBL)},
		{name: "unlisted IPv6", rule: "RFC 2308 §2.1", ask: nibbles("2001:db8:0:2::1"), qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "unlisted in mixed case", rule: "RFC 4343 §4.1", ask: "65.2.0.192.Bl.eXample.", qtype: dns.TypeA, want: nxdomain("Bl.eXample. 300 IN SOA ns1.Bl.eXample. hostmaster.Bl.eXample. 1795325400 3600 900 86400 300")},
		{name: "never listed", rule: "RFC 5782 §5", ask: "1.0.0.127.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "never listed of IPv6", rule: "RFC 5782 §5", ask: "1.0" + mapped127, qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "no code in use", rule: "RFC 5782 §5", ask: "8.0.0.127.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "one octet", rule: "RFC 8020 §2", ask: "192.bl.example.", qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "two octets", rule: "RFC 8020 §2", ask: "0.192.bl.example.", qtype: dns.TypeNS, want: nodata(soaBL)},
		{name: "three octets", rule: "RFC 8020 §2", ask: "2.0.192.bl.example.", qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "three octets with nothing below", rule: "RFC 8020 §2", ask: "3.0.192.bl.example.", qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "partial ANY", rule: "RFC 8482 §4", ask: "3.0.192.bl.example.", qtype: dns.TypeANY, want: nodata(soaBL)},
		{name: "one nibble", rule: "RFC 8020 §2", ask: "e.bl.example.", qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "31 nibbles", rule: "RFC 8020 §2", ask: nibbles("2001:db8:0:2::1")[2:], qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "four nibbles that are octets too", rule: "RFC 8020 §2", ask: "1.0.0.2.bl.example.", qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "leading zero", rule: "RFC 5782 §2.1", ask: "066.2.0.192.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "over 255", rule: "RFC 5782 §2.1", ask: "256.2.0.192.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "not hex", rule: "RFC 5782 §2.4", ask: "g" + nibbles("2001:db8:0:1::25")[1:], qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "one octet more", rule: "RFC 5782 §2.1", ask: "1.66.2.0.192.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "one nibble more", rule: "RFC 5782 §2.4", ask: longer, qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "dot inside a label", rule: "RFC 1035 §5.1", ask: `66\.2.0.192.bl.example.`, qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "a word", rule: "RFC 2308 §2.1", ask: "www.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
	}
}

func otherCases() []answerCase {
	status := `_status.bl.example. 30 IN TXT "serial=1795325400" "time=2026-11-22T05:59:00Z" "entries=9" "evidence=2026-11-22T05:58:30Z" "age=90"`
	hosts := []string{"ns1.bl.example. 600 IN A 203.0.113.80", "ns1.bl.example. 600 IN AAAA 2001:db8::80"}
	glue := []string{"bounce.bl.example. 300 IN A 203.0.113.81"}
	ns := []string{"bl.example. 86400 IN NS ns1.bl.example.", "bl.example. 86400 IN NS ns2.example.net."}
	apexA, apexAAAA := "bl.example. 600 IN A 203.0.113.80", "bl.example. 600 IN AAAA 2001:db8::80"
	apexTXT := `bl.example. 600 IN TXT "see \"https://bl.example/\""`
	chaos := func(name, text string) reply { return found(name + ` 0 CH TXT "` + text + `"`) }
	notimp := reply{Rcode: "NOTIMP"}
	return []answerCase{
		{name: "apex SOA", rule: "RFC 1035 §3.3.13", ask: "bl.example.", qtype: dns.TypeSOA, want: found(soaBL)},
		{name: "apex NS", rule: "RFC 1034 §4.2.1", ask: "bl.example.", qtype: dns.TypeNS, want: reply{Rcode: "NOERROR", Flags: "aa", Answer: ns, Additional: hosts}},
		{name: "name server in the zone", rule: "RFC 1034 §4.2.1", ask: "nS1.bl.example.", qtype: dns.TypeA, want: found("nS1.bl.example. 600 IN A 203.0.113.80")},
		{name: "name server in the zone, IPv6", rule: "RFC 3596 §2", ask: "ns1.bl.example.", qtype: dns.TypeAAAA, want: found(hosts[1])},
		{name: "name server in the zone, TXT", rule: "RFC 2308 §2.2", ask: "ns1.bl.example.", qtype: dns.TypeTXT, want: nodata(soaBL)},
		{name: "no name server in the zone", rule: "RFC 2308 §2.1", ask: "ns3.bl.example.", qtype: dns.TypeA, want: nxdomain(soaBL)},
		{name: "apex NS with its own address", rule: "RFC 1035 §3.3.11", ask: "bounce.bl.example.", qtype: dns.TypeNS, want: reply{Rcode: "NOERROR", Flags: "aa", Answer: []string{"bounce.bl.example. 86400 IN NS bounce.bl.example."}, Additional: glue}},
		{name: "apex A", rule: "RFC 1035 §3.4.1", ask: "bl.example.", qtype: dns.TypeA, want: found(apexA)},
		{name: "apex AAAA", rule: "RFC 3596 §2.1", ask: "bl.example.", qtype: dns.TypeAAAA, want: found(apexAAAA)},
		{name: "apex TXT", rule: "RFC 1035 §3.3.14", ask: "bl.example.", qtype: dns.TypeTXT, want: found(apexTXT)},
		{name: "apex MX", rule: "RFC 2308 §2.2", ask: "bl.example.", qtype: dns.TypeMX, want: nodata(soaBL)},
		{name: "apex AAAA that it has not", rule: "RFC 2308 §2.2", ask: "bounce.bl.example.", qtype: dns.TypeAAAA, want: nodata(soaBounce)},
		{name: "apex ANY over UDP", rule: "RFC 8482 §4.1", ask: "bl.example.", qtype: dns.TypeANY, only: "udp", want: found(soaBL)},
		{name: "apex ANY over TCP", rule: "RFC 8482 §4.4", ask: "bl.example.", qtype: dns.TypeANY, only: "tcp", want: found(slices.Concat([]string{soaBL}, ns, []string{apexA, apexAAAA, apexTXT})...)},
		{name: "status", rule: "RFC 1035 §3.3.14", ask: "_status.bl.example.", qtype: dns.TypeTXT, clock: true, want: found(status)},
		{name: "status A", rule: "RFC 2308 §2.2", ask: "_status.bl.example.", qtype: dns.TypeA, want: nodata(soaBL)},
		{name: "below status", rule: "RFC 2308 §2.1", ask: "x._status.bl.example.", qtype: dns.TypeTXT, want: nxdomain(soaBL)},
		{name: "outside", rule: "RFC 1035 §4.1.1", ask: "www.example.net.", qtype: dns.TypeA, want: refused()},
		{name: "the parent", rule: "RFC 1035 §4.1.1", ask: "example.", qtype: dns.TypeSOA, want: refused()},
		{name: "the root", rule: "RFC 1035 §4.1.1", ask: ".", qtype: dns.TypeNS, want: refused()},
		{name: "a name that only ends like the zone", rule: "RFC 1035 §4.1.1", ask: "xbl.example.", qtype: dns.TypeA, want: refused()},
		{name: "version", rule: "RFC 4892 §2", ask: "VERSION.bind.", qtype: dns.TypeTXT, class: dns.ClassCHAOS, want: chaos("VERSION.bind.", `backscatter \"1\\0\"`)},
		{name: "version of the server", rule: "RFC 4892 §2", ask: "version.server.", qtype: dns.TypeTXT, class: dns.ClassCHAOS, want: chaos("version.server.", `backscatter \"1\\0\"`)},
		{name: "hostname", rule: "RFC 4892 §2", ask: "hostname.bind.", qtype: dns.TypeTXT, class: dns.ClassCHAOS, want: chaos("hostname.bind.", "ns1.bl.example")},
		{name: "identity", rule: "RFC 4892 §2", ask: "id.server.", qtype: dns.TypeANY, class: dns.ClassCHAOS, want: chaos("id.server.", "ns1.bl.example")},
		{name: "CHAOS of another type", rule: "RFC 4892 §2", ask: "id.server.", qtype: dns.TypeA, class: dns.ClassCHAOS, want: refused()},
		{name: "CHAOS of another name", rule: "RFC 4892 §2", ask: "bl.example.", qtype: dns.TypeTXT, class: dns.ClassCHAOS, want: refused()},
		{name: "another class", rule: "RFC 1035 §3.2.4", ask: "66.2.0.192.bl.example.", qtype: dns.TypeA, class: dns.ClassHESIOD, want: refused()},
		{name: "any class", rule: "RFC 1035 §3.2.5", ask: "66.2.0.192.bl.example.", qtype: dns.TypeA, class: dns.ClassANY, want: refused()},
		{name: "AXFR over UDP", rule: "RFC 5936 §4.2", ask: "bl.example.", qtype: dns.TypeAXFR, only: "udp", want: notimp},
		{name: "AXFR", rule: "RFC 5936 §2.2.1", ask: "bl.example.", qtype: dns.TypeAXFR, only: "tcp", want: refused()},
		{name: "IXFR over UDP", rule: "RFC 1995 §2", ask: "bl.example.", qtype: dns.TypeIXFR, only: "udp", want: found(soaBL)},
		{name: "IXFR", rule: "RFC 5936 §2.2.1", ask: "bl.example.", qtype: dns.TypeIXFR, only: "tcp", want: refused()},
		{name: "IXFR of no zone", rule: "RFC 1995 §2", ask: "192.bl.example.", qtype: dns.TypeIXFR, want: refused()},
		{name: "too large for UDP", rule: "RFC 2181 §9", ask: "big.example.", qtype: dns.TypeNS, only: "udp", want: reply{Rcode: "NOERROR", Flags: "aa tc"}},
		{name: "too large for UDP comes over TCP", rule: "RFC 7766 §5", ask: "big.example.", qtype: dns.TypeNS, only: "tcp", want: found(bigNS()...)},
	}
}

func bigNS() []string { return lines(zoneBig().NSRecords()) }

func allCases() []answerCase { return slices.Concat(listedCases(), unlistedCases(), otherCases()) }

func (c answerCase) packet(tb testing.TB) []byte {
	tb.Helper()
	m := question(c.ask, c.qtype)
	if c.class != 0 {
		m.Question[0].Qclass = c.class
	}
	return packed(tb, m)
}

// TestAnswer asks the pure function.
func TestAnswer(t *testing.T) {
	t.Parallel()
	v := view(t)
	for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
		for _, c := range allCases() {
			if c.only != "" && c.only != over.String() {
				continue
			}
			t.Run(over.String()+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				request := c.packet(t)
				before := slices.Clone(request)
				response, verdict := dnsd.Answer(nil, request, over, v)
				if diff := cmp.Diff(c.want, words(t, request, response)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.rule, diff)
				}
				if verdict.Err != nil || verdict.Type != c.qtype {
					t.Errorf("verdict %+v", verdict)
				}
				if !slices.Equal(before, request) {
					t.Error("the request was changed")
				}
			})
		}
	}
}

// TestServer asks the same over sockets, of both families.
func TestServer(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Listen = append(o.Listen, "[::1]:0")
	s := serve(t, o)
	for _, addr := range s.Addrs() {
		for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
			for _, c := range allCases() {
				if c.clock || c.only != "" && c.only != over.String() {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", addr, over, c.name), func(t *testing.T) {
					request := c.packet(t)
					response := exchange(t, over, addr, request)
					if diff := cmp.Diff(c.want, words(t, request, response)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", c.rule, diff)
					}
				})
			}
		}
	}
}

// TestServerCutsTTL wants the server to know the time.
func TestServerCutsTTL(t *testing.T) {
	t.Parallel()
	o := options(t)
	ends := netip.MustParsePrefix("192.0.2.66/32")
	soon := listing.NewSnapshot(listing.Build{
		Sequence: 1, Entries: slices.Values(entries),
		Endings: []listing.Ending{{Prefix: ends, Until: time.Now().Add(200 * time.Second)}},
	})
	o.Snapshots = func() *listing.Snapshot { return soon }
	s := serve(t, o)
	response := exchange(t, dnsd.UDP, s.Addrs()[0], packed(t, question("66.2.0.192.bl.example.", dns.TypeA)))
	var m dns.Msg
	if err := m.Unpack(response); err != nil {
		t.Fatal(err)
	}
	if ttl := m.Answer[0].Header().Ttl; ttl < 150 || ttl > 201 {
		t.Errorf("TTL %d of a listing that ends in 200 s", ttl)
	}
}

// TestAnswerAppends wants what stands before the answer left alone, and the
// compression to count from where the message begins.
func TestAnswerAppends(t *testing.T) {
	t.Parallel()
	request := packed(t, question("65.2.0.192.bl.example.", dns.TypeA))
	alone, _ := dnsd.Answer(nil, request, dnsd.UDP, view(t))
	behind, _ := dnsd.Answer([]byte("before"), request, dnsd.UDP, view(t))
	if diff := cmp.Diff("before"+string(alone), string(behind)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAnswerIsNotLongerInMixedCase wants names of the zone found in the
// question whatever its case, or 0x20 would cost octets.
func TestAnswerIsNotLongerInMixedCase(t *testing.T) {
	t.Parallel()
	lower, _ := dnsd.Answer(nil, packed(t, question("65.2.0.192.bl.example.", dns.TypeA)), dnsd.UDP, view(t))
	mixed, _ := dnsd.Answer(nil, packed(t, question("65.2.0.192.bL.eXAMple.", dns.TypeA)), dnsd.UDP, view(t))
	if len(mixed) != len(lower) {
		t.Errorf("%d bytes in mixed case, %d in lower", len(mixed), len(lower))
	}
}

// TestNotReady wants SERVFAIL, which clients take for no answer, while there is
// nothing to answer from (RFC 8914 §4.15).
func TestNotReady(t *testing.T) {
	t.Parallel()
	m := question("66.2.0.192.bl.example.", dns.TypeA)
	m.SetEdns0(1232, false)
	request := packed(t, m)
	response, verdict := dnsd.Answer(nil, request, dnsd.TCP, dnsd.View{})
	want := reply{Rcode: "SERVFAIL", Additional: []string{"OPT version 0 size 1232 ede 14"}}
	if diff := cmp.Diff(want, words(t, request, response)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if verdict.Kind != dnsd.Failed {
		t.Errorf("counted as %s", verdict.Kind)
	}
}

// TestIdentityUntold wants nothing told that is not configured.
func TestIdentityUntold(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"version.bind.", "version.server.", "hostname.bind.", "id.server."} {
		m := question(name, dns.TypeTXT)
		m.Question[0].Qclass = dns.ClassCHAOS
		request := packed(t, m)
		response, _ := dnsd.Answer(nil, request, dnsd.UDP, dnsd.View{Zones: zones(t), Snapshot: snapshot()})
		if diff := cmp.Diff(refused(), words(t, request, response)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
