package dnsd

import (
	"fmt"
	"sync"
	"sync/atomic"

	"backscatter/listing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Kind is what a packet was about, as it is counted.
type Kind uint8

// The kinds of packets.
const (
	Dropped        Kind = iota // not answered
	Listed                     // an address that is listed, or a test point
	Unlisted                   // an address that is not
	Partial                    // a name above addresses, or others: an empty non-terminal
	NoAddress                  // a name in a zone that is none of the others
	Apex                       // a zone's own name
	Status                     // _status
	Transfer                   // a whole zone, or what changed
	Chaos                      // who we are
	Cookie                     // a DNS cookie, and nothing else
	Notified                   // a primary says that there is something new
	Refused                    // outside the zones, or not allowed
	Limited                    // over a limit: truncated, or told that nothing is listed
	Denied                     // an access rule refuses, or says what to answer
	Malformed                  // no well-formed question
	BadVersion                 // a version of EDNS that we do not speak
	NotImplemented             // an operation that we do not do
	Failed                     // our fault
	kinds
)

var kindNames = [kinds]string{
	"dropped", "listed", "unlisted", "partial", "no_address", "apex", "status", "transfer", "chaos", "cookie", "notified",
	"refused", "limited", "denied", "malformed", "bad_version", "not_implemented", "failed",
}

// String returns the kind's name.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Labels come from closed sets: what is in none of them is "other".
var (
	countedTypes = [...]uint16{
		dns.TypeNone, // of a packet without a whole question
		dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV,
		dns.TypeDS, dns.TypeDNSKEY, dns.TypeSVCB, dns.TypeHTTPS, dns.TypeIXFR, dns.TypeAXFR, dns.TypeANY,
	}
	countedRcodes = [...]int{
		dns.RcodeSuccess, dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNameError,
		dns.RcodeNotImplemented, dns.RcodeRefused, dns.RcodeBadVers, dns.RcodeBadCookie,
	}
	rcodeNames = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "BADCOOKIE"}
)

const other = "other"

// Reasons why a packet got no answer.
const (
	noQuestion  = iota // an answer, or less than a header
	notSent            // the answer could not be sent
	overRate           // the client gets too many answers
	ignored            // an access rule says so
	dropReasons        //
)

var dropNames = [dropReasons]string{"no_question", "not_sent", "rate_limit", "access_rule"}

// tally counts what one worker did. Workers have one each, so that they do not
// take the counter from each other's cache; [metrics] adds them up.
type tally struct {
	transport Transport
	family    family

	answers   [kinds][len(countedTypes) + 1][len(countedRcodes) + 1]atomic.Uint64
	listed    [listing.ClassManual + 1]atomic.Uint64
	truncated atomic.Uint64
	timed     latency
	dropped   [dropReasons]atomic.Uint64
	cookies   [cookieKinds]atomic.Uint64
}

// family is the IP version of a packet.
type family uint8

const (
	ipv4Family family = iota
	ipv6Family
	families
)

var familyNames = [families]string{"ipv4", "ipv6"}

func (t *tally) count(v Verdict) {
	if v.Kind == Dropped {
		t.dropped[v.reason].Add(1)
		return
	}
	t.add(talliedOf(v), 1)
}

// tallied is what is counted of an answer, in one word.
type tallied struct {
	kind      Kind
	class     listing.Class
	cookies   Cookies
	truncated bool
	qtype     uint16
	rcode     uint16
}

func talliedOf(v Verdict) tallied {
	return tallied{v.Kind, v.Class, v.Cookies, v.Truncated, v.Type, uint16(v.Rcode)}
}

// add counts n answers of a sort.
func (t *tally) add(s tallied, n uint64) {
	t.cookies[s.cookies].Add(n)
	t.answers[s.kind][indexOf(countedTypes[:], s.qtype)][indexOf(countedRcodes[:], int(s.rcode))].Add(n)
	if s.truncated {
		t.truncated.Add(n)
	}
	if s.kind == Listed {
		t.listed[s.class].Add(n)
	}
}

// pending counts the answers of a batch, of which most are of few sorts: to tell
// each to whoever may be reading costs as much as looking an address up.
type pending struct {
	used  int
	sorts [8]tallied
	times [8]uint64
}

// count counts an answer, and tells the tally of all when there is no room.
func (p *pending) count(t *tally, v Verdict) {
	s := talliedOf(v)
	for i := range p.used {
		if p.sorts[i] == s {
			p.times[i]++
			return
		}
	}
	if p.used == len(p.sorts) {
		p.tell(t)
	}
	p.sorts[p.used], p.times[p.used] = s, 1
	p.used++
}

// tell adds what was counted to a tally.
func (p *pending) tell(t *tally) {
	for i := range p.used {
		t.add(p.sorts[i], p.times[i])
	}
	p.used = 0
}

// indexOf returns where v stands in set, or the place behind all for what is not there.
func indexOf[T comparable](set []T, v T) int {
	for i, have := range set {
		if have == v {
			return i
		}
	}
	return len(set)
}

// metrics is what the package shows.
type metrics struct {
	mu      sync.Mutex // guards tallies, which grows when a socket is opened
	tallies []*tally

	answers   *prometheus.Desc
	listed    *prometheus.Desc
	truncated *prometheus.Desc
	dropped   *prometheus.Desc
	cookies   *prometheus.Desc
	seconds   *prometheus.Desc

	panics      prometheus.Counter
	connections prometheus.Gauge
	accepted    prometheus.Counter
	evicted     *prometheus.CounterVec
}

// Reasons why a TCP connection was closed for another.
const (
	evictedForAll    = "limit_in_all"
	evictedForClient = "limit_per_client"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		answers: prometheus.NewDesc("backscatter_dns_answers_total",
			"Answers by transport, IP version, what was asked about, type and rcode.",
			[]string{"transport", "family", "kind", "type", "rcode"}, nil),
		listed: prometheus.NewDesc("backscatter_dns_listed_answers_total",
			"Answers for listed addresses, by the class that was answered; of backscatter_dns_answers_total those of the kind listed.",
			[]string{"transport", "family", "class"}, nil),
		truncated: prometheus.NewDesc("backscatter_dns_truncated_total",
			"Answers that did not fit and sent the asker to TCP.", []string{"transport", "family"}, nil),
		dropped: prometheus.NewDesc("backscatter_dns_dropped_total",
			"Packets that got no answer, by reason.", []string{"transport", "family", "reason"}, nil),
		cookies: prometheus.NewDesc("backscatter_dns_cookies_total",
			"Answers by what the question brought along of DNS cookies: none, a client's alone, a bad one or a good one of the server.",
			[]string{"transport", "family", "cookie"}, nil),
		seconds: prometheus.NewDesc("backscatter_dns_answer_seconds",
			"Time from reading a question to sending its answer, with those that came with it. Timed are over UDP one batch of 64, and over TCP the last of the answers that are sent at once.",
			[]string{"transport", "family"}, nil),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "backscatter_dns_panics_total",
			Help: "Questions that made the server panic and were answered SERVFAIL.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "backscatter_dns_tcp_connections",
			Help: "TCP connections that are open.",
		}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "backscatter_dns_tcp_accepted_total",
			Help: "TCP connections that were accepted.",
		}),
		evicted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_dns_tcp_evicted_total",
			Help: "TCP connections that were closed for a newer one, by the limit that was reached.",
		}, []string{"reason"}),
	}
	m.evicted.WithLabelValues(evictedForAll)
	m.evicted.WithLabelValues(evictedForClient)
	if reg != nil {
		reg.MustRegister(m, m.panics, m.connections, m.accepted, m.evicted)
	}
	return m
}

// tally returns a new place to count in.
func (m *metrics) tally(transport Transport, f family) *tally {
	t := &tally{transport: transport, family: f}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tallies = append(m.tallies, t)
	return t
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.answers
	ch <- m.listed
	ch <- m.truncated
	ch <- m.dropped
	ch <- m.seconds
	ch <- m.cookies
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for transport := range transportNames {
		for f := range familyNames {
			m.collect(ch, Transport(transport), family(f))
		}
	}
}

// collect adds up the tallies of one transport and family. Of the answers only
// what happened is shown: the labels have thousands of combinations.
func (m *metrics) collect(ch chan<- prometheus.Metric, transport Transport, f family) {
	var sum tally
	for _, t := range m.tallies {
		if t.transport == transport && t.family == f {
			sum.addAll(t)
		}
	}
	labels := []string{transport.String(), familyNames[f]}
	send := func(desc *prometheus.Desc, n uint64, more ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), append(labels[:2:2], more...)...)
	}
	for kind := range sum.answers {
		for qtype := range sum.answers[kind] {
			for rcode := range sum.answers[kind][qtype] {
				if n := sum.answers[kind][qtype][rcode].Load(); n > 0 {
					send(m.answers, n, Kind(kind).String(), typeLabel(qtype), rcodeLabel(rcode))
				}
			}
		}
	}
	for _, class := range listing.Classes {
		send(m.listed, sum.listed[class].Load(), class.String())
	}
	ch <- sum.timed.histogram(m.seconds, labels...)
	send(m.truncated, sum.truncated.Load())
	for reason := range sum.dropped {
		send(m.dropped, sum.dropped[reason].Load(), dropNames[reason])
	}
	for kind := range sum.cookies {
		send(m.cookies, sum.cookies[kind].Load(), Cookies(kind).String())
	}
}

func (t *tally) addAll(o *tally) {
	for kind := range t.answers {
		for qtype := range t.answers[kind] {
			for rcode := range t.answers[kind][qtype] {
				t.answers[kind][qtype][rcode].Add(o.answers[kind][qtype][rcode].Load())
			}
		}
	}
	for class := range t.listed {
		t.listed[class].Add(o.listed[class].Load())
	}
	t.truncated.Add(o.truncated.Load())
	t.timed.add(&o.timed)
	for reason := range t.dropped {
		t.dropped[reason].Add(o.dropped[reason].Load())
	}
	for kind := range t.cookies {
		t.cookies[kind].Add(o.cookies[kind].Load())
	}
}

func typeLabel(i int) string {
	if i < len(countedTypes) {
		return dns.Type(countedTypes[i]).String()
	}
	return other
}

func rcodeLabel(i int) string {
	if i < len(rcodeNames) {
		return rcodeNames[i]
	}
	return other
}
