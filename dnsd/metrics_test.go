package dnsd_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// counted adds up the values of a metric whose labels are at least those given.
func counted(tb testing.TB, g prometheus.Gatherer, name string, labels map[string]string) float64 {
	tb.Helper()
	families, err := g.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			matches := true
			for k, v := range labels {
				matches = matches && have[k] == v
			}
			if matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// eventually polls what another goroutine brings about.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !condition(); {
		if time.Now().After(end) {
			tb.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Listen = append(o.Listen, "[::1]:0")
	registry := prometheus.NewRegistry()
	o.Metrics = registry
	s := serve(t, o)
	v4, v6 := s.Addrs()[0], s.Addrs()[1]

	asked := func(name string, qtype uint16) []byte { return packed(t, question(name, qtype)) }
	exchange(t, dnsd.UDP, v4, asked("66.2.0.192.bl.example.", dns.TypeA))
	exchange(t, dnsd.UDP, v4, asked("66.2.0.192.bl.example.", dns.TypeA))
	exchange(t, dnsd.TCP, v4, asked("66.2.0.192.bl.example.", dns.TypeTXT))
	exchange(t, dnsd.UDP, v6, asked("2.0.192.bl.example.", dns.TypeNS))
	exchange(t, dnsd.TCP, v6, asked("65.2.0.192.bl.example.", 65280))
	exchange(t, dnsd.UDP, v4, asked("big.example.", dns.TypeNS))
	exchange(t, dnsd.UDP, v4, raw(0, [4]uint16{}))
	conn := dial(t, "udp", v4)
	send(t, conn, raw(0x8000, [4]uint16{}))

	type labels = map[string]string
	for _, want := range []struct {
		n      float64
		labels labels
	}{
		{2, labels{"transport": "udp", "family": "ipv4", "kind": "listed", "type": "A", "rcode": "NOERROR"}},
		{1, labels{"transport": "tcp", "family": "ipv4", "kind": "listed", "type": "TXT", "rcode": "NOERROR"}},
		{1, labels{"transport": "udp", "family": "ipv6", "kind": "partial", "type": "NS", "rcode": "NOERROR"}},
		{1, labels{"transport": "tcp", "family": "ipv6", "kind": "unlisted", "type": "other", "rcode": "NXDOMAIN"}},
		{1, labels{"transport": "udp", "family": "ipv4", "kind": "apex", "type": "NS", "rcode": "NOERROR"}},
		{1, labels{"transport": "udp", "family": "ipv4", "kind": "malformed", "type": "None", "rcode": "FORMERR"}},
		{7, nil},
	} {
		if got := counted(t, registry, "backscatter_dns_answers_total", want.labels); got != want.n {
			t.Errorf("%v of %v, want %v", got, want.labels, want.n)
		}
	}
	if got := counted(t, registry, "backscatter_dns_truncated_total", labels{"transport": "udp", "family": "ipv4"}); got != 1 {
		t.Errorf("%v truncated, want 1", got)
	}
	exchange(t, dnsd.UDP, v4, asked("67.2.0.192.bl.example.", dns.TypeMX))
	for class, want := range map[string]float64{"bounce": 3, "notice": 1, "manual": 0} {
		if got := counted(t, registry, "backscatter_dns_listed_answers_total", labels{"class": class}); got != want {
			t.Errorf("%v answers for listed addresses of class %s, want %v", got, class, want)
		}
	}
	eventually(t, "the dropped packet is counted", func() bool {
		return counted(t, registry, "backscatter_dns_dropped_total", labels{"transport": "udp", "family": "ipv4", "reason": "no_question"}) == 1
	})
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}

// TestEveryAnswerHasItsKind wants the rows of the answer table counted apart.
func TestEveryAnswerHasItsKind(t *testing.T) {
	t.Parallel()
	v := view(t)
	kinds := map[dnsd.Kind]bool{}
	count := func(packet []byte, over dnsd.Transport) {
		_, verdict := dnsd.Answer(nil, packet, over, v)
		kinds[verdict.Kind] = true
	}
	for _, c := range allCases() {
		count(c.packet(t), dnsd.UDP)
	}
	for _, c := range slices.Concat(complianceCases(), malformedCases()) {
		count(c.packet, dnsd.TCP)
	}
	want := []dnsd.Kind{
		dnsd.Dropped, dnsd.Listed, dnsd.Unlisted, dnsd.Partial, dnsd.NoAddress, dnsd.Apex, dnsd.Status, dnsd.Transfer,
		dnsd.Chaos, dnsd.Refused, dnsd.Malformed, dnsd.BadVersion, dnsd.NotImplemented,
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(kinds))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
