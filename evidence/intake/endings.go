package intake

import "strings"

// endings mends how lines end in what a client sends: of CRs in a row it keeps
// one. go-smtp does not see the end of a message whose last line ends in CR CR
// LF; that is how a message with a bare CR at the end of a line comes from
// servers that send it as it is (qmail and others), and both would wait until
// one gives up, at each attempt anew.
//
// Two things stay as they are. A line "." with CR CR LF: it would become the end
// of a message, which it is not (SMTP smuggling). And whatever follows the first
// BDAT or STARTTLS, where octets count and are no lines.
type endings struct {
	line   [4]byte // how the line begins
	length int     // of the line, as far as it matters
	cr     bool    // the last octet was a CR
	raw    bool    // nothing is mended any more
}

// mend mends the next octets in place and returns how many are left.
func (e *endings) mend(p []byte) int {
	n := 0
	for i, c := range p {
		if e.raw {
			return n + copy(p[n:], p[i:])
		}
		if c == '\r' && e.cr && (e.length != 1 || e.line[0] != '.') {
			continue
		}
		p[n] = c
		n++
		e.cr = c == '\r'
		switch {
		case c == '\n':
			e.length = 0
		case e.cr:
		case e.length < len(e.line):
			e.line[e.length] = c
			e.length++
			verb := string(e.line[:e.length])
			e.raw = strings.EqualFold(verb, "BDAT") || strings.EqualFold(verb, "STAR")
		default:
			e.length = len(e.line) + 1
		}
	}
	return n
}
