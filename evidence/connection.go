package evidence

import (
	"net/netip"
	"strings"
)

// form is how a host writes who connected, word by word behind "from". In each
// word "A" is the address, and "*" what the client or its name servers say. A
// form whose last word ends in "*" goes on with what the client says; behind any
// other come comments or the next clause.
type form struct {
	words    []string
	comments int // that it takes
	alone    bool
}

// forms are all the forms that are known. What a client calls itself fits each
// "*", so a line that it made to look like another fits both.
var forms = []form{
	// from HELO (PTR [ADDR]), from HELO (IDENT:user@PTR [ADDR] (may be forged)):
	// Postfix, Sendmail, most others.
	{words: []string{"*", "(*", "[A])"}, comments: 1},
	{words: []string{"*", "(*", "[A]", "(may*"}, comments: 1},
	{words: []string{"*", "(*", "[A]", "(as*"}, comments: 1},
	{words: []string{"(*", "[A])"}, comments: 1},
	// from HELO ([ADDR]), from HELO (ADDR), from HELO (user@[ADDR]): Sendmail,
	// Exchange, and qmail and Exim where they have no HELO, or none but the PTR.
	{words: []string{"*", "(A)"}, comments: 1},
	{words: []string{"*", "(*@A)"}, comments: 1},
	{words: []string{"*", "([A]", "(may*"}, comments: 1},
	{words: []string{"*", "([A]", "rdns", "failed)"}, comments: 1},
	// from PTR ([ADDR]:port helo=HELO ident=user): Exim.
	{words: []string{"*", "([A]", "helo=*"}, comments: 1},
	{words: []string{"*", "([A]", "ident=*"}, comments: 1},
	// from [ADDR] (port=25025 helo=HELO ident=user): Exim, without a PTR.
	{words: []string{"[A]", "(helo=*"}, comments: 1},
	{words: []string{"[A]", "(port=*"}, comments: 1},
	{words: []string{"[A]", "(ident=*"}, comments: 1},
	// from HELO (PTR) [ADDR]: Exim, when they differ, by a setting of Debian's.
	{words: []string{"*", "(*)", "[A]"}, comments: 1},
	// from [ADDR] (account user HELO HELO), from HELO ([ADDR] verified): CommuniGate.
	{words: []string{"[A]", "(helo", "*"}, comments: 1},
	{words: []string{"[A]", "(ehlo", "*"}, comments: 1},
	{words: []string{"[A]", "(account", "*"}, comments: 1},
	{words: []string{"*", "([A]", "verified)"}, comments: 1},
	// from PTR (HELO HELO) (ident@ADDR): qmail, Yahoo, Zimbra.
	{words: []string{"*", "(helo", "*)", "(A)"}, comments: 2},
	{words: []string{"*", "(helo", "*)", "(*@A)"}, comments: 2},
	{words: []string{"*", "(ehlo", "*)", "(A)"}, comments: 2},
	{words: []string{"*", "(ehlo", "*)", "(*@A)"}, comments: 2},
	{words: []string{"*", "(lhlo", "*)", "(A)"}, comments: 2},
	// from PTR ([ADDR]:port "EHLO HELO"): ZMailer, Mirapoint.
	{words: []string{"*", "([A]", `"helo`, "*"}, comments: 1},
	{words: []string{"*", "([A]", `"ehlo`, "*"}, comments: 1},
	// from HELO [ADDR]: IMail.
	{words: []string{"*", "[A]"}},
	// from [ADDR]: where there is no HELO, or none but the address (see connection).
	{words: []string{"[A]"}, alone: true},
}

// maxForm is more words than any form has, with the word behind it.
const maxForm = 8

// connection reads the "from" clause, whose tokens are from. claimed tells that
// the HELO stands in a comment; literal that the host writes the address of a
// client without a name in the place of the name.
func (r *Received) connection(value string, from []token, claimed, literal bool) {
	words := firstWords(value)
	if len(words) == 0 || !strings.EqualFold(words[0], "from") {
		return
	}
	words = words[1:]
	for i := range forms {
		f := &forms[i]
		// A web page, or a fetch, has no HELO.
		if f.alone && !literal && !r.Local {
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
	if len(words) <= len(f.words) {
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
		if pattern == "(*" {
			ptr = name(words[i][max(1, strings.LastIndexByte(words[i], '@')+1):])
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
	if !isAddr {
		before, behind, isClaim := strings.Cut(pattern, "*")
		if !isClaim {
			return netip.Addr{}, strings.EqualFold(word, pattern)
		}
		if pattern == "(*" && claims(word) {
			return netip.Addr{}, false
		}
		return netip.Addr{}, len(word) >= len(before)+len(behind) &&
			strings.EqualFold(word[:len(before)], before) && strings.HasSuffix(word, behind)
	}
	if at := strings.LastIndexByte(word, '@'); before == "(*@" {
		if at < 0 || word[0] != '(' {
			return netip.Addr{}, false
		}
		before, word = "", word[at+1:]
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

// claims reports whether a comment begins with what tells a HELO or an ident, and
// not with a looked-up name.
func claims(word string) bool {
	word = strings.ToLower(word[:min(len(word), 10)])
	for _, sign := range []string{"(helo=", "(ident=", "(port=", "(account"} {
		if strings.HasPrefix(word, sign) {
			return true
		}
	}
	return word == "(helo" || word == "(ehlo" || word == "(lhlo"
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
