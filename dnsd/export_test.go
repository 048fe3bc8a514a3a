package dnsd

import "net/netip"

// Worker returns what a UDP worker does with a packet, whose buffer must have
// room for an answer: handle it, or only try the fast path. What the worker sees
// is what view returns at the time.
func Worker(view func() View) (handle func(packet []byte) []byte, quick func(packet []byte) ([]byte, Verdict, bool)) {
	w := New(Options{}).worker(ipv4Family)
	handle = func(packet []byte) []byte {
		w.view, w.loaded = view(), true
		defer w.done()
		return w.handle(datagram{packet, netip.AddrPortFrom(w.view.Client, 53053)}, datagram{})
	}
	quick = func(packet []byte) ([]byte, Verdict, bool) {
		w.view, w.loaded = view(), true
		defer w.done()
		q, ok := parse(packet)
		if !ok {
			return nil, Verdict{}, false
		}
		w.view.examine(&q)
		return w.quick(packet, &q)
	}
	return handle, quick
}

// SampledWorker is the first of [Worker], with a log of one question in so many;
// 0 is none. The log is emptied after each answer.
func SampledWorker(view func() View, every int) (handle func(packet []byte) []byte) {
	s := New(Options{})
	w := s.worker(ipv4Family)
	if every > 0 {
		s.streams[queryLog].set(&idle{}, every)
	}
	return func(packet []byte) []byte {
		w.view, w.loaded = view(), true
		w.probe.look(&s.streams)
		defer w.done()
		out := w.handle(datagram{packet, netip.AddrPortFrom(w.view.Client, 53053)}, datagram{})
		if r := w.probe.rings[queryLog]; r != nil {
			r.tail.Store(r.next.Load())
		}
		return out
	}
}

// idle takes samples and does nothing with them.
type idle struct{}

func (*idle) take(*sample) {}
func (*idle) flush()       {}
func (*idle) hurry()       {}
func (*idle) close()       {}

// BatchWorker is the first of [Worker] for batches: it answers one packet while it
// looks at the next, and done ends a batch.
func BatchWorker(view func() View) (handle func(packet, next []byte) []byte, done func()) {
	w := New(Options{}).worker(ipv4Family)
	handle = func(packet, next []byte) []byte {
		if !w.loaded {
			w.view, w.loaded = view(), true
		}
		client := netip.AddrPortFrom(w.view.Client, 53053)
		return w.handle(datagram{packet, client}, datagram{next, client})
	}
	return handle, w.done
}
