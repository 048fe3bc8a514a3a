package dnsd_test

import (
	"slices"
	"strings"
	"testing"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// ratio counts what goes out over UDP for what comes in.
type ratio struct{ in, out, cookies int }

// add counts a question, its answer, and what the answer's cookie has more than
// the question's: a server cookie that a client does not have yet is owed to him
// (RFC 7873 §5.2.3).
func (r *ratio) add(in, out []byte, cookie int) {
	r.in, r.out = r.in+len(in), r.out+len(out)
	if len(out) > 0 {
		r.cookies += cookie
	}
}

func (r *ratio) value() float64 { return float64(r.out) / float64(r.in) }

func (r *ratio) withoutCookies() float64 { return float64(r.out-r.cookies) / float64(r.in) }

// serverCookie is what the answer to a client's cookie alone has more than it.
const serverCookie = 16

// dressed returns a question as somebody would ask it in the name of a victim, by
// what it has in its OPT record; and what cookie its answer is owed.
func dressed(name string, qtype uint16) map[string]struct {
	packet []byte
	owed   int
} {
	q := ask(name, qtype, dns.ClassINET)
	with := func(flags uint16, options ...byte) []byte {
		return raw(0, [4]uint16{1, 0, 0, 1}, q, optRR(1232, 0, flags, options...))
	}
	return map[string]struct {
		packet []byte
		owed   int
	}{
		"no EDNS":         {packet: raw(0, [4]uint16{1}, q)},
		"EDNS":            {packet: with(0)},
		"DO":              {packet: with(0x8000)},
		"client's cookie": {packet: with(0x8000, cookieOption(firstCookie)...), owed: serverCookie},
		"wrong cookie":    {packet: with(0x8000, cookieOption(wrongCookie)...)},
		"unknown key":     {packet: raw(0, [4]uint16{1, 0, 0, 1}, q, signatureRR([]byte{0xC0, headerSize}, []byte{0}))},
		"key's algorithm": {packet: raw(0, [4]uint16{1, 0, 0, 1}, q, signatureRR([]byte{0xC0, headerSize}, []byte{0xC0, headerSize}))},
	}
}

const headerSize = 12

// signatureRR returns a signature without a MAC (RFC 8945 §4.2).
func signatureRR(name, algorithm []byte) []byte {
	const rest = 16 // time, fudge, and no MAC, ID, error and other data
	fixed := []byte{0, byte(dns.TypeTSIG), 0, byte(dns.ClassANY), 0, 0, 0, 0, 0, byte(len(algorithm) + rest)}
	return slices.Concat(name, fixed, algorithm, make([]byte, rest))
}

// longestName takes 255 octets.
var longestName = strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61) + "."

// forged are the questions that would be asked so, half of them for addresses of
// IPv4 and half of IPv6, and how many octets may go out for one in.
var forged = []struct {
	what  string
	bar   float64 // 0: none but that over the limit
	qtype uint16
	names []string
}{
	{"A", 1.3, dns.TypeA, []string{"66.2.0.192.bl.example.", nibbles("2001:db8:0:1::25")}},
	{"NXDOMAIN", 2.0, dns.TypeA, []string{"65.2.0.192.bl.example.", nibbles("2001:db8:0:2::25")}},
	{"TXT", 3.5, dns.TypeTXT, []string{"66.2.0.192.bl.example.", nibbles("2001:db8:0:1::25")}},
	{"ANY", 1.5, dns.TypeANY, []string{"66.2.0.192.bl.example.", nibbles("2001:db8:0:1::25")}},
	{"refused", 1.0, dns.TypeA, []string{"www.example.net."}},
	{"refused, the longest name", 1.0, dns.TypeA, []string{longestName}},
	{"not implemented", 1.0, dns.TypeAXFR, []string{"bl.example."}},
	{"NODATA", 0, dns.TypeNS, []string{"2.0.192.bl.example.", "8.b.d.0.1.0.0.2.bl.example."}},
	{"the zone's own name", 0, dns.TypeNS, []string{soaAsk}},
	{"too long for UDP", 1.0, dns.TypeNS, []string{"big.example."}},
}

// TestAmplification bounds the octets out for one octet in, and beyond the limits,
// for each question in each dress. A good cookie cannot be forged.
func TestAmplification(t *testing.T) {
	t.Parallel()
	rates := dnsd.Rates{Same: 200, All: 20_000, Slip: 3} // the defaults
	for _, f := range forged {
		below, over := map[string]*ratio{}, map[string]*ratio{}
		limits := map[string]*limited{}
		for _, name := range f.names {
			for dress, d := range dressed(name, f.qtype) {
				if limits[dress] == nil {
					limits[dress], below[dress], over[dress] = newLimited(t, dnsd.Rules{Rates: rates, NSID: "ns1"}), &ratio{}, &ratio{}
				}
				for i := range rates.Same + 3000 {
					r := below[dress]
					if i >= rates.Same {
						r = over[dress]
					}
					r.add(d.packet, limits[dress].handle(append(make([]byte, 0, 4096), d.packet...)), d.owed)
				}
			}
		}
		for dress, r := range below {
			t.Logf("%-26s %-16s %.2f, without what cookies are owed %.2f, over the limit %.2f", f.what, dress, r.value(), r.withoutCookies(), over[dress].value())
			if f.bar > 0 && r.withoutCookies() > f.bar {
				t.Errorf("%s, %s: %.2f octets out for one in, want %.2f at most", f.what, dress, r.withoutCookies(), f.bar)
			}
			if over[dress].value() > 0.5 {
				t.Errorf("%s, %s: %.2f octets out for one in over the limit, want 0.5 at most", f.what, dress, over[dress].value())
			}
		}
	}
}
