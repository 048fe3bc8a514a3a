package dnsd

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// limiter counts what clients ask, and says when it is too much. Its memory is
// fixed, and it takes no lock; several workers share it, so that a client is
// counted once however its questions are spread over them.
type limiter struct {
	seed   maphash.Seed // secret, so that nobody can choose whom he is mistaken for
	rates  *counters
	quotas *counters
}

func newLimiter() *limiter {
	return &limiter{seed: maphash.MakeSeed(), rates: newCounters(), quotas: newCounters()}
}

// weigh asks the limits about a question, and notes the result in it. Those who
// have shown that their address is theirs, by a cookie or over TCP, can make us
// send nothing to others, so rates do not concern them.
func (l *limiter) weigh(q *request, over Transport, v *View) {
	if v.Rules == nil || !v.Client.IsValid() || q.access != nil && q.access.Action == Allow {
		return
	}
	r := &v.Rules.Rates
	now := v.Now.Unix()
	client := limitedClient(v.Client)
	if r.Quota > 0 {
		window := uint32(now / max(1, int64(r.Period/time.Second)))
		if l.quotas.count(maphash.Comparable(l.seed, client), window) > uint32(min(r.Quota, math.MaxUint32)) {
			q.limit = exhausted
		}
	}
	if over == TCP || q.cookies == GoodCookie {
		return
	}
	if over := max(l.excess(r.All, maphash.Comparable(l.seed, client), now), l.excess(r.Same, l.hashName(client, q.name), now)); over > 0 {
		q.limit = dropped
		if r.Slip > 0 && over%uint32(r.Slip) == 0 {
			q.limit = slipped
		}
	}
}

// excess counts a question in this second, and returns by how many it is beyond
// the rate.
func (l *limiter) excess(rate int, key uint64, second int64) uint32 {
	if rate <= 0 {
		return 0
	}
	n := l.rates.count(key, uint32(second))
	return n - min(n, uint32(min(rate, math.MaxUint32)))
}

// limitedClient returns the addresses that count as one in limits: a /24, or a
// /56, which is what one customer has (RFC 6177 §2). The first octet tells them
// apart from each other.
func limitedClient(addr netip.Addr) uint64 {
	if addr = addr.Unmap(); addr.Is4() {
		a := addr.As4()
		return 4<<56 | uint64(binary.BigEndian.Uint32(a[:])>>8)
	}
	a := addr.As16()
	return 6<<56 | binary.BigEndian.Uint64(a[:8])>>8
}

// hashName returns the key for a client's questions about a name, whatever its
// case and the type: who forges his address could vary those without end. Of what
// has no question there is one name.
func (l *limiter) hashName(client uint64, name []byte) uint64 {
	const lower = 0x2020202020202020
	var text [8 + maxName + 8]byte // and so much that whole words can be folded
	binary.LittleEndian.PutUint64(text[:], client)
	n := 8 + copy(text[8:8+maxName], name)
	for i := 8; i < n; i += 8 {
		word := text[i : i+8]
		binary.LittleEndian.PutUint64(word, binary.LittleEndian.Uint64(word)|lower)
	}
	return maphash.Bytes(l.seed, text[:n])
}

const (
	counterSets = 1 << 14
	setSize     = 4 // counters that fill a line of the processor's cache
)

// counters counts by key in windows of time. It has room for so many keys as
// there are counters; when it is full, the least counted are forgotten, so those
// that are to be limited stay. Where two workers meet in one counter, a count may
// be lost, which no limit is so exact as to notice.
type counters struct{ sets [counterSets]counterSet }

type counterSet [setSize]counter

type counter struct {
	key   atomic.Uint64
	state atomic.Uint64 // the window, and below it the count
}

func newCounters() *counters { return new(counters) }

// count adds one for a key in a window, and returns the sum.
func (c *counters) count(key uint64, window uint32) uint32 {
	set := &c.sets[key%counterSets]
	least, leastCount := 0, uint32(math.MaxUint32)
	for i := range set {
		if set[i].key.Load() == key {
			return set[i].add(window)
		}
		if n := set[i].current(window); n < leastCount {
			least, leastCount = i, n
		}
	}
	set[least].key.Store(key)
	set[least].state.Store(uint64(window)<<32 | 1)
	return 1
}

// current returns the count in a window.
func (c *counter) current(window uint32) uint32 {
	if s := c.state.Load(); uint32(s>>32) == window {
		return uint32(s)
	}
	return 0
}

func (c *counter) add(window uint32) uint32 {
	switch s := c.state.Load(); {
	case uint32(s>>32) != window:
		c.state.Store(uint64(window)<<32 | 1)
		return 1
	case uint32(s) == math.MaxUint32: // one more would be the next window
		return math.MaxUint32
	default:
		return uint32(c.state.Add(1))
	}
}
