package evidence

import (
	"slices"

	"backscatter/listing"
)

// Classification is what a message is, and why.
type Classification struct {
	Class   listing.Class
	Rules   []string // the rules that fired for the class, or against any; never nil
	Product string   // the software that was recognised, empty when none was
}

// Classify tells what a message is. It needs no envelope: a null sender is
// taken from Return-Path or an mbox line if there is one.
//
// Structure comes first: what is made for one purpose alone (a delivery
// report, an Auto-Submitted field) decides. Words count only together with
// signs that a machine wrote the message, and with something that only an
// answer to a message has: a status, an address that failed, the original.
// That is also what phishing dressed as a bounce does not have.
func Classify(m *Message) Classification { return m.classify(Envelope{}) }

func (m *Message) classify(e Envelope) Classification {
	facts := m.facts(e)
	return decided(facts, compiled().fire(m, facts))
}

func decided(facts fact, fired []*rule) Classification {
	t := tally{facts: facts, fired: fired}
	class := t.decide()
	c := Classification{Class: class, Rules: []string{}}
	for _, r := range t.fired {
		if t.counts(r, class) {
			c.Rules = append(c.Rules, r.name)
		}
	}
	if class == listing.ClassOther {
		return c
	}
	// Of several products the one whose rule says most; of equals the last,
	// since those that borrow the words of others come behind them.
	var best *rule
	for _, r := range t.fired {
		if r.product != "" && (best == nil || r.strength >= best.strength) && r.strength != veto {
			best = r
		}
	}
	if best != nil {
		c.Product = best.product
	}
	return c
}

// tally is the rules that fired.
type tally struct {
	facts fact
	fired []*rule
}

func (t *tally) has(class listing.Class, s strength) bool {
	return slices.ContainsFunc(t.fired, func(r *rule) bool { return r.class == class && r.strength == s })
}

func (t *tally) number(class listing.Class, s strength) int {
	n := 0
	for _, r := range t.fired {
		if r.class == class && r.strength == s {
			n++
		}
	}
	return n
}

// counts reports whether a rule has a part in the class that was decided.
func (t *tally) counts(r *rule, class listing.Class) bool {
	switch {
	case class == listing.ClassOther:
		return r.strength == veto
	case r.strength == veto || r.strength == mark:
		return false
	case r.strength == refine || class == listing.ClassNotice && r.class == listing.ClassBounce:
		return class == listing.ClassNotice
	}
	return r.class == class
}

// decide returns the class. A challenge comes first, since some are sent as
// delivery reports; then bounces and notices; then other answers.
func (t *tally) decide() listing.Class {
	if t.has(listing.ClassOther, veto) {
		return listing.ClassOther
	}
	if t.answer(listing.ClassChallenge, never) {
		return listing.ClassChallenge
	}
	bounce := t.bounce()
	if t.notice() || bounce && t.has(listing.ClassNotice, refine) {
		return listing.ClassNotice
	}
	if bounce {
		return listing.ClassBounce
	}
	if t.answer(listing.ClassAutoreply, 2) {
		return listing.ClassAutoreply
	}
	return listing.ClassOther
}

// never is more signs than there are.
const never = 1 << 10

// bounce weighs what speaks for a bounce.
func (t *tally) bounce() bool {
	const class = listing.ClassBounce
	if t.has(class, decisive) {
		return true
	}
	if t.has(class, veto) {
		return false
	}
	solid := t.has(class, substance)
	switch prints := t.number(class, fingerprint); {
	case prints >= 2:
		return true
	case prints == 1 && (t.facts&machine != 0 && t.facts&(address|daemonFrom|daemonName|answers) != 0 || solid):
		return true
	}
	return solid && t.number(class, claim) >= 3
}

// notice weighs what speaks for a notice. Its claims are words that bounces use
// too, so they need something that is about what was found.
func (t *tally) notice() bool {
	const class = listing.ClassNotice
	if t.answer(class, never) {
		return true
	}
	about := t.number(class, substance)
	return about > 0 && about+t.number(class, claim) >= 3 && !t.has(class, veto)
}

// answer weighs what speaks for one of the classes that are known by words and
// fields alone: something decisive, or enough signs, of which one at least is of
// an answer; that a machine wrote it is said by notifications, too.
func (t *tally) answer(class listing.Class, signs int) bool {
	if t.has(class, decisive) {
		return true
	}
	if t.has(class, veto) {
		return false
	}
	about := t.number(class, substance)
	return t.number(class, fingerprint) > 0 || about > 0 && about+t.number(class, claim) >= signs
}
