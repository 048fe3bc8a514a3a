package evidence

import (
	"net/netip"
	"strings"
)

// Questions is what must be looked up elsewhere before a report can be judged
// in full. Its zero value asks nothing.
type Questions struct {
	SPF  *SPFQuestion
	DKIM *DKIMQuestion
}

// SPFQuestion asks whether Origin may send mail for the domain of Sender (RFC
// 7208), who was forged: had the accused host asked, it would have known.
type SPFQuestion struct {
	Origin netip.Addr
	Sender string
}

// DKIMQuestion asks whether a signature of one of Domains verifies (RFC 6376).
type DKIMQuestion struct {
	Message []byte // with CRLF
	Domains []string
}

// Known is the answers. The zero value knows nothing, which never counts.
type Known struct {
	SPFFails bool    // SPF says "fail" for the origin
	DKIM     Outcome // Refuted: one verifies
}

// Questions returns what must be looked up for a case. There is nothing to ask
// where the answer would change nothing.
func (c *Case) Questions() Questions {
	var q Questions
	f := &c.finding
	if c.done || f.Class == 0 || !f.Source.IsValid() {
		return q
	}
	if g := c.guarded; g != nil && g.DKIM && c.message.Original.signedBy(g.Domains, Fails) == Fails {
		q.DKIM = &DKIMQuestion{Message: crlf(c.message.Original.raw), Domains: g.Domains}
	}
	if _, domain, ok := splitAddress(c.recipient); ok && f.Original.Origin.IsValid() && (c.trap || c.guarded != nil) {
		q.SPF = &SPFQuestion{Origin: f.Original.Origin, Sender: "postmaster@" + domain}
	}
	return q
}

// crlf returns text with lines that end in CR LF, as signatures are made over.
func crlf(text []byte) []byte {
	return []byte(strings.ReplaceAll(plainLines(string(text)), "\n", "\r\n"))
}
