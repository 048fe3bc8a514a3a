package dnsd

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

const (
	ringSize = 2048 // samples of one worker that wait; a power of two
	// drainEvery is how often samples are fetched. Nobody is woken for one: that
	// costs the thread which answers more than the answer.
	drainEvery = 10 * time.Millisecond
	// sampleMost is how long a message may be to be kept; those over UDP all are
	// shorter.
	sampleMost = udpBuffer
)

// The streams of samples that there can be.
const (
	queryLog = iota
	dnsTap
	streams
)

var streamNames = [streams]string{"query_log", "dnstap"}

// sample is one question with its answer. Its memory is the ring's, and used again.
type sample struct {
	asked, answered time.Time
	client, server  netip.AddrPort
	over            Transport
	verdict         Verdict
	query, response []byte // the latter is empty when there is none
}

// outcome is what became of a sample.
type outcome string

const (
	written  outcome = "written"
	lostFull outcome = "lost_full" // samples came faster than they were fetched
	lostRate outcome = "lost_rate" // more than are wanted in a second
	lostPeer outcome = "lost_peer" // nobody took it, or the file could not be written
)

// sink is where the samples of a stream go. One goroutine calls it.
type sink interface {
	take(*sample) // keeps nothing of it
	flush()       // ends a round of take; it is called without one too
	hurry()       // the end is near: no call may wait long from now on. Anybody may call it, at any time
	close()
}

// stream is a sample of all questions, for those who look at single ones. While it
// is off, which is how it begins, a batch of questions costs one look whether it
// still is. While it is on, what answers never waits for it: a worker copies what is
// chosen into a ring of its own, and what does not fit is lost, and counted.
type stream struct {
	name    string
	now     atomic.Pointer[sampling] // nil: off
	changed chan struct{}
	counts  *prometheus.CounterVec
	loud    rate.Sometimes // of run: trouble that lasts is told once in a while

	mu     sync.Mutex  // guards former
	former []*sampling // were in force, and may have samples
}

// sampling is a stream while it is on, with one setting.
type sampling struct {
	every uint64 // one of so many questions
	sink  sink
	mu    sync.Mutex // guards rings, which grows, and the writing side of shared
	rings []*ring
	tcp   *ring
}

func (s *stream) setUp(name string, counts *prometheus.CounterVec) {
	s.name, s.counts, s.changed = name, counts, make(chan struct{}, 1)
	s.loud = rate.Sometimes{First: 1, Interval: time.Minute}
	for _, o := range []outcome{written, lostFull, lostRate, lostPeer} {
		s.counts.WithLabelValues(name, string(o))
	}
}

func (s *stream) count(o outcome, n int) {
	s.counts.WithLabelValues(s.name, string(o)).Add(float64(n))
}

func newSampleCounter(reg prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "backscatter_dns_samples_total",
		Help: "Questions that were chosen for the log of questions or for dnstap, by what became of them.",
	}, []string{"stream", "outcome"})
	if reg != nil {
		reg.MustRegister(c)
	}
	return c
}

// runStreams starts what hands samples over, whether ctx has ended or not, and
// returns what ends it and waits for it.
func (s *Server) runStreams(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for i := range s.streams {
		running.Go(func() { s.streams[i].run(ctx) })
	}
	return func() {
		for i := range s.streams {
			s.streams[i].hurry()
		}
		cancel()
		running.Wait()
	}
}

// set puts another sink in force, or none. The former one is closed by run.
func (s *stream) set(to sink, every int) {
	var next *sampling
	if to != nil {
		next = &sampling{every: uint64(max(1, every)), sink: to}
		next.tcp = next.ring()
	}
	s.mu.Lock()
	if old := s.now.Swap(next); old != nil {
		s.former = append(s.former, old)
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // it will be looked at anyway
	}
}

// run hands samples to the sink until ctx ends; then nobody may be answering still.
func (s *stream) run(ctx context.Context) {
	for {
		s.retire()
		var tick <-chan time.Time
		if now := s.now.Load(); now != nil {
			s.drain(now)
			tick = time.After(drainEvery)
		}
		select {
		case <-s.changed:
		case <-tick:
		case <-ctx.Done():
			s.close()
			return
		}
	}
}

// hurry has what samples are handed over to wait no longer for anybody.
func (s *stream) hurry() {
	if now := s.now.Load(); now != nil {
		now.sink.hurry()
	}
}

// close turns the stream off, and closes what it was handed over to. Nobody may
// be running it.
func (s *stream) close() {
	s.set(nil, 0)
	s.retire()
}

// retire ends those that are no longer in force. A worker in the middle of a
// batch may add a sample still, which nobody will see.
func (s *stream) retire() {
	s.mu.Lock()
	former := s.former
	s.former = nil
	s.mu.Unlock()
	for _, o := range former {
		o.sink.hurry()
		s.drain(o)
		o.sink.close()
	}
}

// drain hands over what waits.
func (s *stream) drain(o *sampling) {
	o.mu.Lock()
	rings := o.rings
	o.mu.Unlock()
	for _, r := range rings {
		r.drain(o.sink.take)
		if lost := r.lost.Swap(0); lost > 0 {
			s.count(lostFull, int(lost))
		}
	}
	o.sink.flush()
}

// ring returns a new ring, for one goroutine that answers.
func (o *sampling) ring() *ring {
	r := &ring{every: o.every}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rings = append(o.rings, r)
	return r
}

// ring is where one goroutine puts samples, and another takes them out.
type ring struct {
	every uint64
	turn  uint64  // of the one who writes
	open  *sample // chosen, and not yet answered

	samples    []sample      // made with the first
	next, tail atomic.Uint64 // the next to write, and to read
	lost       atomic.Uint64
}

// begin keeps the question, which the answer is going to overwrite, if its turn has come.
func (r *ring) begin(query []byte, client, server netip.AddrPort, over Transport) {
	r.open = nil
	if r.turn++; r.turn%r.every != 0 {
		return
	}
	next := r.next.Load()
	if next-r.tail.Load() == ringSize || len(query) > sampleMost {
		r.lost.Add(1)
		return
	}
	if r.samples == nil {
		r.samples = make([]sample, ringSize)
	}
	e := &r.samples[next%ringSize]
	e.asked, e.client, e.server, e.over = time.Now(), client, server, over
	e.query = append(e.query[:0], query...)
	r.open = e
}

// end keeps the answer to the question that began last, if that was chosen.
func (r *ring) end(response []byte, v Verdict) {
	e := r.open
	if e == nil {
		return
	}
	r.open = nil
	if len(response) > sampleMost {
		r.lost.Add(1)
		return
	}
	e.answered, e.verdict = time.Now(), v
	e.response = append(e.response[:0], response...)
	r.next.Add(1)
}

// drain takes out what is there.
func (r *ring) drain(take func(*sample)) {
	next := r.next.Load()
	for at := r.tail.Load(); at != next; at++ {
		take(&r.samples[at%ringSize])
		r.tail.Store(at + 1)
	}
}

// probe is a worker's place in the streams.
type probe struct {
	on    bool
	from  [streams]*sampling
	rings [streams]*ring
}

// look finds out which streams are on.
func (p *probe) look(all *[streams]stream) {
	p.on = false
	for i := range all {
		now := all[i].now.Load()
		if now != p.from[i] {
			p.from[i], p.rings[i] = now, nil
			if now != nil {
				p.rings[i] = now.ring()
			}
		}
		p.on = p.on || now != nil
	}
}

func (p *probe) begin(query []byte, client, server netip.AddrPort) {
	for _, r := range p.rings {
		if r != nil {
			r.begin(query, client, server, UDP)
		}
	}
}

func (p *probe) end(response []byte, v Verdict) {
	for _, r := range p.rings {
		if r != nil {
			r.end(response, v)
		}
	}
}

// sampleTCP offers a question that came over TCP, and was answered, to the streams.
// Its connections share a ring: they may wait for each other.
func (s *Server) sampleTCP(query, response []byte, cl *client, v Verdict) {
	for i := range s.streams {
		o := s.streams[i].now.Load()
		if o == nil {
			continue
		}
		o.mu.Lock()
		o.tcp.begin(query, cl.remote, cl.local, TCP)
		o.tcp.end(response, v)
		o.mu.Unlock()
	}
}
