package dnsd

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

// limiter counts what clients ask, and says when it is too much. Its memory is
// fixed, and it takes no lock; several workers share it, so that a client is
// counted once however its questions are spread over them.
type limiter struct {
	secret uint64 // so that nobody can choose whom he is mistaken for
	rates  *counters
	quotas *counters
}

func newLimiter() *limiter {
	return &limiter{secret: rand.Uint64() | 1, rates: newCounters(rateBits, rateWindow), quotas: newCounters(quotaBits, quotaWindow)}
}

// account is what one worker has counted of the client that asks it now, until
// another asks, or the batch ends: workers that count each question of one client at
// once would take its counter from each other's cache all the time. What the others
// have not told yet, a batch each at most, no limit is so exact as to notice.
type account struct {
	client uint64 // its key
	second int64
	told   uint64 // how many there were when they were told last
	mine   uint64 // not told yet
}

// count adds one question of a client, and returns how many there were in the second.
func (a *account) count(l *limiter, client uint64, second int64) uint64 {
	if a.client != client || a.second != second {
		a.tell(l)
		*a = account{client: client, second: second, told: l.rates.add(client, uint32(second), 1)}
		return a.told
	}
	a.mine++
	return a.told + a.mine
}

// tell adds what was not told yet to what all workers know.
func (a *account) tell(l *limiter) {
	if a.mine > 0 {
		a.told, a.mine = l.rates.add(a.client, uint32(a.second), a.mine), 0
	}
}

// weigh asks the limits about a question, and notes the result in it. Who can make
// us send nothing to others is not concerned by rates: over TCP there is no account.
func (l *limiter) weigh(q *request, over Transport, v *View, a *account) {
	if v.Rules == nil || !v.Client.IsValid() || q.access != nil && q.access.Action == Allow {
		return
	}
	r := &v.Rules.Rates
	now := v.Now.Unix()
	client := limitedClient(v.Client)
	if !q.proven(over) {
		if q.limit = l.rate(q, r, client, now, a); q.limit != within {
			return
		}
		client |= unproven
	}
	if r.Quota > 0 {
		window := uint32(now / max(1, int64(r.Period/time.Second)))
		if l.quotas.add(l.mix(client), window, 1) > uint64(r.Quota) {
			q.limit = exhausted
		}
	}
}

// unproven has a client's questions counted apart for its quota that may be somebody
// else's, who forges its address: they can use up no more than the quota of their like.
const unproven = 1 << 63

// rate says whether a question, over UDP and without a good cookie, is beyond the
// rates.
func (l *limiter) rate(q *request, r *Rates, client uint64, now int64, a *account) limit {
	var excess uint64
	if r.All > 0 {
		excess = beyond(a.count(l, l.mix(client), now), r.All)
	}
	if r.Same > 0 {
		excess = max(excess, beyond(l.rates.add(l.hashName(client, q.name), uint32(now), 1), r.Same))
	}
	switch {
	case excess == 0:
		return within
	case r.Slip > 0 && excess%uint64(r.Slip) == 0:
		return slipped
	}
	return dropped
}

// beyond returns how many of n are more than the rate.
func beyond(n uint64, rate int) uint64 { return n - min(n, uint64(rate)) }

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

// mix is one step of a keyed hash: both halves of a product by a secret.
func (l *limiter) mix(word uint64) uint64 {
	high, low := bits.Mul64(word^l.secret, 0x9e3779b97f4a7c15^l.secret)
	return high ^ low
}

// hashName returns the key for a client's questions about a name, whatever its
// case and the type: who forges his address could vary those without end. Of what
// has no question there is one name.
func (l *limiter) hashName(client uint64, name []byte) uint64 {
	const lower, word = 0x2020202020202020, 8
	h := l.mix(client ^ uint64(len(name))<<48)
	for ; len(name) >= word; name = name[word:] {
		h = l.mix(h ^ (binary.LittleEndian.Uint64(name) | lower))
	}
	var rest uint64
	for _, c := range name {
		rest = rest<<8 | uint64(c)
	}
	return l.mix(h ^ (rest | lower))
}

// How many bits of a counter are its count, and its window; the others tell its
// key from those that share its place. Windows come round after an hour, and
// after more than two hundred periods of a quota.
const (
	rateBits    = 20
	rateWindow  = 12
	quotaBits   = 32
	quotaWindow = 8

	// MaxRate and MaxQuota are the most that can be counted to.
	MaxRate  = 1<<rateBits - 2
	MaxQuota = 1<<quotaBits - 2
)

const (
	counterSets = 1 << 13
	setSize     = 8 // counters, which fill a line of the processor's cache
)

// counters counts by key in windows of time. It has room for so many keys as
// there are counters; when it is full, the least counted are forgotten, so those
// that are to be limited stay. Where two workers meet in one counter, a count may
// be lost, which no limit is so exact as to notice.
type counters struct {
	countBits, windowBits uint
	sets                  [counterSets][setSize]atomic.Uint64
}

func newCounters(countBits, windowBits uint) *counters {
	return &counters{countBits: countBits, windowBits: windowBits}
}

// add adds to the count of a key in a window, and returns the sum.
func (c *counters) add(key uint64, window uint32, n uint64) uint64 {
	most := uint64(1)<<c.countBits - 1
	begin := key>>(c.countBits+c.windowBits)<<c.windowBits | uint64(window)&(1<<c.windowBits-1)
	set := &c.sets[key%counterSets]
	least, leastCount := 0, most+1
	for i := range set {
		switch s := set[i].Load(); {
		case s>>c.countBits == begin:
			if s&most+n > most { // more would be another window
				return most
			}
			return set[i].Add(n) & most
		case s>>c.countBits&(1<<c.windowBits-1) != begin&(1<<c.windowBits-1):
			if leastCount > 0 { // its time is over
				least, leastCount = i, 0
			}
		case s&most < leastCount:
			least, leastCount = i, s&most
		}
	}
	set[least].Store(begin<<c.countBits | n)
	return n
}
