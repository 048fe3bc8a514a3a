package zonefile

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the metrics of all publishers of a process. Their label is the
// zone, of which the configuration has few.
type Metrics struct {
	publications *prometheus.CounterVec
	errors       *prometheus.CounterVec
	held         *prometheus.GaugeVec
	age          *ageCollector
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		publications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_exports_total",
			Help: "Publications of a zone's files that changed at least one of them.",
		}, []string{"zone"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_export_errors_total",
			Help: "Publications of a zone's files that failed, so that the former files stayed.",
		}, []string{"zone"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "backscatter_export_held",
			Help: "1 while what would be published was refused and an operator has to look at it.",
		}, []string{"zone", "dir"}),
		age: &ageCollector{
			desc: prometheus.NewDesc("backscatter_export_age_seconds",
				"Time since the published files of a zone were last known to be those of the list in force.",
				[]string{"zone"}, nil),
			current: map[ageKey]time.Time{},
		},
	}
	reg.MustRegister(m.publications, m.errors, m.held, m.age)
	return m
}

func (m *Metrics) setHeld(zone, dir string, held bool) {
	value := 0.0
	if held {
		value = 1
	}
	m.held.WithLabelValues(zone, dir).Set(value)
}

// ageKey tells publishers apart.
type ageKey struct{ zone, dir string }

// ageCollector computes ages when it is asked.
type ageCollector struct {
	desc    *prometheus.Desc
	mu      sync.Mutex // guards current
	current map[ageKey]time.Time
}

// Describe implements [prometheus.Collector].
func (c *ageCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements [prometheus.Collector]. Of several directories with one
// zone the oldest counts.
func (c *ageCollector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now() //nolint:forbidigo // a scrape asks about this moment
	oldest := map[string]time.Duration{}
	c.mu.Lock()
	for key, at := range c.current {
		oldest[key.zone] = max(oldest[key.zone], now.Sub(at))
	}
	c.mu.Unlock()
	for zone, age := range oldest {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, age.Seconds(), zone)
	}
}

func (c *ageCollector) set(key ageKey, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current[key] = at
}

func (c *ageCollector) forget(key ageKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.current, key)
}
