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
		return w.handle(packet, netip.AddrPortFrom(w.view.Client, 53053))
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
