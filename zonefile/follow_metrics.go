package zonefile

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
)

// FollowerMetrics are the metrics of a mirror. What a publisher of the same list
// tells too has the same name.
type FollowerMetrics struct{ refusals prometheus.Counter }

// NewFollowerMetrics registers the metrics. State and Snapshot are those of the
// follower, or of whatever else keeps a copy of a list.
func NewFollowerMetrics(reg prometheus.Registerer, state func() FollowerState, snapshot func() *listing.Snapshot) *FollowerMetrics {
	m := &FollowerMetrics{refusals: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "backscatter_mirror_refusals_total", Help: "Times that what was found was refused.",
	})}
	gauge := func(name, help string, value func(FollowerState) float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(state()) }))
	}
	gauge("backscatter_serial", "Serial of what is published.", func(s FollowerState) float64 { return float64(s.Serial) })
	gauge("backscatter_mirror_created_timestamp_seconds", "When the publisher made what is in force; 0: nothing is.",
		func(s FollowerState) float64 { return unixOrZero(s.Created) })
	gauge("backscatter_mirror_expires_timestamp_seconds", "When what is in force is too old to be trusted; 0: nothing is in force.",
		func(s FollowerState) float64 { return unixOrZero(s.Expires) })
	gauge("backscatter_mirror_checked_timestamp_seconds", "When what is in force was last known to be what there is; 0: never.",
		func(s FollowerState) float64 { return unixOrZero(s.Checked) })
	gauge("backscatter_mirror_refused", "1 while what there is is refused.", func(s FollowerState) float64 {
		if s.Err != nil {
			return 1
		}
		return 0
	})
	for _, class := range listing.Classes {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "backscatter_listings", Help: "Published listings, by the class that decides their answer.",
			ConstLabels: prometheus.Labels{"class": class.String()},
		}, func() float64 {
			if s := snapshot(); s != nil {
				return float64(s.Counts()[class])
			}
			return 0
		}))
	}
	reg.MustRegister(m.refusals)
	return m
}

// Refuse counts a refusal.
func (m *FollowerMetrics) Refuse() {
	if m != nil {
		m.refusals.Inc()
	}
}

func unixOrZero(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
