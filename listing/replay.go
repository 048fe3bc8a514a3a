package listing

import "time"

// replay walks through what was observed of one key and asks a listing rule at
// each step, as the store would have.
type replay struct {
	policy   Policy
	evidence []Evidence // oldest first
	resets   []reset    // oldest first
	hold     time.Time  // evidence does not list before

	history  History // without the evidence
	decision *Decision
	until    time.Time // of the listing in force, or of the last
	in, end  int       // evidence[in:end] is in the window
	ended    bool      // the listing that the decision made is over
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
	if at.Before(p.hold) || p.end-p.in < (p.policy.Originals+1)/2 { // half of them, after a removal
		return
	}
	h := p.history
	h.Evidence = p.evidence[p.in:p.end]
	if d := p.policy.Decide(h, at); d.List {
		p.decision, p.until, p.ended = &d, d.Until, false
	}
}
