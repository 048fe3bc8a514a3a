package evidence

import (
	"slices"
	"strings"
	"sync"

	"backscatter/listing"
)

// rule is one thing that is known about automatic mail, as data. It fires when
// all its conditions hold.
type rule struct {
	name     string
	class    listing.Class // what it speaks for; of a veto and a mark, nothing
	strength strength
	product  string // the software that it recognises
	when     []cond
}

// strength is how much a rule says by itself.
type strength uint8

const (
	mark        strength = iota // names the product, decides nothing
	claim                       // the message says that it is automatic; anybody can say so
	substance                   // it has what only an answer to a message has, or only a notice
	fingerprint                 // words or fields of one known generator
	decisive                    // structure that is made for nothing else
	refine                      // turns a bounce into the rule's class
	veto                        // a look-alike: speaks against the rule's class, or all for ClassOther
)

// zone is a part of the message in which phrases are looked for, in the form
// that normal gives them.
type zone uint8

const (
	inText    zone = iota // the report's own words, then the diagnostics of its DSN
	inSubject             // "^" and "$" stand for its ends
	inFrom                // the From, Sender and Reply-To fields
	inHead                // all fields, each as "\nname: value"
	zones
)

// cond is one condition: a phrase of several in a zone, or a fact.
type cond struct {
	zone    zone
	phrases []string
	fact    fact
	not     bool
}

func text(phrases ...string) cond    { return cond{zone: inText, phrases: phrases} }
func subject(phrases ...string) cond { return cond{zone: inSubject, phrases: phrases} }
func from(phrases ...string) cond    { return cond{zone: inFrom, phrases: phrases} }
func is(f fact) cond                 { return cond{fact: f} }
func not(c cond) cond                { c.not = true; return c }

// header is a condition on the beginnings of fields: "x-failed-recipients:".
func header(fields ...string) cond {
	phrases := make([]string, len(fields))
	for i, f := range fields {
		phrases[i] = "\n" + f
	}
	return cond{zone: inHead, phrases: phrases}
}

func all(conds ...cond) []cond { return conds }

// ruleSet is the rules made ready for use.
type ruleSet struct {
	rules    []rule
	conds    [][]int // for each rule, the index of each condition
	count    int
	matchers [zones]*matcher
}

// compiled returns the rules of all families, made ready at the first use.
var compiled = sync.OnceValue(func() *ruleSet {
	return compile(slices.Concat(
		lookalikeRules, challengeRules, structureRules, bounceRules, applianceRules,
		noticeRules, autoreplyRules,
	))
})

func compile(rules []rule) *ruleSet {
	s := &ruleSet{rules: rules}
	var phrases [zones][]phrase
	for _, r := range rules {
		var conds []int
		for _, c := range r.when {
			for _, text := range c.phrases {
				text = strings.NewReplacer("^", "\x01", "$", "\x02").Replace(text)
				phrases[c.zone] = append(phrases[c.zone], phrase{text: text, cond: s.count})
			}
			conds = append(conds, s.count)
			s.count++
		}
		s.conds = append(s.conds, conds)
	}
	for z := range phrases {
		s.matchers[z] = newMatcher(phrases[z])
	}
	return s
}

// fire returns the rules that hold for a message.
func (s *ruleSet) fire(m *Message, facts fact) []*rule {
	hits := make([]bool, s.count)
	buffer := make([]byte, 0, len(m.text)+4096)
	for z := range zones {
		buffer = m.zone(buffer[:0], z)
		m.work += len(buffer)
		s.matchers[z].scan(buffer, hits)
	}
	var fired []*rule
	for i := range s.rules {
		if s.holds(i, hits, facts) {
			fired = append(fired, &s.rules[i])
		}
	}
	return fired
}

func (s *ruleSet) holds(i int, hits []bool, facts fact) bool {
	for j, c := range s.rules[i].when {
		met := hits[s.conds[i][j]]
		if c.phrases == nil {
			met = facts&c.fact != 0
		}
		if met == c.not {
			return false
		}
	}
	return true
}

const maxHead = 16 << 10 // of the fields in which phrases are looked for

// zone appends the text of a zone in the form in which phrases are looked for.
func (m *Message) zone(dst []byte, z zone) []byte {
	dst = append(dst, '\x01')
	switch z {
	case inText:
		dst = append(dst[:0], m.words...)
		if m.DSN != nil {
			for _, r := range m.DSN.Recipients[:min(len(m.DSN.Recipients), 10)] {
				dst = append(dst, ' ')
				dst = normal(dst, r.Diagnostic)
			}
		}
	case inSubject:
		dst = normal(dst, decodeWords(m.Header.Get("Subject")))
	case inFrom:
		for _, name := range []string{"From", "Sender", "Reply-To", "Return-Path"} {
			dst = append(normal(dst, decodeWords(m.Header.Get(name))), ' ')
		}
	case inHead:
		dst = m.Header.normal(dst)
	}
	return append(trimRight(dst), '\x02')
}

// normal appends all fields, without the values of those that are long and
// say nothing of what the message is.
func (h *Header) normal(dst []byte) []byte {
	for i := range h.fields {
		if len(dst) > maxHead {
			break
		}
		f := &h.fields[i]
		dst = append(dst, '\n')
		begin := len(dst)
		for _, c := range f.name {
			dst = append(dst, lower(c))
		}
		name := string(dst[begin:])
		dst = append(dst, ':', ' ')
		switch name {
		case "received", "dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results",
			"authentication-results", "x-received", "domainkey-signature", "references", "to", "cc":
		default:
			dst = normal(dst, string(f.value[:min(len(f.value), 400)]))
		}
	}
	return append(dst, '\n')
}

func trimRight(b []byte) []byte {
	for len(b) > 1 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}
