package listing

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Whoever writes a message in the name of an address chooses the hosts in it, where
// it is sent from, and where it bounces. If he saw any of that again, he would know
// that the address is a trap, and could try one address after the other. So nothing
// is told that fewer than this have seen, and everything a day later.
const (
	publicTraps   = 3 // registrable domains of traps that were hit
	publicSources = 3 // hosts that bounced to them
)

// maxPublicAddrs bounds the addresses held while public runs are read.
const maxPublicAddrs = 200_000

// dayLong is how exact the times are that everybody is told.
const dayLong = 24 * time.Hour

// PublicRun is what everybody may be told of the mail that led to one domain.
// Everything in it was seen at several trap domains, so that who knows one address
// cannot find out by it whether that is a trap.
type PublicRun struct {
	Domain       string       `json:"domain"`         // registrable: what stands before it tells one message from the other
	First        string       `json:"first"`          // day, UTC
	Last         string       `json:"last"`           // day, UTC
	Observations int          `json:"observations"`   // at least so many: a power of ten
	Origins      []netip.Addr `json:"origins"`        // at most 100
	Backscatters []netip.Addr `json:"backscatterers"` // at most 100
}

// few holds the first different values that it sees.
type few[T comparable] []T

func (f *few[T]) see(v T, most int) {
	if len(*f) < most && !slices.Contains(*f, v) {
		*f = append(*f, v)
	}
}

// witnesses are by whom something is known.
type witnesses struct {
	traps   few[string]
	sources few[netip.Addr]
}

func (w *witnesses) see(trap string, source netip.Addr) {
	w.traps.see(trap, publicTraps)
	w.sources.see(source, publicSources)
}

// publicGroup is a public run that is being read.
type publicGroup struct {
	witnesses
	first, last   time.Time
	observations  int
	origins       map[netip.Addr]*witnesses
	backscatterer map[netip.Addr]*witnesses
}

// publicRuns is all that are being read.
type publicRuns struct {
	groups map[string]*publicGroup
	addrs  int // of all groups
}

// PublicRuns returns what everybody may be told of spam runs, the largest first, at
// most so many. They are of whole days (UTC), as many as the length holds, the last of
// which is over. Runs that led nowhere are not told: they can be named by nothing
// that their sender has not chosen.
func (s *Store) PublicRuns(ctx context.Context, now time.Time, length time.Duration, most int) ([]PublicRun, error) {
	until := now.UTC().Truncate(dayLong)
	since := until.Add(-max(length.Truncate(dayLong), dayLong))
	runs := publicRuns{groups: map[string]*publicGroup{}}
	err := s.observed(ctx, since, func(o *Observation) {
		if o.At.Before(until) {
			runs.add(o)
		}
	})
	if err != nil {
		return nil, err
	}
	out := []PublicRun{}
	for domain, g := range runs.groups {
		if len(g.traps) == publicTraps && len(g.sources) == publicSources {
			out = append(out, g.public(domain))
		}
	}
	slices.SortFunc(out, func(a, b PublicRun) int {
		return cmp.Or(cmp.Compare(b.Observations, a.Observations), cmp.Compare(a.Domain, b.Domain))
	})
	return out[:min(len(out), most)], nil
}

func (r *publicRuns) add(o *Observation) {
	if len(o.Traces.URLHosts) == 0 {
		return
	}
	domain, ok := registrable(o.Traces.URLHosts[0])
	g := r.groups[domain]
	if !ok || g == nil && len(r.groups) == maxRuns {
		return
	}
	if g == nil {
		g = &publicGroup{first: o.At, last: o.At, origins: map[netip.Addr]*witnesses{}, backscatterer: map[netip.Addr]*witnesses{}}
		r.groups[domain] = g
	}
	trap, ok := registrable(o.TrapDomain)
	if !ok {
		trap = o.TrapDomain
	}
	g.see(trap, o.Addr)
	g.observations++
	if o.At.Before(g.first) {
		g.first = o.At
	}
	if o.At.After(g.last) {
		g.last = o.At
	}
	r.of(g.backscatterer, o.Addr).see(trap, o.Addr)
	if o.Traces.Origin.IsValid() {
		r.of(g.origins, o.Traces.Origin).see(trap, o.Addr)
	}
}

// of returns the witnesses of an address; without room for them, some that nobody
// reads.
func (r *publicRuns) of(known map[netip.Addr]*witnesses, addr netip.Addr) *witnesses {
	w := known[addr]
	if w == nil {
		w = &witnesses{}
		if r.addrs < maxPublicAddrs {
			known[addr] = w
			r.addrs++
		}
	}
	return w
}

// public returns what is told of a group that may be.
func (g *publicGroup) public(domain string) PublicRun {
	atLeast := 1
	for atLeast*10 <= g.observations {
		atLeast *= 10
	}
	return PublicRun{
		Domain: domain, First: g.first.UTC().Format(time.DateOnly), Last: g.last.UTC().Format(time.DateOnly), Observations: atLeast,
		Origins:      told(g.origins, publicSources),
		Backscatters: told(g.backscatterer, 1), // itself
	}
}

// told returns the addresses that were seen at several trap domains, by so many hosts.
func told(known map[netip.Addr]*witnesses, sources int) []netip.Addr {
	out := []netip.Addr{}
	for addr, w := range known {
		if len(w.traps) == publicTraps && len(w.sources) >= sources {
			out = append(out, addr)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out[:min(len(out), maxRunAddrs)]
}

// registrable returns the domain that somebody had to register for a host to be
// there, or the address that stands in its place.
func registrable(host string) (string, bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().String(), true
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	return domain, err == nil
}
