package evidence

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // SRS is defined with it
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

// Work returns how many bytes were looked at to parse and classify m.
func (m *Message) Work() int { return m.work }

// ParseDSN is parseDSN for tests.
var ParseDSN = parseDSN

// Phrases returns which of the phrases are in text, found by the automaton.
func Phrases(phrases []string, text string) []bool {
	var all []phrase
	for i, p := range phrases {
		all = append(all, phrase{text: p, cond: i})
	}
	hits := make([]bool, len(phrases))
	newMatcher(all).scan([]byte(text), hits)
	return hits
}

// RuleNames returns the names of all rules, and the phrases of each zone.
func RuleNames() (names []string, phrases [][]string) {
	phrases = make([][]string, zones)
	for _, r := range compiled().rules {
		names = append(names, r.name)
		for _, c := range r.when {
			phrases[c.zone] = append(phrases[c.zone], c.phrases...)
		}
	}
	return names, phrases
}

// States returns how many states the automata have.
func States() (n int) {
	for _, m := range compiled().matchers {
		n += len(m.found)
	}
	return n
}

// Normal is normal for tests.
func Normal(text string) string { return string(normal(nil, text)) }

// SRS makes the local part of an SRS0 address.
func SRS(secret, stamp, domain, local string) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(strings.ToLower(stamp + domain + local)))
	return "SRS0=" + base64.StdEncoding.EncodeToString(h.Sum(nil))[:4] + "=" + stamp + "=" + domain + "=" + local
}

// ClassifyWithoutProducts tells what a message is as if nothing were known of
// any product: how well the next one will be recognised.
func ClassifyWithoutProducts(m *Message) Classification {
	facts := m.facts(Envelope{})
	fired := slices.DeleteFunc(compiled().fire(m, facts), func(r *rule) bool { return r.product != "" && r.strength != veto })
	return decided(facts, fired)
}

// Products returns the products that rules recognise.
func Products() map[string]bool {
	products := map[string]bool{}
	for _, r := range compiled().rules {
		if r.product != "" {
			products[r.product] = true
		}
	}
	return products
}

// Advised returns the products for which there is advice.
func Advised() []string { return slices.Collect(maps.Keys(advice)) }
