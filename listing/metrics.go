package listing

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the store tells about itself. They are there, and counted,
// also when nobody collects them.
type metrics struct {
	commits      *prometheus.CounterVec
	commit       prometheus.Histogram
	groups       prometheus.Histogram
	wait         prometheus.Histogram
	hold         prometheus.Histogram
	observations *prometheus.CounterVec
	pruned       *prometheus.CounterVec
	gauges       []prometheus.Collector
}

// The results of a commit, and the outcomes of an observation.
const (
	commitDone   = "done"
	commitFailed = "failed"
)

func newMetrics(s *Store) *metrics {
	m := &metrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_store_commits_total", Help: "Transactions of the store, by result.",
		}, []string{"result"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "backscatter_store_commit_seconds", Help: "Time that a commit took, until it was on disk.",
			Buckets: holdBuckets(),
		}),
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "backscatter_store_group_size", Help: "Observations that shared a transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "backscatter_store_wait_seconds", Help: "Time from an observation's arrival at the store to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		hold: newHold(),
		observations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_store_observations_total", Help: "Observations handed to the store, by what became of them.",
		}, []string{"outcome"}),
	}
	m.pruned = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "backscatter_store_pruned_total", Help: "What the store dropped for its age.",
	}, []string{"what"})
	for _, what := range []string{prunedObservations, prunedRecords, prunedAudit, prunedHeaders} {
		m.pruned.WithLabelValues(what)
	}
	for _, result := range []string{commitDone, commitFailed} {
		m.commits.WithLabelValues(result)
	}
	for _, outcome := range []string{"listed", "kept", "duplicate", "stale", "exempt", "error"} {
		m.observations.WithLabelValues(outcome)
	}
	for _, class := range Classes {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_listings", Help: "Published listings, by the class that decides their answer.",
			ConstLabels: prometheus.Labels{"class": class.String()},
		}, func() float64 { return float64(s.Snapshot().Counts()[class]) }))
	}
	m.gauges = append(m.gauges, s.gauges()...)
	return m
}

// gauges tell how the store is when they are asked.
func (s *Store) gauges() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_serial", Help: "Serial of what is published.",
		}, func() float64 { return float64(s.Snapshot().Serial()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_newest_evidence_timestamp_seconds", Help: "When the newest evidence was received; 0: never.",
		}, func() float64 {
			if t := s.Snapshot().NewestEvidence(); !t.IsZero() {
				return float64(t.Unix())
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_store_writable", Help: "1 when the store can write, 0 after a failed commit.",
		}, func() float64 { return on(s.health.Load() == nil) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_brake", Help: "1 while the brake is on and waits for an operator.",
			ConstLabels: prometheus.Labels{"brake": "listing"},
		}, func() float64 { return on(!s.brakesNow.Load().Frozen.IsZero()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_brake", Help: "1 while the brake is on and waits for an operator.",
			ConstLabels: prometheus.Labels{"brake": "expiry"},
		}, func() float64 { return on(!s.brakesNow.Load().Stalled.IsZero()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_brake", Help: "1 while the brake is on and waits for an operator.",
			ConstLabels: prometheus.Labels{"brake": "publication"},
		}, func() float64 { return on(!s.brakesNow.Load().Withheld.IsZero()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_clock_jumped", Help: "1 while nothing is dropped for its age, since the clock jumped or the store did not run for long.",
		}, func() float64 { return on(!s.brakesNow.Load().Jumped.IsZero()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "backscatter_wide_prefixes_refused_total", Help: "Prefixes that were to be listed and are wider than may be.",
		}, func() float64 { return float64(s.wide.count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_held_back", Help: "Keys that evidence would list, and a brake keeps off the list.",
		}, func() float64 { return float64(s.brakesNow.Load().Held) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_store_waiting", Help: "Requests that wait for the store's writer.",
		}, func() float64 { return float64(len(s.requests)) }),
	}
}

// on is how a gauge tells a truth.
func on(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

// newHold has a bound at the 20 ms that no step of regular work should pass.
func newHold() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "backscatter_store_hold_seconds", Help: "Time that a transaction kept the writer, its commit and publication included.",
		Buckets: holdBuckets(),
	})
}

// holdBuckets are the same for a transaction and for its commit, so that one can be
// taken from the other: what was over a bound, and not because of the disk.
func holdBuckets() []float64 {
	return []float64{0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 5, 20}
}

// register hands everything to the registry, or nothing.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	all := append([]prometheus.Collector{m.commits, m.commit, m.groups, m.wait, m.hold, m.observations, m.pruned}, m.gauges...)
	for i, c := range all {
		if err := r.Register(c); err != nil {
			for _, done := range all[:i] {
				r.Unregister(done)
			}
			return fmt.Errorf("register the metrics of the store: %w", err)
		}
	}
	return nil
}

func (m *metrics) waiting() *prometheus.Timer    { return prometheus.NewTimer(m.wait) }
func (m *metrics) committing() *prometheus.Timer { return prometheus.NewTimer(m.commit) }

// observed counts what became of an observation.
func (m *metrics) observed(r *request, p reply) {
	outcome := "kept"
	switch {
	case p.err != nil:
		outcome = "error"
	case p.outcome.Duplicate:
		outcome = "duplicate"
	case p.outcome.Stale:
		outcome = "stale"
	case p.outcome.Exempt:
		outcome = "exempt"
	case p.outcome.Listed:
		outcome = "listed"
	}
	m.observations.WithLabelValues(outcome).Inc()
	r.wait.ObserveDuration()
}
