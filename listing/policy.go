package listing

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Weights is what one observation of each class adds to the score of its
// source, before reporter, context and age are taken into account. An
// observation that weighs nothing is kept and shown, and counts for no threshold.
type Weights struct {
	Bounce    float64 `json:"bounce"`
	Notice    float64 `json:"notice"`
	Autoreply float64 `json:"autoreply"`
	Challenge float64 `json:"challenge"`
	Callout   float64 `json:"callout"`
}

// DefaultWeights returns the weight that each class has of its own.
func DefaultWeights() Weights {
	return Weights{
		Bounce:    ClassBounce.Weight(),
		Notice:    ClassNotice.Weight(),
		Autoreply: ClassAutoreply.Weight(),
		Challenge: ClassChallenge.Weight(),
		Callout:   ClassCallout.Weight(),
	}
}

// Of returns the weight of a class, 0 for those that are no evidence.
func (w Weights) Of(c Class) float64 {
	switch c {
	case ClassBounce:
		return w.Bounce
	case ClassNotice:
		return w.Notice
	case ClassAutoreply:
		return w.Autoreply
	case ClassChallenge:
		return w.Challenge
	case ClassCallout:
		return w.Callout
	default:
		return 0
	}
}

// Policy is the listing rule: what it takes until evidence lists a key, and
// for how long. Start from [Profile], [Community] or [Solo], and change what
// should differ. Policies can be compared with ==.
type Policy struct {
	Profile string `json:"profile"` // the profile that it started from

	Window        time.Duration `json:"window"`        // how far back evidence counts
	Score         float64       `json:"score"`         // least sum of class × reporter × context × age
	Originals     int           `json:"originals"`     // least number of distinct originals
	TrapDomains   int           `json:"trap_domains"`  // least number of distinct trap domains; 0: not asked
	Recipients    int           `json:"recipients"`    // least number of distinct recipients; 0: not asked
	Organisations int           `json:"organisations"` // least number of distinct organisations
	Direct        int           `json:"direct"`        // trap domains of one organisation that stand for all of them, when its own sensors held the session (level A); 0: none do
	Span          time.Duration `json:"span"`          // least time from the first to the last
	Share         float64       `json:"share"`         // most that one organisation gives of the needed score, where two or more are asked

	Lifetime    time.Duration `json:"lifetime"`     // from the last counted observation to the expiry
	LifetimeMax time.Duration `json:"lifetime_max"` // however often it was doubled
	Memory      time.Duration `json:"memory"`       // each listing that ended so recently doubles the lifetime

	Relapse       time.Duration `json:"relapse"`        // how long after a removal a part of the score and originals suffices
	RelapseFactor float64       `json:"relapse_factor"` // that part

	Weights   Weights `json:"weights"`
	AgedTo    float64 `json:"aged_to"`    // what an observation as old as the window still weighs; from 1 it falls in a line
	SPFFactor float64 `json:"spf_factor"` // for a source that SPF would have told that the sender was forged

	DeliveredFactor float64 `json:"delivered_factor"` // for a report of success, compared with one of failure
}

// Community returns the rule for evidence that several organisations bring
// together. It is the default.
func Community() Policy {
	return Policy{
		Profile:       "community",
		Window:        7 * 24 * time.Hour,
		Score:         3,
		Originals:     3,
		TrapDomains:   2,
		Organisations: 2,
		Direct:        2,
		Span:          10 * time.Minute,
		Share:         0.5,
		Lifetime:      7 * 24 * time.Hour,
		LifetimeMax:   28 * 24 * time.Hour,
		Memory:        90 * 24 * time.Hour,
		Relapse:       30 * 24 * time.Hour,
		RelapseFactor: 0.5,
		Weights:       DefaultWeights(),
		AgedTo:        0.5,
		SPFFactor:     1.25,

		DeliveredFactor: 0.5,
	}
}

// Solo returns the rule for one organisation alone: it asks more of the
// evidence, since nobody else confirms it.
func Solo() Policy {
	p := Community()
	p.Profile = "solo"
	p.Originals = 5
	p.TrapDomains = 0
	p.Recipients = 3
	p.Organisations = 1
	p.Span = time.Hour
	return p
}

// Profile returns the policy of the given name, as it is before configuration
// changes it.
func Profile(name string) (Policy, error) {
	for _, p := range []Policy{Community(), Solo()} {
		if p.Profile == name {
			return p, nil
		}
	}
	return Policy{}, fmt.Errorf("policy profile %q: want community or solo", name)
}

// Bounds of what a policy may ask.
const (
	maxPeriod = 10 * 365 * 24 * time.Hour
	maxCount  = 1_000_000
	maxFactor = 100
)

// Validate reports everything that is wrong with the policy.
func (p Policy) Validate() error {
	var errs []error
	if _, err := Profile(p.Profile); err != nil {
		errs = append(errs, err)
	}
	number := func(name string, v, least, most float64) {
		if math.IsNaN(v) || v < least || v > most {
			errs = append(errs, fmt.Errorf("policy %s %s: want %s to %s", name, decimal(v), decimal(least), decimal(most)))
		}
	}
	period := func(name string, d, least, most time.Duration) {
		if d < least || d > most {
			errs = append(errs, fmt.Errorf("policy %s %s: want %s to %s", name, words(d), words(least), words(most)))
		}
	}
	number("score", p.Score, 1, maxCount)
	number("originals", float64(p.Originals), 1, maxCount)
	number("trap_domains", float64(p.TrapDomains), 0, maxCount)
	number("recipients", float64(p.Recipients), 0, maxCount)
	number("organisations", float64(p.Organisations), 1, maxCount)
	number("direct", float64(p.Direct), 0, maxCount)
	number("share", p.Share, 0.01, 1)
	number("relapse_factor", p.RelapseFactor, 0.01, 1)
	number("aged_to", p.AgedTo, 0, 1)
	number("spf_factor", p.SPFFactor, 1, maxFactor)
	number("delivered_factor", p.DeliveredFactor, 0, 1)
	for _, c := range evidenceClasses {
		number("weight of "+c.String(), p.Weights.Of(c), 0, maxFactor)
	}
	period("window", p.Window, time.Second, keepSeen) // what is handed in twice must be known as long as it counts
	period("span", p.Span, 0, maxPeriod)
	period("lifetime", p.Lifetime, time.Second, maxPeriod)
	period("lifetime_max", p.LifetimeMax, time.Second, maxPeriod)
	period("memory", p.Memory, 0, maxPeriod)
	period("relapse", p.Relapse, 0, maxPeriod)
	if p.Span > p.Window {
		errs = append(errs, fmt.Errorf("policy span %s: longer than the window of %s, nothing would ever be listed", words(p.Span), words(p.Window)))
	}
	if p.Lifetime > p.LifetimeMax {
		errs = append(errs, fmt.Errorf("policy lifetime %s: longer than lifetime_max %s", words(p.Lifetime), words(p.LifetimeMax)))
	}
	return errors.Join(errs...)
}

// evidenceClasses are the classes that an observation can have, in the order
// of policy texts.
var evidenceClasses = []Class{ClassNotice, ClassBounce, ClassChallenge, ClassAutoreply, ClassCallout}

// Text returns the rule in words that can be published (RFC 6471 §2.1.1), one
// line each.
func (p Policy) Text() []string {
	lines := []string{
		fmt.Sprintf("Profile: %s.", p.Profile),
		"Evidence: automatic messages (bounces, notices, auto-replies, challenges) that answer mail which their recipient never sent, proven one by one, and attributed to the host that handed them to a mail server of the reporter.",
		fmt.Sprintf("Window: evidence counts for %s; its weight falls evenly from 1 to %s in that time.", words(p.Window), decimal(p.AgedTo)),
		p.weightText(),
		fmt.Sprintf("Score: at least %s in all, compared and shown to one decimal.", decimal(p.Score)),
		fmt.Sprintf("Originals: at least %s.", plural(p.Originals, "different message", "was answered", "were answered")),
	}
	if p.TrapDomains > 0 {
		lines = append(lines, fmt.Sprintf("Trap domains: at least %d different ones were hit.", p.TrapDomains))
	}
	if p.Recipients > 0 {
		lines = append(lines, fmt.Sprintf("Recipients: at least %d different ones were hit.", p.Recipients))
	}
	return append(lines,
		p.organisationText(),
		p.spanText(),
		p.expiryText(),
		p.removalText(),
		fmt.Sprintf("Ranges: evidence lists single IPv4 addresses and IPv6 /%d networks, never more.", hostBits),
		"Use: for mail with a null sender (MAIL FROM:<>) only.",
	)
}

func (p Policy) organisationText() string {
	if p.Organisations <= 1 {
		return "Organisations: the reports of one suffice."
	}
	text := fmt.Sprintf("Organisations: at least %d reported it, none of them giving more than %s of the needed score", p.Organisations, percent(p.Share))
	if p.Direct > 0 {
		text += fmt.Sprintf("; or one saw it itself on %d or more of its trap domains", p.Direct)
	}
	return text + "."
}

// percent writes a part of something.
func percent(part float64) string { return decimal(math.Round(1e4*part)/100) + " %" }

func (p Policy) spanText() string {
	if p.Span == 0 {
		return "Span: none is asked."
	}
	return fmt.Sprintf("Span: at least %s from the first to the last.", words(p.Span))
}

func (p Policy) expiryText() string {
	text := fmt.Sprintf("Expiry: %s after the last counted observation", words(p.Lifetime))
	if p.Memory > 0 && p.LifetimeMax > p.Lifetime {
		text += fmt.Sprintf(", doubled for each listing that ended in the %s before, %s at most", words(p.Memory), words(p.LifetimeMax))
	}
	return text + "; each further observation renews it."
}

func (p Policy) removalText() string {
	const never = "Evidence older than a removal never counts again."
	if p.Relapse == 0 || p.RelapseFactor == 1 {
		return never
	}
	part := percent(p.RelapseFactor) + " of the score and of the originals suffice"
	if p.RelapseFactor == 0.5 {
		part = "half the score and half the originals suffice"
	}
	return fmt.Sprintf("After an expiry or a removal: %s for %s. %s", part, words(p.Relapse), never)
}

func (p Policy) weightText() string {
	weights := make([]string, 0, len(evidenceClasses))
	for _, c := range evidenceClasses {
		weights = append(weights, c.String()+" "+decimal(p.Weights.Of(c)))
	}
	return fmt.Sprintf("Weights: %s; times the reporter's own weight; times %s when SPF would have told the host that the sender was forged, times %s for a bounce that says that the message was delivered.",
		strings.Join(weights, ", "), decimal(p.SPFFactor), decimal(p.DeliveredFactor))
}

func plural(n int, thing, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s %s", thing, one)
	}
	return fmt.Sprintf("%d %ss %s", n, thing, many)
}

// decimal writes a number as short as it can be.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// words writes a duration as 7 days, 36 hours, or 26 hours 57 minutes. Days are
// counted from two on, or when there is nothing beside them.
func words(d time.Duration) string {
	if d < 0 || d%time.Second != 0 {
		return d.String()
	}
	if d == 0 {
		return "0 seconds"
	}
	var out []string
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if u.name == "day" && d < 2*u.size && d != u.size {
			continue
		}
		switch n := d / u.size; n {
		case 0:
		case 1:
			out = append(out, "1 "+u.name)
		default:
			out = append(out, fmt.Sprintf("%d %ss", n, u.name))
		}
		d %= u.size
	}
	return strings.Join(out, " ")
}
