package dnsd

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"backscatter/zonefile"
)

// watchedKeys bounds what a watch remembers of clients, and of addresses.
const watchedKeys = 4096

// Top is who asked most, and for what, while somebody watched.
type Top struct {
	For       time.Duration         // how long
	Answers   uint64                // how many questions were answered; the others are among Clients and Kinds only
	Listed    uint64                // of them, those for listed addresses
	Clients   []Counted[netip.Addr] // who asked
	Addresses []Counted[netip.Addr] // listed addresses that were asked for
	Kinds     map[string]uint64     // what was asked about
}

// ErrWatched is that somebody watches already.
var ErrWatched = errors.New("somebody else is watching; try again in a moment")

// watch counts who asks, and for what. There is none but while somebody looks, so
// nobody else pays for it.
type watch struct {
	mu        sync.Mutex // guards all below
	answers   uint64
	kinds     [kinds]uint64
	clients   *sketch[netip.Addr]
	addresses *sketch[netip.Addr]
}

// Top watches for a time, or until ctx ends, and returns the n most frequent of
// each. It returns [ErrWatched] while another watches.
func (s *Server) Top(ctx context.Context, d time.Duration, n int) (Top, error) {
	w := &watch{clients: newSketch[netip.Addr](watchedKeys), addresses: newSketch[netip.Addr](watchedKeys)}
	if !s.watch.CompareAndSwap(nil, w) {
		return Top{}, ErrWatched
	}
	began := time.Now()
	err := pause(ctx, d)
	s.watch.Store(nil)
	if err != nil {
		return Top{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	top := Top{
		For: time.Since(began), Answers: w.answers, Listed: w.kinds[Listed],
		Clients: w.clients.top(n), Addresses: w.addresses.top(n), Kinds: make(map[string]uint64),
	}
	for kind, count := range w.kinds {
		if count > 0 {
			top.Kinds[Kind(kind).String()] = count
		}
	}
	return top, nil
}

// see counts a question.
func (w *watch) see(q *request, v *View, verdict Verdict) {
	var asked netip.Addr
	if verdict.Kind == Listed {
		if zone, cut := v.Zones.FindWire(q.name); zone != nil {
			_, asked = zonefile.ParseLabels(q.name[:cut])
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if verdict.Kind != Dropped {
		w.answers++
	}
	w.kinds[verdict.Kind]++
	w.clients.add(v.Client.Unmap())
	if asked.IsValid() {
		w.addresses.add(asked)
	}
}
