package dnsd_test

import (
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// TestAnswerSecondsOfAQuietServer asks so seldom that the server looks in vain between
// two questions: that is not what is counted, and of 64 batches one is timed.
func TestAnswerSecondsOfAQuietServer(t *testing.T) {
	t.Parallel()
	o, registry := options(t), prometheus.NewRegistry()
	o.Metrics, o.Limits = registry, dnsd.Limits{UDPWorkers: 1}
	conn := dial(t, "udp", serve(t, o).Addrs()[0])
	request := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	pace := time.NewTicker(8 * time.Millisecond)
	defer pace.Stop()
	for i := range 64 {
		if n := timedAnswers(t, registry); n != 0 {
			t.Fatalf("%d are timed after %d questions", n, i)
		}
		send(t, conn, request)
		receiveUDP(t, conn)
		<-pace.C
	}
	eventually(t, "one of 64 is timed", func() bool { return timedAnswers(t, registry) == 1 })
}

// timedAnswers returns how many answers over UDP and IPv4 were timed.
func timedAnswers(t *testing.T, registry *prometheus.Registry) (n uint64) {
	t.Helper()
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != "backscatter_dns_answer_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == "ipv4" {
					n += m.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return n
}
