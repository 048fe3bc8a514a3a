package dnsd_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func cookieSecret(text string) (s dnsd.CookieSecret) {
	copy(s[:], unhex(text))
	return s
}

// The secrets of RFC 9018, Appendix A.
const (
	secretA1 = "e5e973e5a6b2a43f48e7dc849e37bfcf"
	secretA4 = "445536bcd2513298075a5d379663c962"
	formerA4 = "dd3bdf9344b678b185a6f5cb60fca715"
)

func cookieOption(data string) []byte {
	d := unhex(data)
	return append([]byte{0, 10, 0, byte(len(d))}, d...)
}

// askWith asks a question with options over EDNS.
func askWith(name string, qtype uint16, options ...byte) []byte {
	return raw(0, [4]uint16{1, 0, 0, 1}, ask(name, qtype, dns.ClassINET), optRR(1232, 0, 0, options...))
}

// cookieOf returns the data of the COOKIE option of an answer, in hexadecimal.
func cookieOf(tb testing.TB, response []byte) string {
	tb.Helper()
	var m dns.Msg
	if err := m.Unpack(response); err != nil {
		tb.Fatal(err)
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok {
				return c.Cookie
			}
		}
	}
	return ""
}

// TestCookieVectors has the vectors of RFC 9018, Appendix A: which cookie came in,
// when, and which went out.
func TestCookieVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client, in string
		now              int64
		secret, former   string
		out              string
		verdict          dnsd.Cookies
	}{
		{"A.1 learning a new server cookie", "198.51.100.100", "2464c4abcf10c957", 1559731985, secretA1, "", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", dnsd.FirstCookie},
		{"A.2 a renewed server cookie", "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559734385, secretA1, "", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77", dnsd.GoodCookie},
		// By the times of the RFC this cookie is 1 h 52 min old, so it is replaced,
		// as there, and not believed (§4.3).
		{"A.3 another client, reserved octets", "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559734700, secretA1, "", "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e", dnsd.BadCookie},
		{"A.3 while it is good", "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559727985 + 1800, secretA1, "", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", dnsd.GoodCookie},
		{"A.4 IPv6, with a new secret", "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741961, secretA4, formerA4, "22681ab97d52c298010000005cf7c609a6bb79d16625507a", dnsd.GoodCookie},
	} {
		v := view(t)
		v.Client, v.Now = netip.MustParseAddr(c.client), time.Unix(c.now, 0)
		jar := dnsd.NewJar(cookieSecret(c.secret))
		if c.former != "" {
			jar = dnsd.NewJar(cookieSecret(c.secret), cookieSecret(c.former))
		}
		v.Rules = &dnsd.Rules{Jar: jar}
		response, verdict := dnsd.Answer(nil, askWith(soaAsk, dns.TypeSOA, cookieOption(c.in)...), dnsd.UDP, v)
		got := cookieOf(t, response)
		if c.former != "" { // made with the former secret at its time, so good, and new enough to stay
			if got != c.in {
				t.Errorf("%s: answered %s, want the same", c.name, got)
			}
			v.Now = time.Unix(c.now, 0)
			v.Rules = &dnsd.Rules{Jar: dnsd.NewJar(cookieSecret(c.secret))}
			response, _ = dnsd.Answer(nil, askWith(soaAsk, dns.TypeSOA, cookieOption(c.in)...), dnsd.UDP, v)
			got = cookieOf(t, response)
		}
		if got != c.out || verdict.Cookies != c.verdict {
			t.Errorf("%s: %s, %s, want %s, %s", c.name, got, verdict.Cookies, c.out, c.verdict)
		}
	}
}

// TestCookieTimes changes one good cookie in every way, and moves the clock.
func TestCookieTimes(t *testing.T) {
	t.Parallel()
	const good, issued = "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559731985
	flip := func(octet int) string {
		b := unhex(good)
		b[octet] ^= 1
		return hex.EncodeToString(b)
	}
	for _, c := range []struct {
		name, in, client, secret string
		age                      int64
		want                     dnsd.Cookies
		same                     bool
	}{
		{"new", good, "", "", 0, dnsd.GoodCookie, true},
		{"30 minutes old", good, "", "", 1800, dnsd.GoodCookie, true},
		{"to be renewed", good, "", "", 1801, dnsd.GoodCookie, false},
		{"an hour old", good, "", "", 3600, dnsd.GoodCookie, false},
		{"too old", good, "", "", 3601, dnsd.BadCookie, false},
		{"from a clock that is ahead", good, "", "", -300, dnsd.GoodCookie, true},
		{"from the future", good, "", "", -301, dnsd.BadCookie, false},
		{"from the other half of the circle", good, "", "", 1 << 31, dnsd.BadCookie, false},
		{"another client cookie", flip(0), "", "", 0, dnsd.BadCookie, false},
		{"another version", flip(8), "", "", 0, dnsd.BadCookie, false},
		{"reserved octets changed", flip(9), "", "", 0, dnsd.BadCookie, false},
		{"another time", flip(15), "", "", 0, dnsd.BadCookie, false},
		{"another hash", flip(16), "", "", 0, dnsd.BadCookie, false},
		{"another hash, at its end", flip(23), "", "", 0, dnsd.BadCookie, false},
		{"another address", good, "198.51.100.101", "", 0, dnsd.BadCookie, false},
		{"the address mapped into IPv6", good, "::ffff:198.51.100.100", "", 0, dnsd.GoodCookie, true},
		{"another secret", good, "", secretA4, 0, dnsd.BadCookie, false},
		{"the shortest of another server", good[:32], "", "", 0, dnsd.BadCookie, false},
		{"the longest of another server", good + good[:32], "", "", 0, dnsd.BadCookie, false},
		{"none of a server", good[:16], "", "", 0, dnsd.FirstCookie, false},
	} {
		v := view(t)
		v.Client, v.Now = netip.MustParseAddr("198.51.100.100"), time.Unix(issued+c.age, 0)
		if c.client != "" {
			v.Client = netip.MustParseAddr(c.client)
		}
		key := secretA1
		if c.secret != "" {
			key = c.secret
		}
		v.Rules = &dnsd.Rules{Jar: dnsd.NewJar(cookieSecret(key))}
		response, verdict := dnsd.Answer(nil, askWith(soaAsk, dns.TypeSOA, cookieOption(c.in)...), dnsd.UDP, v)
		if verdict.Cookies != c.want || verdict.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: %s, %s, want %s", c.name, verdict.Cookies, rcode(verdict.Rcode), c.want)
		}
		got := cookieOf(t, response)
		if len(got) != 48 || got[:16] != c.in[:16] || (got == c.in) != c.same {
			t.Errorf("%s: answered %s to %s", c.name, got, c.in)
		}
		again, verdict := dnsd.Answer(nil, askWith(soaAsk, dns.TypeSOA, cookieOption(got)...), dnsd.UDP, v)
		if verdict.Cookies != dnsd.GoodCookie || cookieOf(t, again) != got {
			t.Errorf("%s: our own cookie is %s", c.name, verdict.Cookies)
		}
	}
}

// ruledView has a secret, a name, and a client.
func ruledView(tb testing.TB, r dnsd.Rules) dnsd.View {
	tb.Helper()
	v := view(tb)
	v.Client = netip.MustParseAddr("198.51.100.100")
	if r.Jar == nil {
		r.Jar = dnsd.NewJar(cookieSecret(secretA1))
	}
	v.Rules = &r
	return v
}

const (
	firstCookie = "2464c4abcf10c957"
	wrongCookie = firstCookie + "0100000065e1a5f80000000000000000"
)

// ruledCases are what stands in the OPT record of answers.
func ruledCases() []wireCase {
	soa, unlisted := ask(soaAsk, dns.TypeSOA, 1), ask("65.2.0.192.bl.example.", dns.TypeA, 1)
	withOpt, none := [4]uint16{1, 0, 0, 1}, [4]uint16{0, 0, 0, 1}
	opt := func(options ...string) []byte { return optRR(1232, 0, 0, unhex(strings.Join(options, ""))...) }
	first, wrong := "000a0008"+firstCookie, "000a0018"+wrongCookie
	malformed := func(n int) []byte {
		return optRR(1232, 0, 0, append([]byte{0, 10, 0, byte(n)}, make([]byte, n)...)...)
	}
	const cookie, nsidBack = optPlain + " option 10", optPlain + " option 3"
	formerr := reply{Rcode: "FORMERR", Additional: []string{optPlain}}
	cases := []wireCase{
		{"no cookie", "RFC 7873 §5.2.1", raw(0, withOpt, soa, opt()), withOPT(found(soaBL), optPlain)},
		{"a client cookie", "RFC 7873 §5.2.3", raw(0, withOpt, soa, opt(first)), withOPT(found(soaBL), cookie)},
		{"a wrong server cookie", "RFC 7873 §5.2.4", raw(0, withOpt, unlisted, opt(wrong)), withOPT(nxdomain(soaBL), cookie)},
		{"two cookies, of which the first counts", "RFC 7873 §5.2", raw(0, withOpt, soa, opt(first, "000a0008ffffffffffffffff")), withOPT(found(soaBL), cookie)},
		{"a cookie in what is refused", "RFC 7873 §5.2.3", raw(0, withOpt, ask("example.net.", dns.TypeA, 1), opt(first)), reply{Rcode: "REFUSED", Additional: []string{cookie + " ede 20"}}},
		{"a cookie in what is truncated", "RFC 7873 §5.2.3", raw(0, withOpt, ask("big.example.", dns.TypeNS, 1), opt(first)), reply{Rcode: "NOERROR", Flags: "aa tc", Additional: []string{cookie}}},
		{"a cookie in what is not implemented", "RFC 7873 §5.2.3", raw(opcode15, withOpt, soa, opt(first)), reply{Rcode: "NOTIMP", Additional: []string{cookie + " ede 21"}}},
		{"a cookie and another version", "RFC 6891 §6.1.3", raw(0, withOpt, soa, optRR(1232, 1, 0, unhex(first)...)), reply{Rcode: "BADVERS", Additional: []string{optPlain}}},
		{"a cookie alone", "RFC 7873 §5.4", raw(0, none, opt(first)), reply{Rcode: "NOERROR", Additional: []string{cookie}}},
		{"a wrong cookie alone", "RFC 7873 §5.4", raw(0, none, opt(wrong)), reply{Rcode: "BADCOOKIE", Additional: []string{cookie}}},
		{"no question and no cookie", "RFC 9619 §4", raw(0, none, opt()), formerr},
		{"two questions and a cookie", "RFC 9619 §4", raw(0, [4]uint16{2, 0, 0, 1}, soa, soa, opt(first)), reply{Rcode: "FORMERR", Additional: []string{cookie}}},
		{"NSID", "RFC 5001 §2.1", raw(0, withOpt, soa, opt(nsid)), withOPT(found(soaBL), nsidBack)},
		{"NSID with data, which is ignored", "RFC 5001 §2.1", raw(0, withOpt, soa, opt("0003 0002 abcd")), withOPT(found(soaBL), nsidBack)},
		{"a cookie and NSID", "RFC 6891 §6.1.2", raw(0, withOpt, soa, opt(nsid, first)), withOPT(found(soaBL), cookie+" option 3")},
	}
	for _, n := range []int{0, 1, 7, 9, 15, 41, 60} {
		name := fmt.Sprintf("a cookie of %d octets", n)
		cases = append(cases, wireCase{name, "RFC 7873 §5.2.2", raw(0, withOpt, soa, malformed(n)), formerr})
	}
	return cases
}

// TestRules asks both paths, over sockets too.
func TestRules(t *testing.T) {
	t.Parallel()
	v := ruledView(t, dnsd.Rules{NSID: "ns1"})
	o := options(t)
	o.Rules = func() *dnsd.Rules { return v.Rules }
	addr := serve(t, o).Addrs()[0]
	p := newPaths(v)
	for _, c := range ruledCases() {
		response, _ := dnsd.Answer(nil, c.packet, dnsd.UDP, v)
		if diff := cmp.Diff(c.over(dnsd.UDP), words(t, c.packet, response)); diff != "" {
			t.Errorf("%s: %s (-want +got)\n%s", c.name, c.rule, diff)
		}
		p.check(t, c.packet)
		for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
			if strings.Contains(c.want.Flags, "tc") && over == dnsd.TCP {
				continue
			}
			if diff := cmp.Diff(c.over(over), words(t, c.packet, exchange(t, over, addr, c.packet))); diff != "" {
				t.Errorf("%s over %s: %s (-want +got)\n%s", c.name, over, c.rule, diff)
			}
		}
	}
	nsid := slices.Concat(unhex("0003 0003"), []byte("ns1"))
	if response, _ := dnsd.Answer(nil, askWith(soaAsk, dns.TypeSOA, unhex("00030000")...), dnsd.UDP, v); !strings.HasSuffix(string(response), string(nsid)) {
		t.Errorf("no NSID at the end of %x", response)
	}
}

// TestCookiesOff wants a server without a secret to know nothing of cookies
// (RFC 7873 §5.2.1), but of their form.
func TestCookiesOff(t *testing.T) {
	t.Parallel()
	v := view(t)
	v.Client, v.Rules = netip.MustParseAddr("192.0.2.1"), &dnsd.Rules{}
	for _, c := range []wireCase{
		{packet: askWith(soaAsk, dns.TypeSOA, cookieOption(firstCookie)...), want: withOPT(found(soaBL), optPlain)},
		{packet: raw(0, [4]uint16{0, 0, 0, 1}, optRR(1232, 0, 0, cookieOption(firstCookie)...)), want: reply{Rcode: "FORMERR", Additional: []string{optPlain}}},
	} {
		response, _ := dnsd.Answer(nil, c.packet, dnsd.UDP, v)
		if diff := cmp.Diff(c.want, words(t, c.packet, response)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

// TestRequireCookies wants BADCOOKIE for who speaks of cookies and has none of
// ours, until it has, and over UDP alone (RFC 7873 §5.2.3, §5.2.4).
func TestRequireCookies(t *testing.T) {
	t.Parallel()
	v := ruledView(t, dnsd.Rules{RequireCookies: true})
	p := newPaths(v)
	good := withOPT(found(soaBL), optPlain+" option 10")
	bad := reply{Rcode: "BADCOOKIE", Additional: []string{optPlain + " option 10"}}
	for _, first := range []string{firstCookie, wrongCookie} {
		request := askWith(soaAsk, dns.TypeSOA, cookieOption(first)...)
		response, _ := dnsd.Answer(nil, request, dnsd.UDP, v)
		if diff := cmp.Diff(bad, words(t, request, response)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		p.check(t, request)
		again := askWith(soaAsk, dns.TypeSOA, cookieOption(cookieOf(t, response))...)
		response, _ = dnsd.Answer(nil, again, dnsd.UDP, v)
		if diff := cmp.Diff(good, words(t, again, response)); diff != "" {
			t.Errorf("with our cookie (-want +got)\n%s", diff)
		}
		if !p.check(t, again) {
			t.Error("a good cookie was left to the general path")
		}
		response, _ = dnsd.Answer(nil, request, dnsd.TCP, v)
		if diff := cmp.Diff(good, words(t, request, response)); diff != "" {
			t.Errorf("over TCP (-want +got)\n%s", diff)
		}
	}
	without := packed(t, question(soaAsk, dns.TypeSOA))
	response, _ := dnsd.Answer(nil, without, dnsd.UDP, v)
	if diff := cmp.Diff(found(soaBL), words(t, without, response)); diff != "" {
		t.Errorf("without EDNS (-want +got)\n%s", diff)
	}
}

// TestOptionsFit asks with the longest question and all that an answer can be
// asked to have, and wants it within 512 octets (RFC 6891 §6.2.3).
func TestOptionsFit(t *testing.T) {
	t.Parallel()
	v := ruledView(t, dnsd.Rules{NSID: strings.Repeat("n", dnsd.MaxNSID)})
	name := strings.Repeat(strings.Repeat("a", 62)+".", 3) + strings.Repeat("b", 53) + ".bl.example."
	for _, name := range []string{name, "big.example."} {
		request := raw(0, [4]uint16{1, 0, 0, 1}, ask(name, dns.TypeNS, 1), optRR(512, 0, 0, append(cookieOption(firstCookie), unhex(nsid)...)...))
		response, _ := dnsd.Answer(nil, request, dnsd.UDP, v)
		if len(response) > 512 {
			t.Errorf("%d octets", len(response))
		}
		if got := words(t, request, response); !slices.Contains(got.Additional, optPlain+" option 10 option 3") {
			t.Errorf("%+v", got)
		}
	}
}
