package dnsd_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"backscatter/dnsd"
	"backscatter/zonefile"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// closedSets are all that the labels of metrics may say.
var closedSets = map[string][]string{
	"transport": {"udp", "tcp"},
	"family":    {"ipv4", "ipv6"},
	"kind": {
		"listed", "unlisted", "partial", "no_address", "apex", "status", "transfer", "chaos", "cookie", "notified", "refused",
		"limited", "denied", "malformed", "bad_version", "not_implemented", "failed",
		"axfr", "ixfr", "ixfr_whole", "ixfr_current", // of transfers
	},
	"type": {
		"None", "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "DS", "DNSKEY", "SVCB", "HTTPS", "IXFR", "AXFR", "ANY", "other",
	},
	"rcode":   {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "BADCOOKIE", "other"},
	"class":   {"bounce", "notice", "autoreply", "challenge", "callout", "manual"},
	"reason":  {"no_question", "not_sent", "rate_limit", "access_rule", "limit_in_all", "limit_per_client"},
	"cookie":  {"none", "client", "bad", "good"},
	"stream":  {"query_log", "dnstap"},
	"outcome": {"written", "lost_full", "lost_rate", "lost_peer"},
	"result":  {"done", "failed", "busy", "acknowledged", "refused", "unanswered"},
}

// families are the metrics of the package, their types and their labels.
var families = map[string]string{
	"backscatter_dns_answers_total":           "counter transport family kind type rcode",
	"backscatter_dns_listed_answers_total":    "counter transport family class",
	"backscatter_dns_truncated_total":         "counter transport family",
	"backscatter_dns_dropped_total":           "counter transport family reason",
	"backscatter_dns_cookies_total":           "counter transport family cookie",
	"backscatter_dns_answer_seconds":          "histogram transport family",
	"backscatter_dns_panics_total":            "counter",
	"backscatter_dns_tcp_connections":         "gauge",
	"backscatter_dns_tcp_accepted_total":      "counter",
	"backscatter_dns_tcp_evicted_total":       "counter reason",
	"backscatter_dns_samples_total":           "counter stream outcome",
	"backscatter_dns_transfers_total":         "counter kind result",
	"backscatter_dns_transfer_bytes_total":    "counter kind",
	"backscatter_dns_transfers_running":       "gauge",
	"backscatter_dns_notifies_total":          "counter result",
	"backscatter_mirror_transfers_total":      "counter kind result",
	"backscatter_mirror_transfer_bytes_total": "counter kind",
}

// scraped is what a monitor gets.
type scraped struct {
	types  map[string]string            // of a family, as in families
	help   map[string]string            // of a family
	values map[string]float64           // of a series; of a histogram the count
	labels map[string]map[string]string // of a series
}

// scrape asks for the metrics over HTTP and reads the text.
func scrape(t *testing.T, url string) scraped {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s := scraped{map[string]string{}, map[string]string{}, map[string]float64{}, map[string]map[string]string{}}
	for name, f := range all {
		s.types[name], s.help[name] = strings.ToLower(f.GetType().String()), f.GetHelp()
		for _, m := range f.GetMetric() {
			series, labels := name, map[string]string{}
			for _, l := range m.GetLabel() {
				series += " " + l.GetValue()
				labels[l.GetName()] = l.GetValue()
			}
			s.labels[series] = labels
			s.values[series] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return s
}

// watched is a server of whom everything is counted that can be.
type watched struct {
	url    string
	server *dnsd.Server
	rules  atomic.Pointer[dnsd.Rules]
	fire   atomic.Bool // makes it panic
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{}
	registry := prometheus.NewPedanticRegistry()
	o := options(t)
	o.Metrics = registry
	o.Limits = dnsd.Limits{UDPWorkers: 1, TCPPerClient: 2}
	good := o.Zones
	o.Zones = func() *zonefile.Set {
		if w.fire.Load() {
			panic("the zones are on fire")
		}
		return good()
	}
	o.Rules = w.rules.Load
	secondaries := shared(t)
	o.Secondaries = func() *dnsd.Secondaries { return secondaries }
	w.server = serve(t, o)
	p := still(1000)
	p.zones = zones(t)
	notifying(t, p, registry, dnsd.Target{To: listen(t, nil, dns.RcodeSuccess).addr})
	copying(t, t.TempDir(), func(o *dnsd.CopierOptions) { o.Metrics = registry })
	web := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(web.Close)
	w.url = web.URL
	return w
}

// TestScrape makes each thing happen that is counted, and looks at what a monitor
// gets of it: each family is there, with its type and a sentence, no label says
// anything but what is known before, and each counter moves when its time comes.
func TestScrape(t *testing.T) {
	t.Parallel()
	w := watch(t)
	addr := w.server.Addrs()[0]
	ask := func(over dnsd.Transport, packet []byte) func() {
		return func() { exchange(t, over, addr, packet) }
	}
	plain := func(name string, qtype uint16) []byte { return packed(t, question(name, qtype)) }
	listed := plain("66.2.0.192.bl.example.", dns.TypeA)
	first := askWith("65.2.0.192.bl.example.", dns.TypeA, cookieOption(firstCookie)...)
	ruled := func(r *dnsd.Rules, do func()) func() {
		return func() {
			w.rules.Store(r)
			do()
			w.rules.Store(nil)
		}
	}
	jar := &dnsd.Rules{Jar: dnsd.NewJar(cookieSecret(secretA1))}
	silent := func(packet []byte) func() {
		return func() { send(t, dial(t, "udp", addr), packet) }
	}
	for _, c := range []struct {
		series string
		least  float64 // by how much it moves, and by no more unless open is set
		open   bool
		do     func()
	}{
		{"backscatter_dns_answers_total ipv4 listed NOERROR udp A", 1, false, ask(dnsd.UDP, listed)},
		{"backscatter_dns_answers_total ipv4 unlisted NXDOMAIN tcp other", 1, false, ask(dnsd.TCP, plain("65.2.0.192.bl.example.", 65280))},
		{"backscatter_dns_listed_answers_total notice ipv4 udp", 1, false, ask(dnsd.UDP, plain("67.2.0.192.bl.example.", dns.TypeTXT))},
		{"backscatter_dns_truncated_total ipv4 udp", 1, false, ask(dnsd.UDP, plain("big.example.", dns.TypeNS))},
		{"backscatter_dns_dropped_total ipv4 no_question udp", 1, false, silent(raw(0x8000, [4]uint16{}))},
		{"backscatter_dns_dropped_total ipv4 access_rule udp", 1, false, func() {
			w.rules.Store(&dnsd.Rules{Access: dnsd.NewAccess(dnsd.AccessRule{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Action: dnsd.Ignore})})
			silent(listed)()
		}},
		{"backscatter_dns_dropped_total ipv4 rate_limit udp", 1, true, func() {
			w.rules.Store(&dnsd.Rules{Rates: dnsd.Rates{Same: 1}})
			for range 5 { // which can be in two seconds
				silent(listed)()
			}
		}},
		{"backscatter_dns_cookies_total none ipv4 udp", 1, false, ruled(nil, ask(dnsd.UDP, listed))},
		{"backscatter_dns_cookies_total client ipv4 udp", 1, false, ruled(jar, ask(dnsd.UDP, first))},
		{"backscatter_dns_cookies_total bad ipv4 udp", 1, false, ruled(jar, ask(dnsd.UDP, askWith(soaAsk, dns.TypeSOA, cookieOption(wrongCookie)...)))},
		{"backscatter_dns_cookies_total good ipv4 tcp", 1, false, ruled(jar, func() {
			ours := cookieOf(t, exchange(t, dnsd.UDP, addr, first))
			exchange(t, dnsd.TCP, addr, askWith(soaAsk, dns.TypeSOA, cookieOption(ours)...))
		})},
		{"backscatter_dns_answer_seconds ipv4 tcp", 1, false, ask(dnsd.TCP, listed)},
		{"backscatter_dns_answer_seconds ipv4 udp", 1, true, func() {
			for range 64 {
				exchange(t, dnsd.UDP, addr, listed)
			}
		}},
		{"backscatter_dns_panics_total", 1, false, func() {
			w.fire.Store(true)
			exchange(t, dnsd.UDP, addr, listed)
			w.fire.Store(false)
		}},
		{"backscatter_dns_tcp_accepted_total", 1, false, ask(dnsd.TCP, listed)},
		{"backscatter_dns_tcp_evicted_total limit_per_client", 1, true, func() {
			for range 4 {
				exchange(t, dnsd.TCP, addr, listed) // whose connection stays open
			}
		}},
		{"backscatter_dns_samples_total written query_log", 1, false, func() {
			w.server.LogQueries(&dnsd.QueryLog{Sample: 1, Rate: 1000, To: &file{}})
			exchange(t, dnsd.UDP, addr, listed)
		}},
		{"backscatter_dns_transfers_total axfr done", 1, false, ask(dnsd.TCP, plain("bounce.bl.example.", dns.TypeAXFR))},
		{"backscatter_dns_transfer_bytes_total axfr", 100, true, ask(dnsd.TCP, plain("bounce.bl.example.", dns.TypeAXFR))},
	} {
		before := scrape(t, w.url).values[c.series]
		c.do()
		eventually(t, c.series, func() bool { return scrape(t, w.url).values[c.series] >= before+c.least })
		if got := scrape(t, w.url).values[c.series]; !c.open && got != before+c.least {
			t.Errorf("%s: moved by %v, want %v", c.series, got-before, c.least)
		}
		w.rules.Store(nil)
	}
	eventually(t, "the secondary is told", func() bool { return scrape(t, w.url).values["backscatter_dns_notifies_total acknowledged"] == 1 })
	checkFamilies(t, scrape(t, w.url))
}

// checkFamilies wants the families that are known, and of their labels what is known.
func checkFamilies(t *testing.T, s scraped) {
	t.Helper()
	for name, want := range families {
		kind, labels, _ := strings.Cut(want, " ")
		if s.types[name] != kind {
			t.Errorf("%s: type %q, want %s", name, s.types[name], kind)
		}
		if help := s.help[name]; len(help) < 20 || !strings.HasSuffix(help, ".") {
			t.Errorf("%s: help %q is no sentence", name, help)
		}
		for series, have := range s.labels {
			if family, _, _ := strings.Cut(series, " "); family != name {
				continue
			}
			if len(have) != len(strings.Fields(labels)) {
				t.Errorf("%s: labels %v, want %s", series, have, labels)
			}
			for label, value := range have {
				if !slices.Contains(strings.Fields(labels), label) || !slices.Contains(closedSets[label], value) {
					t.Errorf("%s: label %s=%q is not known", series, label, value)
				}
			}
		}
	}
	for name := range s.types {
		if families[name] == "" {
			t.Errorf("%s is not known", name)
		}
	}
}
