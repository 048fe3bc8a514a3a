package dnsd

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// timedEvery is how many batches of UDP come for one whose time is taken: reading
// the clock costs as much as looking an address up. Over TCP, where an answer costs
// far more than that, it is taken of each that is sent.
const timedEvery = 64

// latencyBounds are the upper bounds of the buckets.
var latencyBounds = [...]time.Duration{
	5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond,
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
}

// latency is how long questions took in the server, from when they were read to
// when their answer was handed to the kernel. What they waited in the kernel is
// not known.
type latency struct {
	turn    uint // of the one goroutine of UDP that takes the time
	buckets [len(latencyBounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // nanoseconds
}

// begin returns when a question began if its time is to be taken, else zero.
func (l *latency) begin() time.Time {
	if l.turn++; l.turn%timedEvery != 0 {
		return time.Time{}
	}
	return time.Now()
}

// end counts so many questions that began then.
func (l *latency) end(began time.Time, questions int) {
	if began.IsZero() {
		return
	}
	took := time.Since(began)
	i := 0
	for i < len(latencyBounds) && took > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(uint64(questions))
	l.sum.Add(uint64(questions) * uint64(took))
}

func (l *latency) add(o *latency) {
	for i := range l.buckets {
		l.buckets[i].Add(o.buckets[i].Load())
	}
	l.sum.Add(o.sum.Load())
}

// histogram returns the metric of what was timed.
func (l *latency) histogram(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	below := make(map[float64]uint64, len(latencyBounds))
	count := uint64(0)
	for i := range l.buckets {
		count += l.buckets[i].Load()
		if i < len(latencyBounds) {
			below[latencyBounds[i].Seconds()] = count
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, time.Duration(l.sum.Load()).Seconds(), below, labels...)
}
