package dnsd_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// accessRules have one client for each action.
func accessRules() *dnsd.Access {
	rule := func(prefix string, action dnsd.Action) dnsd.AccessRule {
		return dnsd.AccessRule{Prefix: netip.MustParsePrefix(prefix), Action: action}
	}
	code := rule("2001:db8:5::/48", dnsd.Replace)
	code.Code = netip.MustParseAddr("127.255.255.254")
	return dnsd.NewAccess(
		rule("198.51.100.0/24", dnsd.Refuse), rule("198.51.100.3/32", dnsd.Ignore), rule("198.51.100.128/25", dnsd.Allow),
		rule("203.0.113.0/24", dnsd.Empty), code,
	)
}

// accessCase is what clients are told about names.
type accessCase struct {
	client string
	rule   string
	wants  map[string]string // name and type: the answer in short
}

// short writes an answer down: the rcode, the extended error, the first record
// of the answer, and the TTL of a negative one.
func short(tb testing.TB, request, response []byte) string {
	tb.Helper()
	if len(response) == 0 {
		return "nothing"
	}
	r := words(tb, request, response)
	out := r.Rcode
	if len(r.Answer) > 0 {
		return out + " " + r.Answer[0]
	}
	var m dns.Msg
	if err := m.Unpack(response); err != nil {
		tb.Fatal(err)
	}
	if len(m.Ns) > 0 {
		out += fmt.Sprintf(" %d", m.Ns[0].Header().Ttl)
	}
	for _, o := range m.IsEdns0().Option {
		if ede, ok := o.(*dns.EDNS0_EDE); ok {
			out += fmt.Sprintf(" ede %d %s", ede.InfoCode, ede.ExtraText)
		}
	}
	return out
}

// TestAccess asks for each sort of name from a client of each rule. The zone's own
// name, its name servers and the test points are answered to all of them.
func TestAccess(t *testing.T) {
	t.Parallel()
	const host, prohibited = "66.2.0.192.bl.example.", " ede 18 https://bl.example/"
	normal := map[string]string{
		host + " A":                        "NOERROR " + a(host, 600, 2),
		"65.2.0.192.bl.example. A":         "NXDOMAIN 300",
		"2.0.192.bl.example. A":            "NOERROR 300",
		"0.0.0.0.bl.example. A":            "NOERROR 300", // an address, and above ::ffff:127.0.0.2
		"bl.example. SOA":                  "NOERROR " + soaBL,
		"bl.example. TXT":                  `NOERROR bl.example. 600 IN TXT "see \"https://bl.example/\""`,
		"ns1.bl.example. A":                "NOERROR ns1.bl.example. 600 IN A 203.0.113.80",
		"2.0.0.127.bl.example. A":          "NOERROR " + a("2.0.0.127.bl.example.", 600, 2),
		"1.0.0.127.bl.example. A":          "NXDOMAIN 300",
		"2.0" + mapped127 + " A":           "NOERROR " + a("2.0"+mapped127, 600, 2),
		"www.bl.example. A":                "NXDOMAIN 300",
		"www.example.net. A":               "REFUSED ede 20 ",
		nibbles("2001:db8:0:1::25") + " A": "NOERROR " + a(nibbles("2001:db8:0:1::25"), 600, 2),
	}
	except := func(changed map[string]string) map[string]string {
		out := map[string]string{}
		for name, want := range normal {
			out[name] = want
			if other, ok := changed[name]; ok {
				out[name] = other
			}
		}
		return out
	}
	const v6 = "NXDOMAIN 60" + prohibited
	refusedAll, silent := map[string]string{}, map[string]string{}
	for _, name := range []string{host + " A", "65.2.0.192.bl.example. A", "2.0.192.bl.example. A", "0.0.0.0.bl.example. A", "www.bl.example. A", nibbles("2001:db8:0:1::25") + " A"} {
		refusedAll[name], silent[name] = "REFUSED ede 18 ", "nothing"
	}
	silent["www.example.net. A"] = "nothing"
	v6Name := nibbles("2001:db8:0:1::25")
	for _, c := range []accessCase{
		{"192.0.2.1", "none", normal},
		{"198.51.100.200", "allow", normal},
		{"198.51.100.1", "refuse", except(refusedAll)},
		{"::ffff:198.51.100.1", "refuse, mapped", except(refusedAll)},
		{"198.51.100.3", "ignore", except(silent)},
		{"203.0.113.9", "empty", except(map[string]string{
			host + " A": "NXDOMAIN 60" + prohibited, "65.2.0.192.bl.example. A": "NXDOMAIN 60" + prohibited, v6Name + " A": v6,
			"0.0.0.0.bl.example. A": "NOERROR 60" + prohibited,
		})},
		{"2001:db8:5::1", "code", except(map[string]string{
			host + " A":                "NOERROR " + host + " 60 IN A 127.255.255.254",
			"65.2.0.192.bl.example. A": "NOERROR 65.2.0.192.bl.example. 60 IN A 127.255.255.254",
			"0.0.0.0.bl.example. A":    "NOERROR 0.0.0.0.bl.example. 60 IN A 127.255.255.254",
			v6Name + " A":              "NOERROR " + v6Name + " 60 IN A 127.255.255.254",
		})},
	} {
		v := ruledView(t, dnsd.Rules{Access: accessRules()})
		v.Client = netip.MustParseAddr(c.client)
		p := newPaths(v)
		for ask, want := range c.wants {
			var name, qtype string
			if _, err := fmt.Sscan(ask, &name, &qtype); err != nil {
				t.Fatal(err)
			}
			request := askWith(name, dns.StringToType[qtype])
			for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
				want := want
				if over == dnsd.UDP && strings.HasPrefix(want, "REFUSED") {
					want = "REFUSED" // why would make it longer than the question
				}
				response, _ := dnsd.Answer(nil, request, over, v)
				if got := short(t, request, response); got != want {
					t.Errorf("%s, %s over %s: %s, want %s", c.rule, ask, over, got, want)
				}
			}
			p.check(t, request)
		}
	}
}

// TestAccessCodeTypes asks what a code says beside its address.
func TestAccessCodeTypes(t *testing.T) {
	t.Parallel()
	v := ruledView(t, dnsd.Rules{Access: accessRules()})
	v.Client = netip.MustParseAddr("2001:db8:5::1")
	const name = "65.2.0.192.bl.example."
	text := name + ` 60 IN TXT "https://bl.example/ backscatter: your resolver may not use this list"`
	for _, c := range []struct {
		qtype uint16
		over  dnsd.Transport
		want  []string
	}{
		{dns.TypeTXT, dnsd.UDP, []string{text}},
		{dns.TypeANY, dnsd.UDP, []string{name + " 60 IN A 127.255.255.254"}},
		{dns.TypeANY, dnsd.TCP, []string{name + " 60 IN A 127.255.255.254", text}},
		{dns.TypeAAAA, dnsd.UDP, nil},
	} {
		request := askWith(name, c.qtype)
		response, verdict := dnsd.Answer(nil, request, c.over, v)
		r := words(t, request, response)
		if diff := cmp.Diff(c.want, r.Answer); diff != "" || r.Rcode != "NOERROR" || verdict.Kind != dnsd.Denied {
			t.Errorf("%s: %s, counted as %s (-want +got)\n%s", dns.Type(c.qtype), r.Rcode, verdict.Kind, diff)
		}
	}
}

// limited is a server whose clock stands still but for the test, so that all
// questions come in one second.
type limited struct {
	handle func([]byte) []byte
	view   dnsd.View
}

func newLimited(t *testing.T, r dnsd.Rules) *limited {
	t.Helper()
	l := &limited{view: ruledView(t, r)}
	l.handle, _ = dnsd.Worker(func() dnsd.View { return l.view })
	return l
}

// ask asks from a client, and says what came back: an answer, a truncated one
// without any record, or nothing.
func (l *limited) ask(t *testing.T, client string, request []byte) string {
	t.Helper()
	l.view.Client = netip.MustParseAddr(client)
	out := l.handle(append(make([]byte, 0, 4096), request...))
	if len(out) == 0 {
		return "nothing"
	}
	if r := words(t, request, out); r.Flags == "tc" {
		if r.Rcode != "NOERROR" || len(r.Answer)+len(r.Authority) > 0 {
			t.Errorf("slipped with %+v", r)
		}
		return "truncated"
	}
	return "answer"
}

// times asks so many times, and counts what came back.
func (l *limited) times(t *testing.T, n int, client string, request func(i int) []byte) map[string]int {
	t.Helper()
	got := map[string]int{}
	for i := range n {
		got[l.ask(t, client, request(i))]++
	}
	return got
}

func same(request []byte) func(int) []byte { return func(int) []byte { return request } }

// different asks for another unlisted name each time.
func different(t *testing.T) func(int) []byte {
	t.Helper()
	return func(i int) []byte {
		return packed(t, question(fmt.Sprintf("%d.%d.%d.203.bl.example.", i%250, i/250%250, i/62500), dns.TypeA))
	}
}

// TestRates asks too much in one second.
func TestRates(t *testing.T) {
	t.Parallel()
	rates := dnsd.Rates{Same: 10, All: 100, Slip: 3}
	one := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	over := map[string]int{"answer": 10, "truncated": 10, "nothing": 20}
	for name, c := range map[string]struct {
		client  string
		rates   dnsd.Rates
		n       int
		request func(int) []byte
		want    map[string]int
	}{
		"the same name":       {"192.0.2.1", rates, 40, same(one), over},
		"of IPv6":             {"2001:db8::1", rates, 40, same(one), over},
		"in other cases":      {"192.0.2.1", rates, 40, func(i int) []byte { return mixedCase(one, i) }, over},
		"of other types":      {"192.0.2.1", rates, 40, func(i int) []byte { return allTypes(one)[i%10] }, over},
		"the zone's own name": {"192.0.2.1", rates, 40, same(packed(t, question(soaAsk, dns.TypeTXT))), over},
		"refused":             {"192.0.2.1", rates, 40, same(packed(t, question("example.net.", dns.TypeA))), over},
		"no question": {"192.0.2.1", rates, 40, func(i int) []byte {
			return raw(0, [4]uint16{uint16(2 + i)}) // FORMERR
		}, over},
		"different names":             {"192.0.2.1", rates, 100, different(t), map[string]int{"answer": 100}},
		"too many different names":    {"192.0.2.1", rates, 160, different(t), map[string]int{"answer": 100, "truncated": 20, "nothing": 40}},
		"none slips":                  {"192.0.2.1", dnsd.Rates{Same: 10}, 40, same(one), map[string]int{"answer": 10, "nothing": 30}},
		"every second slips":          {"192.0.2.1", dnsd.Rates{Same: 10, Slip: 2}, 40, same(one), map[string]int{"answer": 10, "truncated": 15, "nothing": 15}},
		"no limits":                   {"192.0.2.1", dnsd.Rates{}, 40, same(one), map[string]int{"answer": 40}},
		"a client of the rule allow":  {"198.51.100.200", rates, 40, same(one), map[string]int{"answer": 40}},
		"5000 names, at the defaults": {"192.0.2.1", dnsd.Rates{Same: 200, All: 20_000, Slip: 3}, 5000, different(t), map[string]int{"answer": 5000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimited(t, dnsd.Rules{Rates: c.rates, Access: accessRules()})
			if diff := cmp.Diff(c.want, l.times(t, c.n, c.client, c.request)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			l.view.Now = l.view.Now.Add(time.Second)
			if got := l.ask(t, c.client, one); got != "answer" {
				t.Errorf("in the next second: %s", got)
			}
		})
	}
}

// mixedCase changes the case of some letters of the name.
func mixedCase(request []byte, n int) []byte {
	out := append([]byte(nil), request...)
	for i := 12; i < len(out)-5; i++ {
		if c := out[i] | 0x20; c >= 'a' && c <= 'z' {
			out[i] = c &^ (byte(n&1) << 5)
			n >>= 1
		}
	}
	return out
}

// TestRatesCountClients wants the addresses of one client counted together, and
// those of others apart.
func TestRatesCountClients(t *testing.T) {
	t.Parallel()
	one := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	for _, c := range []struct{ first, second, want string }{
		{"192.0.2.1", "192.0.2.255", "nothing"},
		{"192.0.2.1", "::ffff:192.0.2.2", "nothing"},
		{"192.0.2.1", "192.0.3.1", "answer"},
		{"2001:db8:0:100::1", "2001:db8:0:1ff::2", "nothing"},
		{"2001:db8:0:100::1", "2001:db8:0:200::1", "answer"},
	} {
		l := newLimited(t, dnsd.Rules{Rates: dnsd.Rates{Same: 5, All: 5}})
		if diff := cmp.Diff(map[string]int{"answer": 5, "nothing": 1}, l.times(t, 6, c.first, same(one))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.first, diff)
		}
		if got := l.ask(t, c.second, one); got != c.want {
			t.Errorf("%s after %s: %s, want %s", c.second, c.first, got, c.want)
		}
	}
}

// TestGoodCookieHasNoRate wants who has shown his address never limited, and
// who slips to get what he can show next time (RFC 7873 §5.2.3).
func TestGoodCookieHasNoRate(t *testing.T) {
	t.Parallel()
	l := newLimited(t, dnsd.Rules{Rates: dnsd.Rates{Same: 5, All: 5, Slip: 1}})
	first := askWith("66.2.0.192.bl.example.", dns.TypeA, cookieOption(firstCookie)...)
	if diff := cmp.Diff(map[string]int{"answer": 5, "truncated": 1}, l.times(t, 6, "192.0.2.1", same(first))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	slipped := l.handle(append(make([]byte, 0, 4096), first...))
	good := askWith("66.2.0.192.bl.example.", dns.TypeA, cookieOption(cookieOf(t, slipped))...)
	if diff := cmp.Diff(map[string]int{"answer": 500}, l.times(t, 500, "192.0.2.1", same(good))); diff != "" {
		t.Errorf("with a good cookie (-want +got)\n%s", diff)
	}
	if got := l.ask(t, "192.0.2.2", good); got == "answer" {
		t.Error("the cookie of another address was as good")
	}
}

// TestQuota uses a quota up: all addresses are unlisted then, until the next period;
// the zone's own name and the test points are not.
func TestQuota(t *testing.T) {
	t.Parallel()
	const host = "66.2.0.192.bl.example."
	l := newLimited(t, dnsd.Rules{Rates: dnsd.Rates{Quota: 10, Period: time.Hour}})
	request := askWith(host, dns.TypeA)
	exhausted := "NXDOMAIN 60 ede 18 https://bl.example/"
	ask := func(request []byte) string {
		return short(t, request, l.handle(append(make([]byte, 0, 4096), request...)))
	}
	want := func(want string, request []byte) {
		t.Helper()
		if got := ask(request); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for range 10 {
		want("NOERROR "+a(host, 600, 2), request)
	}
	want(exhausted, request)
	want(exhausted, askWith("65.2.0.192.bl.example.", dns.TypeTXT))
	want("NOERROR 300", askWith("2.0.192.bl.example.", dns.TypeA))
	want("NOERROR 60 ede 18 https://bl.example/", askWith("0.0.0.0.bl.example.", dns.TypeA)) // above ::ffff:127.0.0.2
	want("NOERROR "+soaBL, askWith(soaAsk, dns.TypeSOA))
	want("NOERROR "+a("2.0.0.127.bl.example.", 600, 2), askWith("2.0.0.127.bl.example.", dns.TypeA))
	l.view.Client = netip.MustParseAddr("192.0.3.1")
	want("NOERROR "+a(host, 600, 2), request)
	l.view.Client = netip.MustParseAddr("198.51.100.7")
	want(exhausted, request)
	l.view.Now = l.view.Now.Add(time.Hour)
	want("NOERROR "+a(host, 600, 2), request)
}

// TestQuotaOfTheForged has a stranger ask in a client's name: who shows that he is the
// client has a quota of his own, and what is not answered uses none up.
func TestQuotaOfTheForged(t *testing.T) {
	t.Parallel()
	const host, client = "66.2.0.192.bl.example.", "192.0.2.1"
	l := newLimited(t, dnsd.Rules{Rates: dnsd.Rates{Quota: 10, Period: time.Hour, Same: 4, Slip: 3}})
	forged := askWith(host, dns.TypeA)
	if diff := cmp.Diff(map[string]int{"answer": 4, "truncated": 8, "nothing": 16}, l.times(t, 28, client, same(forged))); diff != "" {
		t.Errorf("in one second (-want +got)\n%s", diff)
	}
	ask := func(request []byte) string {
		return short(t, request, l.handle(append(make([]byte, 0, 4096), request...)))
	}
	listed, exhausted := "NOERROR "+a(host, 600, 2), "NXDOMAIN 60 ede 18 https://bl.example/"
	for i, want := range []string{listed, listed, listed, listed, listed, listed, exhausted} { // 4 were answered before
		l.view.Now = l.view.Now.Add(time.Second)
		if got := ask(forged); got != want {
			t.Errorf("question %d: %s, want %s", i, got, want)
		}
	}
	first := askWith(soaAsk, dns.TypeSOA, cookieOption(firstCookie)...)
	ours := cookieOf(t, l.handle(append(make([]byte, 0, 4096), first...)))
	good := askWith(host, dns.TypeA, cookieOption(ours)...)
	for i := range 11 {
		want := listed
		if i == 10 {
			want = exhausted
		}
		if got := ask(good); got != want {
			t.Errorf("with a good cookie, question %d: %s, want %s", i, got, want)
		}
	}
	l.view.Client = netip.MustParseAddr("192.0.3.1")
	if got := ask(forged); got != listed {
		t.Errorf("another client: %s", got)
	}
}

// TestQuotaOfTheForgedOverTCP wants who comes over TCP to have a quota of his own.
func TestQuotaOfTheForgedOverTCP(t *testing.T) {
	t.Parallel()
	o := options(t)
	rules := &dnsd.Rules{Rates: dnsd.Rates{Quota: 10, Period: 1e6 * time.Hour}}
	o.Rules = func() *dnsd.Rules { return rules }
	addr := serve(t, o).Addrs()[0]
	request := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	for i := range 11 {
		got := words(t, request, exchange(t, dnsd.UDP, addr, request)).Rcode
		if want := []string{"NOERROR", "NXDOMAIN"}[i/10]; got != want {
			t.Errorf("question %d over UDP: %s, want %s", i, got, want)
		}
	}
	for i := range 11 {
		got := words(t, request, exchange(t, dnsd.TCP, addr, request)).Rcode
		if want := []string{"NOERROR", "NXDOMAIN"}[i/10]; got != want {
			t.Errorf("question %d over TCP: %s, want %s", i, got, want)
		}
	}
}

// TestLimitsOverSockets wants the server to limit what comes over UDP and not
// over TCP, to count it, and to know its clients by their addresses.
func TestLimitsOverSockets(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	o := options(t)
	o.Metrics, o.Listen = registry, append(o.Listen, "[::1]:0")
	rules := &dnsd.Rules{Jar: dnsd.NewJar(cookieSecret(secretA1)), Rates: dnsd.Rates{Same: 1, Slip: 1}}
	o.Rules = func() *dnsd.Rules { return rules }
	request := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	for _, addr := range serve(t, o).Addrs() {
		// Three questions can be in three seconds, so ask until one is one too many.
		eventually(t, "a limit over UDP", func() bool {
			return words(t, request, exchange(t, dnsd.UDP, addr, request)).Flags == "tc"
		})
		for range 5 {
			if got := words(t, request, exchange(t, dnsd.TCP, addr, request)); got.Flags != "aa" {
				t.Errorf("over TCP %+v", got)
			}
		}
		first := askWith(soaAsk, dns.TypeSOA, cookieOption(firstCookie)...)
		good := askWith(soaAsk, dns.TypeSOA, cookieOption(cookieOf(t, exchange(t, dnsd.TCP, addr, first)))...)
		for range 5 {
			if got := words(t, good, exchange(t, dnsd.UDP, addr, good)); got.Flags != "aa" {
				t.Errorf("with a cookie that was got over TCP: %+v", got)
			}
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		labels := map[string]string{"transport": "udp", "family": family, "kind": "limited", "type": "A", "rcode": "NOERROR"}
		if got := counted(t, registry, "backscatter_dns_answers_total", labels); got < 1 {
			t.Errorf("%v answers of %s counted as limited", got, family)
		}
		if got := counted(t, registry, "backscatter_dns_cookies_total", map[string]string{"transport": "udp", "family": family, "cookie": "good"}); got != 5 {
			t.Errorf("%v good cookies of %s counted, want 5", got, family)
		}
	}
}

// TestLimitsDrop wants what is not answered counted by its reason.
func TestLimitsDrop(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	o := options(t)
	o.Metrics = registry
	rules := &dnsd.Rules{Access: dnsd.NewAccess(dnsd.AccessRule{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Action: dnsd.Ignore})}
	o.Rules = func() *dnsd.Rules { return rules }
	addr := serve(t, o).Addrs()[0]
	conn := dial(t, "udp", addr)
	send(t, conn, packed(t, question("66.2.0.192.bl.example.", dns.TypeA)))
	request := packed(t, question(soaAsk, dns.TypeSOA))
	if diff := cmp.Diff(found(soaBL), words(t, request, exchange(t, dnsd.UDP, addr, request))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	eventually(t, "the dropped question counted", func() bool {
		return counted(t, registry, "backscatter_dns_dropped_total", map[string]string{"reason": "access_rule"}) == 1
	})
}
