package listing

import "net/netip"

// Host is a listed IPv4 host of a walk.
type Host struct {
	Addr uint32
	Told uint32 // the number of what it tells; see [Snapshot.Told]
}

// Walk goes over what [Snapshot.All] yields, in the same order, at a fraction of its
// cost: IPv4 hosts, which are nearly all of a list, come some at once, each with the
// number of what it tells, of which there are few. They are the callee's until it
// returns. The walk ends when either function returns false.
func (s *Snapshot) Walk(hosts func([]Host) bool, other func(Entry) bool) {
	if !s.walk4(all4, hosts, other) {
		return
	}
	for q, net := range s.nets.Subnets(all6) {
		if !other(s.entry(q, net.ref)) {
			return
		}
	}
}

// walk4 is Walk for the IPv4 entries inside p: hosts and wider prefixes, merged.
func (s *Snapshot) walk4(p netip.Prefix, hosts func([]Host) bool, other func(Entry) bool) bool {
	next, last := hostOf(p.Addr()), hostOf(p.Addr())|uint32(uint64(1)<<(32-p.Bits())-1)
	run := newHostRun(next, last, hosts)
	if s.nets.Size4() > 0 {
		for q, net := range s.nets.Subnets(p) {
			first := hostOf(q.Addr())
			if first > next && !s.hosts.between(next, first-1, run) {
				return false
			}
			next = first
			if !run.handOn() || !other(s.entry(q, net.ref)) {
				return false
			}
		}
	}
	return s.hosts.between(next, last, run) && run.handOn()
}

// Told returns what the hosts with a number of [Snapshot.Walk] tell: an entry without
// its prefix.
func (s *Snapshot) Told(told uint32) Entry { return s.entry(netip.Prefix{}, told) }

// Tellings returns how many numbers there are: those of hosts are below it, and others may
// be there that no host has any more.
func (s *Snapshot) Tellings() int { return len(s.table) }

// hostRun is the hosts that are not handed on yet: with millions of them, a call for
// each would be most of the time that all takes.
type hostRun struct {
	some []Host
	hand func([]Host) bool
}

// runHosts is how many hosts are handed on at once.
const runHosts = 1 << 10

// newHostRun returns a run with room for the hosts from lo to hi, if those are few.
func newHostRun(lo, hi uint32, hand func([]Host) bool) *hostRun {
	return &hostRun{make([]Host, 0, min(uint64(hi-lo)+1, runHosts)), hand}
}

// handOn empties the run; it reports whether to go on.
func (r *hostRun) handOn() bool {
	some := r.some
	r.some = some[:0]
	return len(some) == 0 || r.hand(some)
}
