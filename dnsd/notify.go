package dnsd

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/prometheus/client_golang/prometheus"
)

// NotifierOptions is what a [Notifier] is made of.
type NotifierOptions struct {
	// Zones, Snapshots and Secondaries return what holds now, as for a [Server].
	Zones       func() *zonefile.Set
	Snapshots   func() *listing.Snapshot
	Secondaries func() *Secondaries

	// Zero takes the defaults.
	Pause   time.Duration // the shortest time from one message to a secondary to the next; 0.5 s
	Timeout time.Duration // how long an answer is waited for; 3 s
	Poll    time.Duration // how soon a changed configuration is seen; 5 s

	Logger  *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil counts without showing
}

const (
	notifyTries   = 8   // for one serial; RFC 1996 §3.6 leaves the number to us
	notifyLongest = 120 // pauses between two tries
	mostNotifies  = 16  // that are under way at a time
)

// Notifier tells secondaries that there is a new serial, and tells them again
// until they say that they have heard (NOTIFY, RFC 1996). What changes while one
// is being told is told in one.
type Notifier struct {
	options NotifierOptions
	log     *slog.Logger
	results *prometheus.CounterVec

	mu     sync.Mutex // guards states, which Run alone changes
	states map[notified]*notifyState
}

// notified is a secondary of a zone.
type notified struct {
	zone string
	to   netip.AddrPort
}

// SecondaryState is what a secondary was told, and said.
type SecondaryState struct {
	Zone         string
	To           netip.AddrPort
	Serial       uint32    // told last
	Sent         time.Time // zero: nothing yet
	Acknowledged uint32    // heard last
	Heard        time.Time // zero: never
	Err          error     // of the last try
}

type notifyState struct {
	SecondaryState

	target   target
	sequence uint64 // that it is to hear of; 0 when it has none yet
	tries    int    // for it
	due      time.Time
	busy     bool // a message is on its way
	idle     bool // it has heard, or we have given up
}

// Results of messages, as they are counted.
const (
	notifyHeard   = "acknowledged"
	notifyRefused = "refused"
	notifySilent  = "unanswered"
)

// NewNotifier returns a notifier.
func NewNotifier(o NotifierOptions) *Notifier {
	n := &Notifier{
		options: o, log: o.Logger, states: map[notified]*notifyState{},
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_dns_notifies_total", Help: "Messages that told secondaries of a new serial, by what came back.",
		}, []string{"result"}),
	}
	n.options.Pause = cmp.Or(o.Pause, 500*time.Millisecond)
	n.options.Timeout = cmp.Or(o.Timeout, 3*time.Second)
	n.options.Poll = cmp.Or(o.Poll, 5*time.Second)
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	for _, result := range []string{notifyHeard, notifyRefused, notifySilent} {
		n.results.WithLabelValues(result)
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(n.results)
	}
	return n
}

// State returns what each secondary was told, sorted by zone and address.
func (n *Notifier) State() []SecondaryState {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]SecondaryState, 0, len(n.states))
	for _, s := range n.states {
		out = append(out, s.SecondaryState)
	}
	slices.SortFunc(out, func(a, b SecondaryState) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), a.To.Compare(b.To))
	})
	return out
}

// heard is what became of one message.
type heard struct {
	id       notified
	sequence uint64
	err      error
}

// Run tells secondaries until ctx ends, and returns nil. At its start it tells
// them of what is served then: they may have missed it.
func (n *Notifier) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	results := make(chan heard, mostNotifies)
	timer := time.NewTimer(0)
	defer timer.Stop()
	busy := 0
	for {
		snapshot := n.options.Snapshots()
		now := time.Now()
		n.reconcile(snapshot, now)
		for _, m := range n.take(now, mostNotifies-busy) {
			busy++
			sending.Go(func() { results <- heard{m.id, m.sequence, m.exchange(ctx, n.options.Timeout)} })
		}
		timer.Reset(n.wait(now))
		select {
		case <-ctx.Done():
			return nil
		case <-snapshot.Superseded():
		case <-timer.C:
		case h := <-results:
			busy--
			n.note(h, time.Now())
		}
	}
}

// reconcile takes in what is configured now, and what there is to tell.
func (n *Notifier) reconcile(snapshot *listing.Snapshot, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	wanted := map[notified]bool{}
	for _, z := range n.options.Zones().All() {
		for _, t := range n.options.Secondaries().notify(z) {
			id := notified{z.Name, t.To}
			wanted[id] = true
			s := n.states[id]
			if s == nil {
				s = &notifyState{SecondaryState: SecondaryState{Zone: z.Name, To: t.To}}
				n.states[id] = s
			}
			s.target = t
			if s.sequence != snapshot.Sequence() {
				s.sequence, s.tries, s.idle = snapshot.Sequence(), 0, false
				s.due = later(now, s.Sent.Add(n.options.Pause))
			}
		}
	}
	for id := range n.states {
		if !wanted[id] {
			delete(n.states, id)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// take returns at most so many messages that are due.
func (n *Notifier) take(now time.Time, most int) []notification {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []notification
	for id, s := range n.states {
		zone := n.options.Zones().Find(id.zone)
		if len(out) >= most || s.busy || s.idle || s.due.After(now) || zone == nil {
			continue
		}
		s.busy = true
		s.tries++
		s.Sent, s.Serial = now, listing.SerialOf(s.sequence)
		out = append(out, notification{id: id, target: s.target, sequence: s.sequence, soa: zone.SOA(s.sequence)})
	}
	return out
}

// wait returns how long nothing is due.
func (n *Notifier) wait(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	wait := n.options.Poll
	for _, s := range n.states {
		if !s.busy && !s.idle {
			wait = min(wait, max(time.Millisecond, s.due.Sub(now)))
		}
	}
	return wait
}

// note takes in what became of a message.
func (n *Notifier) note(h heard, now time.Time) {
	result := notifyHeard
	var refused *refusedError
	switch {
	case errors.As(h.err, &refused):
		result = notifyRefused
	case h.err != nil:
		result = notifySilent
	}
	n.results.WithLabelValues(result).Inc()
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.states[h.id]
	if s == nil {
		return // taken out of the configuration
	}
	s.busy = false
	s.Err = h.err
	if h.err == nil {
		s.Acknowledged, s.Heard = listing.SerialOf(h.sequence), now
	}
	if h.sequence != s.sequence {
		return // there is newer to tell already
	}
	s.idle = h.err == nil || s.tries >= notifyTries
	if h.err == nil {
		n.log.Debug("secondary has heard of the serial", "zone", s.Zone, "secondary", s.To.String(), "serial", s.Acknowledged)
		return
	}
	s.due = now.Add(n.options.Pause * time.Duration(min(1<<(s.tries-1), notifyLongest)))
	if s.idle {
		n.log.Warn("secondary does not hear of the serial; it will when it asks by itself", "zone", s.Zone, "secondary", s.To.String(), "serial", s.Serial, "err", h.err)
	}
}
