package remote

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what reporters send over the network. The labels are from closed
// sets.
type Metrics struct {
	requests *prometheus.CounterVec
	reports  prometheus.Counter
	octets   prometheus.Counter
}

// What became of a request.
const (
	resultTaken       = "taken"
	resultKey         = "unknown_key"
	resultSignature   = "bad_signature"
	resultSuspended   = "suspended"
	resultReplay      = "replay"
	resultLarge       = "too_large"
	resultRate        = "too_many"
	resultMalformed   = "malformed"
	resultMisdirected = "misdirected"
	resultPlain       = "not_encrypted"
	resultBusy        = "unavailable"
)

var results = []string{
	resultTaken, resultKey, resultSignature, resultSuspended, resultReplay, resultLarge,
	resultRate, resultMalformed, resultMisdirected, resultPlain, resultBusy,
}

// NewMetrics returns the package's metrics, registered with r unless it is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "remote_requests_total", Help: "Requests of reporters over the network, by what became of them.",
		}, []string{"result"}),
		reports: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "remote_reports_total", Help: "Reports in the requests that were taken.",
		}),
		octets: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "remote_body_bytes_total", Help: "Octets of the bodies of requests that were taken.",
		}),
	}
	for _, result := range results {
		m.requests.WithLabelValues(result)
	}
	if r != nil {
		r.MustRegister(m.requests, m.reports, m.octets)
	}
	return m
}
