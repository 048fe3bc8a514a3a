package listing

import (
	"fmt"
	"slices"
	"strings"
)

// Text returns what is in force in words that can be published (RFC 6471 §2.1.1), one
// line each: the listing rule, and what keeps it from doing harm. It names no
// reporter, no trap, and nobody who is exempt.
func (s Settings) Text() []string {
	rule := s.Policy.Text()
	last := len(rule) - 1 // what the list is for
	return slices.Concat(rule[:last], s.exemptText(), s.Brakes.text(), s.Probation.text(), s.keptText(), rule[last:])
}

func (s Settings) exemptText() []string {
	text := "Exempt: special-purpose addresses (RFC 6890), those of this server and of its reporters' mail servers, and what an operator exempts, such as large shared providers. What they send is observed, and not listed."
	if len(s.Listable) > 0 {
		var open []string
		for _, p := range s.Listable {
			open = append(open, p.String())
		}
		text += " Open for tests: " + strings.Join(open, ", ") + "."
	}
	return []string{text}
}

func (b Brakes) text() (lines []string) {
	beyond := func(count int, share float64, things string) string {
		text := fmt.Sprintf("more than %d %s", count, things)
		if share > 0 {
			text += fmt.Sprintf(", or %s of the list if that is more,", percent(share))
		}
		return text
	}
	if b.Listings > 0 {
		lines = append(lines, fmt.Sprintf("Brake on listing: after %s within an hour, evidence lists nothing new before an operator has looked.",
			beyond(b.Listings, b.ListingsShare, "new listings by evidence")))
	}
	if b.Endings > 0 {
		lines = append(lines, fmt.Sprintf("Brake on publication: %s come or go at once only by an operator's order.", beyond(b.Endings, b.EndingsShare, "listings")))
	}
	return append(lines, fmt.Sprintf("Widest: nothing wider than an IPv4 /%d or an IPv6 /%d is ever listed, by operators neither.", MinBits4, MinBits6))
}

func (p Probation) text() []string {
	if p.For == 0 {
		return nil
	}
	return []string{fmt.Sprintf(
		"New reporters: what one reports counts for %s of its weight for %s, or until %d other organisations had reported %d of the hosts that it reported.",
		percent(p.Factor), words(p.For), p.Organisations, p.Sources)}
}

func (s Settings) keptText() []string {
	text := fmt.Sprintf("Kept: what was observed of a host for %s after it came and after its last listing ended, and when it was listed as long as the rule asks; what identifies a report, so that it counts once, for %s; who did what, and why, for %s. Never a body; whom it was sent to and its subject only as keyed hashes",
		words(s.Retention.observations()), words(max(s.Retention.observations(), keepSeen)), words(s.Retention.audit()))
	if s.Headers.For > 0 {
		text += "; headers, less local parts of addresses and the subject, for " + words(s.Headers.For)
	}
	return []string{text + "."}
}
