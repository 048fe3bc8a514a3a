package dnsd_test

import (
	"testing"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// ratio counts what goes out over UDP for what comes in.
type ratio struct{ in, out int }

func (r *ratio) add(in, out []byte) { r.in, r.out = r.in+len(in), r.out+len(out) }

func (r *ratio) value() float64 { return float64(r.out) / float64(r.in) }

// forged are the questions that somebody would ask in the name of a victim, by
// what makes them attractive.
func forged(tb testing.TB) map[string][][]byte {
	tb.Helper()
	ask := func(qtype uint16, names ...string) (out [][]byte) {
		for _, name := range names {
			out = append(out, askWith(name, qtype))
		}
		return out
	}
	listed := []string{"66.2.0.192.bl.example.", nibbles("2001:db8:0:1::25")}
	unlisted := []string{"65.2.0.192.bl.example.", nibbles("2001:db8:0:2::25")}
	return map[string][][]byte{
		"A":                 ask(dns.TypeA, listed...),
		"NXDOMAIN":          ask(dns.TypeA, unlisted...),
		"TXT":               ask(dns.TypeTXT, listed...),
		"ANY":               ask(dns.TypeANY, listed...),
		"refused":           {packed(tb, question("www.example.net.", dns.TypeA))},
		"refused EDNS":      ask(dns.TypeA, "www.example.net."), // 6 octets say why (RFC 8914 §4.21)
		"apex NS":           ask(dns.TypeNS, soaAsk),
		"a client's cookie": {askWith(listed[0], dns.TypeTXT, cookieOption(firstCookie)...)},
		"malformed":         {raw(0, [4]uint16{2})},
	}
}

// TestAmplification bounds the octets out for one octet in, in all questions with
// EDNS, half IPv4 and half IPv6; and beyond the limits, for each of them.
func TestAmplification(t *testing.T) {
	t.Parallel()
	bars := map[string]float64{"A": 1.3, "NXDOMAIN": 2.0, "TXT": 3.5, "ANY": 1.5, "refused": 1.0, "refused EDNS": 1.15}
	rates := dnsd.Rates{Same: 200, All: 20_000, Slip: 3} // the defaults
	for name, packets := range forged(t) {
		var below, over ratio
		l := newLimited(t, dnsd.Rules{Rates: rates, NSID: "ns1"})
		handle := func(packet []byte) []byte { return l.handle(append(make([]byte, 0, 4096), packet...)) }
		for range rates.Same {
			for _, packet := range packets {
				below.add(packet, handle(packet))
			}
		}
		for range 3000 {
			for _, packet := range packets {
				over.add(packet, handle(packet))
			}
		}
		t.Logf("%s: %.2f, over the limit %.2f", name, below.value(), over.value())
		if bar, ok := bars[name]; ok && below.value() > bar {
			t.Errorf("%s: %.2f octets out for one in, want %.2f at most", name, below.value(), bar)
		}
		if over.value() > 0.5 {
			t.Errorf("%s: %.2f octets out for one in over the limit, want 0.5 at most", name, over.value())
		}
	}
}
