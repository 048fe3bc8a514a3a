package listing

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// replay walks through what was observed of one key and asks a listing rule at
// each step, as the store would have.
type replay struct {
	policy   Policy
	evidence []Evidence // oldest first
	resets   []reset    // oldest first
	hold     time.Time  // evidence does not list before

	history  History // without the evidence
	decision *Decision
	since    time.Time // the decision
	until    time.Time // of the listing in force, or of the last
	in, end  int       // evidence[in:end] is in the window
	ended    bool      // the listing that the decision made is over
	looked   int       // at so much evidence, by decisions
	hopeless bool      // whatever part of the evidence is looked at, it lists nothing
}

// evidenceOf returns what is kept of a key from a moment on that is not exempt,
// oldest first, and how many observations those are with the exempt ones. What has
// a time to come, since the clock was set back, is taken for new.
func evidenceOf(tx *bolt.Tx, log *slog.Logger, k Key, from, now time.Time, exempt func(netip.Addr) bool, weigh weigher) (out []Evidence, looked int) {
	observations(tx, log, k, from, decodeForRule, func(o Observation) bool {
		looked++
		if o.At.After(now) {
			o.At = now
		}
		if !exempt(o.Addr) {
			out = append(out, o.Evidence(weigh(o.Reporter)))
		}
		return true
	})
	slices.Reverse(out)
	return out, looked
}

// reset is a moment after which older evidence does not count.
type reset struct {
	at       time.Time
	delisted bool // and a listing ended
}

// listed reports whether there is a listing in force.
func (p *replay) listed() bool { return p.decision != nil && !p.ended }

// run walks up to now.
func (p *replay) run(now time.Time) {
	p.hopeless = !p.policy.reachable(p.evidence)
	for p.end < len(p.evidence) {
		at := p.evidence[p.end].At
		p.reset(at)
		p.expire(at)
		for p.end < len(p.evidence) && p.evidence[p.end].At.Equal(at) {
			p.end++
		}
		for at.Sub(p.evidence[p.in].At) > p.policy.Window {
			p.in++
		}
		p.decide(at)
	}
	p.reset(now)
	p.expire(now)
}

// reset does what operators did before a moment.
func (p *replay) reset(at time.Time) {
	for len(p.resets) > 0 && !p.resets[0].at.After(at) {
		one := p.resets[0]
		p.resets = p.resets[1:]
		p.expire(one.at)
		if p.listed() {
			p.over(one.at)
			one.delisted = true
		}
		p.history.CountFrom = one.at
		if one.delisted {
			p.history.Delisted = one.at
		}
	}
}

// expire ends a listing whose time was over before a moment.
func (p *replay) expire(at time.Time) {
	if p.listed() && !p.until.After(at) {
		p.history.Expired = p.until
		p.over(p.until)
	}
}

func (p *replay) over(at time.Time) {
	p.ended = true
	p.until = at
	p.history.Earlier = append(p.history.Earlier, at)
}

// decide lists or renews, as change.decide does.
func (p *replay) decide(at time.Time) {
	if p.listed() {
		for i := p.end - 1; i >= p.in && p.evidence[i].At.Equal(at); i-- {
			if until := at.Add(p.policy.lifetime(p.history, at)); p.policy.counts(p.evidence[i], p.history, at) && until.After(p.until) {
				p.until = until
			}
		}
		return
	}
	if p.hopeless || at.Before(p.hold) || p.end-p.in < (p.policy.Originals+1)/2 { // half of them, after a removal
		return
	}
	p.looked += p.end - p.in
	if d := p.judge(at); d.List {
		p.decision, p.since, p.until, p.ended = &d, at, d.Until, false
	}
}

// judge asks the rule about what is in the window.
func (p *replay) judge(at time.Time) Decision {
	h := p.history
	h.Evidence = p.evidence[p.in:p.end]
	return p.policy.Decide(h, at)
}
