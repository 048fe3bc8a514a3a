package intake

import (
	"backscatter/evidence"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what comes in. The labels are from closed sets: nothing that
// a sender chose becomes one.
type Metrics struct {
	reports     *prometheus.CounterVec
	deferred    prometheus.Counter
	connections *prometheus.CounterVec
	open        prometheus.Gauge
	recipients  *prometheus.CounterVec
	messages    *prometheus.CounterVec
	callouts    prometheus.Counter
	tls         *prometheus.CounterVec
	held        prometheus.Gauge

	milterMessages *prometheus.CounterVec
	milterOpen     prometheus.Gauge
	milterHeld     prometheus.Gauge
	spooled        prometheus.Gauge
	spoolRefused   prometheus.Counter
	spoolDamaged   prometheus.Counter
}

// NewMetrics returns the package's metrics, registered with r unless it is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "backscatter", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "backscatter", Name: name, Help: help})
	}
	m := &Metrics{
		milterMessages: counter("milter_messages_total", "Messages to traps and guarded addresses that passed the milter, by what became of the report.", "result"),
		milterOpen:     gauge("milter_connections", "Connections of mail servers to the milter that are open."),
		milterHeld:     gauge("milter_message_memory_bytes", "Memory taken by messages that the milter sees."),
		spooled:        gauge("spool_bytes", "Reports that wait on disk for the store."),
		spoolRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "spool_refused_total", Help: "Reports that could not be put into the spool, and are lost.",
		}),
		spoolDamaged: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "spool_damaged_total", Help: "Files in the spool that were damaged and put aside, or cannot be read.",
		}),
		reports: counter("reports_total", "Reports judged, by verdict and reason.", "verdict", "reason"),
		deferred: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "reports_deferred_total",
			Help: "Reports whose senders were asked to try again, since the store could not take them.",
		}),
		connections: counter("smtp_connections_total", "SMTP connections, by what was done with them.", "result"),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "backscatter", Name: "smtp_connections", Help: "SMTP connections that are open.",
		}),
		recipients: counter("smtp_recipients_total", "SMTP recipients, by what was done with them.", "result"),
		messages:   counter("smtp_messages_total", "SMTP messages, by what was done with them.", "result"),
		callouts: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "backscatter", Name: "smtp_callouts_total",
			Help: "SMTP transactions with a null sender and a trap as recipient that ended without a message.",
		}),
		tls: counter("smtp_starttls_total", "TLS handshakes in SMTP sessions, by how they ended.", "result"),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "backscatter", Name: "smtp_message_memory_bytes",
			Help: "Memory taken by SMTP messages that are coming in, beyond what each session may take.",
		}),
	}
	if r != nil {
		r.MustRegister(m.reports, m.deferred, m.connections, m.open, m.recipients, m.messages, m.callouts, m.tls, m.held,
			m.milterMessages, m.milterOpen, m.milterHeld, m.spooled, m.spoolRefused, m.spoolDamaged)
	}
	return m
}

// orNone makes a nil Metrics usable.
func (m *Metrics) orNone() *Metrics {
	if m == nil {
		return NewMetrics(nil)
	}
	return m
}

// reasons is every reason that is a label of its own.
var reasons = map[string]bool{
	"":                          true,
	evidence.ReasonGenuine:      true,
	evidence.ReasonUnattributed: true,
	evidence.ReasonDouble:       true,
	evidence.ReasonExempt:       true,
	evidence.ReasonDuplicate:    true,
	evidence.ReasonStale:        true,
	evidence.ReasonHearsay:      true,
	evidence.ReasonOther:        true,
	evidence.ReasonNoProof:      true,
	evidence.ReasonReporter:     true,
	evidence.ReasonEmpty:        true,
	evidence.ReasonNotMail:      true,
	ReasonPanic:                 true,
	ReasonRefused:               true,
}

func (m *Metrics) report(f evidence.Finding) {
	reason := f.Reason
	if !reasons[reason] {
		reason = "unlisted"
	}
	m.reports.WithLabelValues(string(f.Verdict), reason).Inc()
}
