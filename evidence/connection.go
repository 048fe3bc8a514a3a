package evidence

import (
	"net/netip"
	"strings"
)

// form is how a host writes who connected, word by word behind "from". In each
// word "A" is the address, "P" the looked-up name, perhaps behind an ident, and
// "*" what else the client or its name servers say. A form whose last word ends
// in "*" goes on with what the client says; behind any other come comments or the
// next clause.
type form struct {
	words    []string
	comments int    // that it takes
	by       string // the hosts that say who they are and write it
	alone    bool
	final    bool // no other form is looked for
}

// forms are the forms that are known. What a client calls itself fits each "*",
// and so does the name that its own name servers give it: a line that it made to
// look like another fits both.
var forms = []form{
	// from PTR (HELO HELO) (ident@ADDR): qmail, Yahoo, Zimbra. It comes
	// first: where the HELO is a literal, the line has the next form, too, with a
	// comment behind it that no host writes.
	{words: []string{"*", "(helo", "*)", "(A)"}, comments: 2, final: true},
	{words: []string{"*", "(helo", "*)", "(*@A)"}, comments: 2, final: true},
	{words: []string{"*", "(ehlo", "*)", "(A)"}, comments: 2, final: true},
	{words: []string{"*", "(ehlo", "*)", "(*@A)"}, comments: 2, final: true},
	{words: []string{"*", "(lhlo", "*)", "(A)"}, comments: 2, final: true},
	// from HELO (PTR [ADDR]), from HELO (IDENT:user@PTR [ADDR] (may be forged)):
	// Postfix, Sendmail, most others.
	{words: []string{"*", "(P", "[A])"}, comments: 1},
	{words: []string{"*", "(P", "[A]", "(may*"}, comments: 1},
	{words: []string{"*", "(P", "[A]", "(as*"}, comments: 1},
	{words: []string{"*", "(P[A])"}, comments: 1},
	{words: []string{"(P", "[A])"}, comments: 1},
	// from HELO ("port 1234"@PTR [ADDR]): PMDF.
	{words: []string{"*", `("port`, "P", "[A])"}, comments: 1},
	// from HELO ([ADDR]), from HELO (ADDR), from HELO (user@[ADDR]): Sendmail,
	// Exchange, and qmail and Exim where they have no HELO, or none but the PTR.
	{words: []string{"*", "(A)"}, comments: 1, by: "Exim CommuniGate"},
	{words: []string{"*", "(*@A)"}, comments: 1},
	{words: []string{"*", "([A]", "(may*"}, comments: 1},
	{words: []string{"*", "([A]", "rdns", "failed)"}, comments: 1},
	// from PTR ([ADDR]:port helo=HELO ident=user): Exim.
	{words: []string{"*", "([A]", "helo=*"}, comments: 1, by: "Exim"},
	{words: []string{"*", "([A]", "ident=*"}, comments: 1, by: "Exim"},
	// from [ADDR] (port=25025 helo=HELO ident=user): Exim, without a PTR.
	{words: []string{"[A]", "(helo=*"}, comments: 1, by: "Exim"},
	{words: []string{"[A]", "(port=*"}, comments: 1, by: "Exim"},
	{words: []string{"[A]", "(ident=*"}, comments: 1, by: "Exim"},
	// from HELO (PTR) [ADDR]: Exim, when they differ, by a setting of Debian's.
	{words: []string{"*", "(*)", "[A]"}, comments: 1, by: "Exim"},
	// from [ADDR] (account user HELO HELO), from HELO ([ADDR] verified): CommuniGate.
	{words: []string{"[A]", "(helo", "*"}, comments: 1, by: "CommuniGate"},
	{words: []string{"[A]", "(ehlo", "*"}, comments: 1, by: "CommuniGate"},
	{words: []string{"[A]", "(account", "*"}, comments: 1, by: "CommuniGate"},
	{words: []string{"*", "([A]", "verified)"}, comments: 1, by: "CommuniGate"},
	// from PTR ([ADDR]:port "EHLO HELO"): ZMailer, Mirapoint.
	{words: []string{"*", "([A]", `"helo`, "*"}, comments: 1},
	{words: []string{"*", "([A]", `"ehlo`, "*"}, comments: 1},
	// from HELO [ADDR]: IMail.
	{words: []string{"*", "[A]"}},
	// from [ADDR]: where there is no HELO, or none but the address (see written).
	{words: []string{"[A]"}, by: "Exim CommuniGate", alone: true},
}

// written reports whether the host can have written the form. One that says who
// it is (see hostOf) writes its own forms alone; any other can have written
// them all, but for a literal alone, which may be a HELO: outside mail transport,
// from a web page or in a fetch, there is none.
func (f *form) written(host string, local bool) bool {
	if host != "" {
		return strings.Contains(f.by, host)
	}
	return !f.alone || local
}

// maxForm is more words than any form has, with the word behind it.
const maxForm = 8

// connection reads the "from" clause, whose tokens are from. claimed tells that
// the HELO stands in a comment; host is the one that wrote the line, if it says
// so.
func (r *Received) connection(value string, from []token, claimed bool, host string) {
	words := firstWords(value)
	if len(words) == 0 || !strings.EqualFold(words[0], "from") {
		return
	}
	words = words[1:]
	for i := range forms {
		f := &forms[i]
		if !f.written(host, r.Local) {
			continue
		}
		addr, ptr, ok := f.read(words)
		if !ok {
			continue
		}
		if r.Addr.IsValid() && r.Addr != addr || f.contradicted(from, addr) {
			r.Addr, r.PTR = netip.Addr{}, ""
			return
		}
		r.Addr = addr
		if ptr != "" {
			r.PTR = ptr
		}
		if f.final {
			break
		}
	}
	if r.Addr.IsValid() && r.PTR == "" && claimed { // Exim and qmail put the looked-up name first
		r.PTR = name(words[0])
	}
}

// firstWords splits off the first words by the white space between them,
// whatever parentheses they have.
func firstWords(value string) []string {
	words := make([]string, 0, maxForm)
	for i := 0; i < len(value) && len(words) < maxForm; {
		if white(value[i]) {
			i++
			continue
		}
		end := i
		for end < len(value) && !white(value[end]) {
			end++
		}
		words = append(words, value[i:end])
		i = end
	}
	return words
}

// read returns the address and the looked-up name, if the words have this form.
func (f *form) read(words []string) (addr netip.Addr, ptr string, ok bool) {
	// A first word that opens a comment is a claim that the client has closed
	// further on, or not.
	if len(words) <= len(f.words) || f.words[0] == "*" && words[0][0] == '(' {
		return addr, "", false
	}
	for i, pattern := range f.words {
		found, ok := fits(pattern, words[i])
		if !ok {
			return addr, "", false
		}
		if found.IsValid() {
			addr = found
		}
		if strings.Contains(pattern, "P") {
			looked := strings.TrimPrefix(words[i], "(")
			looked, _, _ = strings.Cut(looked[strings.LastIndexByte(looked, '@')+1:], "[")
			ptr = name(looked)
		}
	}
	last := f.words[len(f.words)-1]
	next := words[len(f.words)]
	ends := strings.HasSuffix(last, "*") || token{text: next}.keyword() != "" || next[0] == '(' && !f.alone
	return addr, ptr, ends && addr.IsValid()
}

// fits reports whether a word has the form of a pattern, and returns the
// address in it.
func fits(pattern, word string) (netip.Addr, bool) {
	before, behind, isAddr := strings.Cut(pattern, "A")
	claim := strings.IndexAny(before, "*P")
	if !isAddr {
		if claim < 0 {
			return netip.Addr{}, strings.EqualFold(word, pattern)
		}
		before, behind := pattern[:claim], pattern[claim+1:]
		return netip.Addr{}, len(word) >= len(before)+len(behind) &&
			strings.EqualFold(word[:len(before)], before) && strings.HasSuffix(word, behind)
	}
	if claim >= 0 { // what follows the claim comes last in the word
		start := strings.LastIndex(word, before[claim+1:])
		if start < claim || word[:claim] != before[:claim] {
			return netip.Addr{}, false
		}
		before, word = before[claim+1:], word[start:]
	}
	text, ok := strings.CutPrefix(withoutPort(word), before)
	if !ok {
		return netip.Addr{}, false
	}
	if text, ok = strings.CutSuffix(text, behind); !ok {
		return netip.Addr{}, false
	}
	if open, ok := strings.CutPrefix(text, "["); ok && behind == ")" { // "(A)" has brackets, or none
		text = strings.TrimSuffix(open, "]")
	}
	return literalAddr(text)
}

// withoutPort takes the port of an address literal away, "([192.0.2.1]:25)".
func withoutPort(word string) string {
	head, port, ok := strings.Cut(word, "]:")
	if !ok {
		return word
	}
	return head + "]" + strings.TrimLeft(port, "0123456789")
}

// contradicted reports whether the clause has more than the form takes, and
// another address there: then the client has written white space.
func (f *form) contradicted(from []token, addr netip.Addr) bool {
	comments := 0
	for _, t := range from {
		if !t.comment {
			continue
		}
		if comments++; comments <= f.comments {
			continue
		}
		for word := range strings.FieldsSeq(t.text) {
			word = word[strings.LastIndexByte(word, '@')+1:]
			if other, ok := literalAddr(strings.Trim(withoutPort(word), "[]()<>,;")); ok && other != addr {
				return true
			}
		}
	}
	return false
}
