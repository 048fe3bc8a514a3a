package listing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Evidence is what the listing rule needs to know of one observation.
type Evidence struct {
	At           time.Time
	Class        Class
	Level        Level
	Original     ID
	Recipient    ID
	TrapDomain   string // empty: no trap was hit
	Organisation string
	Weight       float64 // of the reporter, see [Reporter.Factor]; 0: withdrawn or suspended, does not count
	SPFFailed    bool
	Delivered    bool
}

// Evidence returns what the listing rule needs of the observation, with the
// weight of its reporter. What was withdrawn weighs nothing.
func (o Observation) Evidence(weight float64) Evidence {
	if o.Revoked != 0 {
		weight = 0
	}
	return Evidence{
		At: o.At, Class: o.Class, Level: o.Level,
		Original: o.Original, Recipient: o.Recipient,
		TrapDomain: o.TrapDomain, Organisation: o.Organisation,
		Weight: weight, SPFFailed: o.SPFFailed,
		Delivered: o.Delivered,
	}
}

// History is all that the listing rule looks at for one key.
type History struct {
	Evidence []Evidence // in any order; what does not count may be among it
	// CountFrom is when an operator last said that what there is shall not count.
	// Evidence that is not newer never counts again, so the store sets it no
	// earlier than the newest evidence that it holds.
	CountFrom time.Time
	// Delisted is when a listing was last removed by an operator or by who it
	// belongs to. A hold on a key that was not listed sets CountFrom alone.
	Delisted time.Time
	// Expired is when a listing that evidence had made last expired.
	Expired time.Time
	// Earlier holds the end of each earlier listing, however it ended; a
	// listing in force is not among them.
	Earlier []time.Time
}

// Threshold is one condition of the listing rule: what it asks, what was
// found, and whether that suffices. The words are the same wherever they are
// shown, and name no reporter and no trap.
type Threshold struct {
	Name   string `json:"name"`
	Wanted string `json:"wanted"`
	Found  string `json:"found"`
	Met    bool   `json:"met"`
}

// Decision is what the listing rule says of a key, with its reasons.
type Decision struct {
	List       bool        `json:"list"` // every threshold is met
	Profile    string      `json:"profile"`
	Thresholds []Threshold `json:"thresholds"`
	Relapse    bool        `json:"relapse"`        // a part of the score and originals was asked for, soon after a removal
	Classes    ClassSet    `json:"classes"`        // of the counted evidence
	Class      Class       `json:"class"`          // the heaviest of them, of two with one weight the newest
	Events     int         `json:"events"`         // observations counted
	First      time.Time   `json:"first,omitzero"` // oldest counted
	Last       time.Time   `json:"last,omitzero"`  // newest counted
	Until      time.Time   `json:"until,omitzero"` // when a listing by this evidence expires; zero when nothing counts
}

// Lifetime returns how long a listing lasts from the last counted observation.
func (d Decision) Lifetime() time.Duration { return d.Until.Sub(d.Last) }

// Decide applies the listing rule to what is known of one key. It is pure,
// and the order of the evidence does not matter.
//
// It says whether the evidence, as it is now, makes a listing. It does not say
// whether the key is listed: evidence fades, and a listing once made stays until
// its expiry. So the store keeps the expiry, and for each new observation
//
//   - lists a key that is not listed when List holds, until Until;
//   - renews a listed one, whether List still holds or not, to the later of
//     its own expiry and Until.
//
// Evidence counts when its class and its reporter have a weight, its level is A
// or B, it is newer than the last delist, and it is in the window. Evidence from
// the future (the clock was set back) counts as if it had come now, so that it
// can neither stretch the span nor the expiry.
//
// After an expiry older evidence still counts, but by itself never lists again:
// the newest must have come after it. So nothing flaps where the window is
// longer than the lifetime.
//
// A removal that lies in the future, since the clock was set back, asks for
// nothing: else no evidence could be newer than an expiry of a year ahead.
//
// The score is compared, as it is shown, rounded to one decimal: weights fall
// with age from the first second, and three bounces within the least span are to
// score the 3.0 that their weights add up to, not 2.9985.
func (p Policy) Decide(h History, now time.Time) Decision {
	t := p.tally(h, now)
	d := Decision{
		Profile: p.Profile,
		Relapse: p.relapse(h, now),
		Classes: t.classes, Class: t.heaviest, Events: t.events,
		First: t.first, Last: t.last,
	}
	d.Thresholds = p.thresholds(t, h, d.Relapse, now)
	d.List = true
	for _, threshold := range d.Thresholds {
		d.List = d.List && threshold.Met
	}
	if t.events > 0 {
		d.Until = t.last.Add(p.lifetime(h, now))
		d.List = d.List && d.Until.After(now)
	}
	return d
}

// thresholds lists each condition with what was found.
func (p Policy) thresholds(t *tally, h History, relapse bool, now time.Time) []Threshold {
	score, originals := pointsOf(p.Score), p.Originals
	if relapse {
		score, originals = points(p.eased(float64(score))), int(p.eased(float64(originals)))
	}
	out := []Threshold{
		scoreThreshold(score, t.score(p, score)),
		countThreshold("originals", originals, t.originals.n),
	}
	if p.TrapDomains > 0 {
		out = append(out, countThreshold("trap domains", p.TrapDomains, t.trapDomains.n))
	}
	if p.Recipients > 0 {
		out = append(out, countThreshold("recipients", p.Recipients, t.recipients.n))
	}
	out = append(out, p.organisationThreshold(t))
	out = append(out, spanThreshold(p.Span, t.last.Sub(t.first), t.events))
	if !h.Expired.IsZero() && !h.Expired.After(now) {
		fresh := Threshold{"newer than the last expiry", "yes", "no", t.events > 0 && t.last.After(h.Expired)}
		if fresh.Met {
			fresh.Found = "yes"
		}
		out = append(out, fresh)
	}
	return out
}

func countThreshold(name string, wanted, found int) Threshold {
	return Threshold{name, strconv.Itoa(wanted), strconv.Itoa(found), found >= wanted}
}

func scoreThreshold(wanted, found points) Threshold {
	return Threshold{"score", wanted.String(), found.String(), found.tenths() >= wanted.tenths()}
}

func spanThreshold(wanted, found time.Duration, events int) Threshold {
	out := Threshold{Name: "span", Wanted: words(wanted), Met: events > 0 && found >= wanted}
	if wanted == 0 {
		out.Wanted = "none"
	}
	if found >= time.Hour {
		found = found.Truncate(time.Minute)
	}
	out.Found = words(found)
	return out
}

func (p Policy) organisationThreshold(t *tally) Threshold {
	out := countThreshold("organisations", p.Organisations, len(t.organisations))
	if p.Organisations > 1 {
		if p.Direct > 0 {
			out.Wanted += fmt.Sprintf(", or direct on %d domains", p.Direct)
		}
		if n := t.direct(); p.Direct > 0 && n > 0 {
			out.Found += fmt.Sprintf(", direct on %d", n)
		}
		out.Met = out.Met || p.sawItself(t)
	}
	return out
}

// sawItself reports whether what one organisation saw itself stands for the word of
// others.
func (p Policy) sawItself(t *tally) bool { return p.Direct > 0 && t.direct() >= p.Direct }

// eased is what of a threshold is asked for soon after a removal, in whole numbers. A
// part that is whole but for the way computers reckon is taken for whole.
func (p Policy) eased(threshold float64) float64 { return math.Ceil(threshold*p.RelapseFactor - 1e-6) }

// relapse reports whether a removal is so recent that a part of the score and
// originals suffices.
func (p Policy) relapse(h History, now time.Time) bool {
	recent := func(t time.Time) bool { return !t.IsZero() && !t.After(now) && now.Before(t.Add(p.Relapse)) }
	return recent(h.Delisted) || recent(h.Expired)
}

// lifetime is doubled for each earlier listing that ended within the policy's
// memory.
func (p Policy) lifetime(h History, now time.Time) time.Duration {
	d := p.Lifetime
	for _, ended := range h.Earlier {
		if d >= p.LifetimeMax {
			break
		}
		if !ended.Before(now.Add(-p.Memory)) {
			d *= 2
		}
	}
	return min(d, p.LifetimeMax)
}

// tally is what was counted of a history.
type tally struct {
	events        int
	first, last   time.Time
	classes       ClassSet
	heaviest      Class
	heaviestAt    time.Time
	originals     distinct[ID]
	recipients    distinct[ID]
	trapDomains   distinct[string]
	organisations []organisation // one for each name: there are no more than reporters
}

// organisation is what one of them gave.
type organisation struct {
	name   string
	score  points
	direct distinct[string] // trap domains on which its own sensors held the session
}

// distinct is a set of which nearly all have no more than a few members: most keys are
// decided on by their first observations, and a map takes longer to make.
type distinct[T comparable] struct {
	n     int
	first [4]T
	more  map[T]struct{}
}

func (f *distinct[T]) add(v T) {
	if slices.Contains(f.first[:min(f.n, len(f.first))], v) {
		return
	}
	if f.n < len(f.first) {
		f.first[f.n] = v
		f.n++
		return
	}
	if f.more == nil {
		f.more = make(map[T]struct{})
	}
	f.more[v] = struct{}{}
	f.n = len(f.first) + len(f.more)
}

// reachable reports whether the rule could ever list by a part of the evidence:
// whether all of it together, however old, comes from as many sides as are asked
// for. Most floods come to one trap, and who replays one need not ask at each of
// its messages.
func (p Policy) reachable(evidence []Evidence) bool {
	t := new(tally)
	for _, e := range evidence {
		if p.counts(e, History{}, e.At) {
			t.add(p, e, e.At)
		}
	}
	return t.originals.n >= int(p.eased(float64(p.Originals))) && // fewer, after a removal
		t.trapDomains.n >= p.TrapDomains && t.recipients.n >= p.Recipients && p.organisationThreshold(t).Met
}

func (p Policy) tally(h History, now time.Time) *tally {
	t := new(tally)
	for _, e := range h.Evidence {
		if e.At.After(now) {
			e.At = now
		}
		if p.counts(e, h, now) {
			t.add(p, e, now)
		}
	}
	return t
}

// counts reports whether an observation counts at all.
func (p Policy) counts(e Evidence, h History, now time.Time) bool {
	switch {
	case e.Level != LevelA && e.Level != LevelB:
		return false
	case !(e.Weight > 0) || !(p.Weights.Of(e.Class) > 0): // not ≤ 0, which lets NaN pass
		return false
	case notNewer(e.At, h.CountFrom), notNewer(e.At, h.Delisted):
		return false
	}
	return now.Sub(e.At) <= p.Window
}

func notNewer(at, removal time.Time) bool { return !removal.IsZero() && !at.After(removal) }

// add counts an observation.
func (t *tally) add(p Policy, e Evidence, now time.Time) {
	if t.events == 0 || e.At.Before(t.first) {
		t.first = e.At
	}
	if t.events == 0 || e.At.After(t.last) {
		t.last = e.At
	}
	t.events++
	t.classes |= ClassSetOf(e.Class)
	t.weighClass(p.Weights, e)
	t.originals.add(e.Original)
	t.recipients.add(e.Recipient)
	org := t.organisation(e.Organisation)
	org.score += p.pointsFor(e, now)
	if e.TrapDomain != "" {
		t.trapDomains.add(e.TrapDomain)
		if e.Level == LevelA {
			org.direct.add(e.TrapDomain)
		}
	}
}

func (t *tally) organisation(name string) *organisation {
	for i := range t.organisations {
		if t.organisations[i].name == name {
			return &t.organisations[i]
		}
	}
	t.organisations = append(t.organisations, organisation{name: name})
	return &t.organisations[len(t.organisations)-1]
}

// weighClass keeps the heaviest class; of two with one weight the newer, and
// of two of one second the one with the lower code.
func (t *tally) weighClass(w Weights, e Evidence) {
	order := cmp.Or(
		cmp.Compare(w.Of(e.Class), w.Of(t.heaviest)),
		e.At.Compare(t.heaviestAt),
		cmp.Compare(t.heaviest, e.Class),
	)
	if t.heaviest == ClassOther || order > 0 {
		t.heaviest, t.heaviestAt = e.Class, e.At
	}
}

// direct returns the most trap domains on which one organisation's own sensors
// saw the source.
func (t *tally) direct() int {
	most := 0
	for _, org := range t.organisations {
		most = max(most, org.direct.n)
	}
	return most
}

// score adds up what the organisations gave, each of them up to its share of
// what is wanted, where two or more are needed.
func (t *tally) score(p Policy, wanted points) points {
	limit := points(math.MaxInt64)
	if p.Organisations > 1 && !p.sawItself(t) {
		limit = points(math.Round(float64(wanted) * p.Share))
	}
	var sum points
	for _, org := range t.organisations {
		sum += min(org.score, limit)
	}
	return sum
}

// pointsFor is what one observation adds to the score.
func (p Policy) pointsFor(e Evidence, now time.Time) points {
	v := p.Weights.Of(e.Class) * min(e.Weight, MaxReporterWeight)
	if e.SPFFailed {
		v *= p.SPFFactor
	}
	if e.Delivered {
		v *= p.DeliveredFactor
	}
	age := float64(now.Sub(e.At)) / float64(p.Window)
	return pointsOf(v * (1 - age*(1-p.AgedTo)))
}

// points are millionths of a score: whole numbers, so that a sum does not
// depend on the order in which it was made.
type points int64

func pointsOf(score float64) points { return points(math.Round(score * 1e6)) }

// tenths rounds to the precision at which scores are compared and shown.
func (p points) tenths() int64 { return (int64(p) + 50_000) / 100_000 }

// String writes the score with one decimal.
func (p points) String() string { return fmt.Sprintf("%d.%d", p.tenths()/10, p.tenths()%10) }
