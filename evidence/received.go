package evidence

import (
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Received is one trace line (RFC 5321 §4.4), as far as it could be read.
type Received struct {
	Addr netip.Addr // who connected, as the host that wrote the line saw it; invalid when it does not say
	HELO string     // what the client called itself, a claim
	PTR  string     // its name, as the host looked it up
	By   string     // the host that wrote the line, by its own word
	With string     // the protocol, in upper case
	ID   string     // the queue id
	For  string     // the recipient; [Unreadable] when it could be several
	Date time.Time  // zero when it cannot be read

	Internal bool // nobody connected: the host passed the message on within itself
	Local    bool // a process or a user of the host handed the message in, or it was fetched
}

// Unreadable is the recipient of a line that has one, which could be several or is not
// read.
const Unreadable = `""`

// ParseReceived reads the value of a Received field. It knows the forms of
// Postfix, Sendmail, Exim, qmail, Exchange, Gmail and their kin (see forms).
//
// The address is taken from where the host that wrote the line puts it, never
// from what the client called itself: a HELO has no white space, but it can be
// anything else. When another form, with another HELO, gives the same line and
// another address, there is none, nor when parentheses do not stand where that
// host puts them. Whom the message was for is the client's word as well, and can
// have white space if it is quoted: what follows it is not read then.
func ParseReceived(value string) Received {
	var r Received
	value, more := readable(value)
	tokens, date, cut := tokenize(value)
	date, second, _ := strings.Cut(date, ";")
	if r.Date = parseDate(date); r.Date.IsZero() { // old Sendmail has two
		second, _, _ = strings.Cut(second, ";")
		r.Date = parseDate(second)
	}
	var from []token
	var sent, by bool
	var host string
	for i := 0; i < len(tokens); {
		keyword := tokens[i].keyword()
		clause := clauseLen(tokens[i:])
		if keyword == "by" && !by {
			by, host = true, hostOf(tokens[i:])
		}
		switch rest := tokens[i+1 : i+clause]; keyword {
		case "from":
			if !sent {
				from, sent = rest, true
			}
		case "":
			r.comment(tokens[i])
		case "for":
			if !by || !r.recipient(rest) {
				r.For, r.Date, tokens = Unreadable, time.Time{}, nil
			}
		default:
			r.clause(keyword, rest)
		}
		i += clause
	}
	if more {
		r.For, r.Date = Unreadable, time.Time{}
	}
	// A line whose end is not there has lost what its host wrote, and kept what
	// the client wrote before it.
	whole := by && !cut && !slices.ContainsFunc(from, token.glued)
	claimed := r.claims(from)
	if whole {
		r.connection(value, from, claimed, host)
	}
	r.Internal = !sent && !cut && !r.Local || whole && !r.Addr.IsValid() && strings.HasPrefix(r.With, "LMTP")
	return r
}

// token is a word, or a comment without its parentheses.
type token struct {
	text    string
	comment bool
	ends    bool // a comment with white space, or the end, behind it
}

// glued reports whether a token has parentheses where no host writes any: within
// a word, or a comment that something else follows at once.
func (t token) glued() bool {
	if t.comment {
		return !t.ends
	}
	return strings.ContainsAny(t.text, "()")
}

func (t token) keyword() string {
	if t.comment || len(t.text) > 4 {
		return ""
	}
	switch k := strings.ToLower(t.text); k {
	case "from", "by", "via", "with", "id", "for":
		return k
	}
	return ""
}

// maxTokens bounds the words and comments of one line.
const maxTokens = 60

// tokenize splits the value up to the first semicolon into words and comments
// (RFC 5322 §3.2.2), which may be nested, by the white space between them; behind
// it comes the date. What stands further on tells nothing: a message that begins
// with a continuation line could have put it there. cut tells that a comment is
// never closed, or that there are too many tokens.
func tokenize(value string) (tokens []token, date string, cut bool) {
	for i := 0; i < len(value); {
		switch {
		case white(value[i]):
			i++
		case value[i] == ';':
			return tokens, value[i+1:], false
		case len(tokens) == maxTokens:
			return tokens, "", true
		case value[i] == '(':
			end := commentEnd(value, i)
			if end < 0 {
				return tokens, "", true
			}
			text := strings.TrimSpace(value[i+1 : end])
			i = end + 1
			tokens = append(tokens, token{text: text, comment: true, ends: i == len(value) || white(value[i]) || value[i] == ';'})
		default:
			end := i
			for end < len(value) && !white(value[end]) && value[end] != ';' {
				end++
			}
			tokens = append(tokens, token{text: value[i:end]})
			i = end
		}
	}
	return tokens, "", false
}

func white(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// commentEnd returns where the comment that begins at start is closed, -1 when
// it never is.
func commentEnd(value string, start int) int {
	depth := 0
	for i := start; i < len(value); i++ {
		switch value[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// clauseLen returns how many tokens belong to the clause that begins with the
// first: up to the next keyword. The word behind a keyword is none.
func clauseLen(tokens []token) int {
	n := 1
	for n < len(tokens) && (tokens[n].keyword() == "" || n == 1 && tokens[0].keyword() != "") {
		n++
	}
	return n
}

func (r *Received) clause(keyword string, rest []token) {
	word := ""
	for _, t := range rest {
		if !t.comment {
			word = t.text
			break
		}
	}
	switch keyword {
	case "by":
		if r.By == "" {
			r.By = strings.ToLower(strings.Trim(word, "[]"))
		}
	case "with":
		if r.With == "" {
			r.With = strings.ToUpper(word)
			r.Local = r.Local || localProtocol(r.With)
		}
	case "id":
		if r.ID == "" {
			r.ID = strings.Trim(word, "<>")
		}
	}
	for _, t := range rest {
		r.comment(t)
	}
}

// readable returns what is read of a value: maxLine octets, up to the word with the
// first quote behind "by". Host names and protocols have none, but addresses do: in a
// quoted local part (RFC 5321 §4.1.2) the client can write the end of the clause, and
// other clauses. An ident can have white space, too, and then there is a second "by".
// more tells that there is something that is not read.
func readable(value string) (text string, more bool) {
	value, more = value[:min(len(value), maxLine)], len(value) > maxLine
	words, by, ident, start := 0, false, false, 0
	for word := range strings.FieldsSeq(value) {
		at := start + strings.Index(value[start:], word)
		isBy := words > 1 && strings.EqualFold(word, "by") // behind "from" it is a HELO
		if by && (strings.Contains(word, `"`) || ident && isBy) {
			return value[:at], true
		}
		by, ident = by || isBy, ident || strings.Contains(word, "ident=")
		words, start = words+1, at+len(word)
	}
	return value, more
}

// hostOf returns which mail system wrote the line, if it is one that says so and
// has forms of its own. Behind "for" come words of the client.
func hostOf(tokens []token) string {
	for _, t := range tokens {
		if keyword := t.keyword(); keyword == "for" || keyword == "from" {
			break
		}
		for _, host := range []string{"Exim", "CommuniGate"} {
			if t.comment && strings.HasPrefix(t.text, host) {
				return host
			}
		}
	}
	return ""
}

// recipient reads the "for" clause, and reports whether it is one address and no
// more, so that what follows is the host's again.
func (r *Received) recipient(rest []token) bool {
	words := slices.DeleteFunc(slices.Clone(rest), func(t token) bool { return t.comment })
	if len(words) != 1 || r.For != "" {
		return false
	}
	word, open := strings.CutPrefix(strings.TrimSuffix(words[0].text, ","), "<")
	word, closed := strings.CutSuffix(word, ">")
	if open != closed || strings.ContainsAny(word, `<>()"\,;`) {
		return false
	}
	if strings.Contains(word, "@") {
		r.For = word
	}
	return r.For != "" || open
}

// localProtocol reports whether a message did not come by mail transport: it
// was handed in on the host, through a web page, or fetched from a mailbox.
func localProtocol(with string) bool {
	for _, p := range []string{"LOCAL", "POP", "IMAP", "HTTP", "UUCP", "MAPI", "NNFMP", "BSMTP", "STDIO"} {
		if strings.HasPrefix(with, p) {
			return true
		}
	}
	return false
}

// comment notes what a comment outside the connection part says of a message
// that was handed in locally (Postfix, qmail, web mail).
func (r *Received) comment(t token) {
	if !t.comment {
		return
	}
	for _, sign := range []string{"from userid ", "invoked by ", "from uid "} {
		r.Local = r.Local || strings.Contains(t.text, sign)
	}
	r.Local = r.Local || strings.HasPrefix(t.text, "from ") // Sendmail: "(from user@localhost)"
	if strings.HasPrefix(t.text, "via") && strings.HasSuffix(t.text, "HTTP") {
		r.Local = true
	}
	if r.ID == "" && strings.HasPrefix(t.text, "qmail ") {
		if words := strings.Fields(t.text); len(words) > 1 {
			r.ID = words[1]
		}
	}
}

// claims notes what the client called itself, and reports whether that stands in
// a comment: then the word before it is the name that was looked up.
func (r *Received) claims(from []token) (claimed bool) {
	for _, t := range from {
		switch {
		case t.comment:
			claimed = r.readComment(t.text) || claimed
		case r.HELO == "" && !claimed:
			r.HELO = t.text
		}
	}
	return claimed
}

// readComment notes a HELO in a comment, and reports whether there was one:
// then the word before it is not what the client called itself.
func (r *Received) readComment(c string) bool {
	for _, sign := range []string{"helo=", "HELO ", "EHLO ", "helo ", "ehlo "} {
		at := strings.Index(c, sign)
		if at < 0 || at > 0 && c[at-1] != ' ' {
			continue
		}
		r.HELO, _, _ = strings.Cut(strings.TrimSpace(c[at+len(sign):]), " ")
		return true
	}
	return false
}

// bracketed reads an address literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]"
// (RFC 5321 §4.1.3), at the start of s; ok tells that there is one.
func bracketed(s string) (addr netip.Addr, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return netip.Addr{}, false
	}
	text, _, closed := strings.Cut(s[1:], "]")
	if !closed {
		return netip.Addr{}, false
	}
	return literalAddr(strings.TrimSpace(text))
}

// literalAddr reads what stands between the brackets of an address literal. Exchange
// writes those of its own network with a zone, which is a word or a number.
func literalAddr(text string) (netip.Addr, bool) {
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || strings.ContainsFunc(addr.Zone(), notInZone) {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

func notInZone(r rune) bool {
	return r != '.' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

// name returns a host name without its dot, or nothing for what is none.
func name(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if _, err := netip.ParseAddr(s); err == nil || s == "unknown" || !strings.Contains(s, ".") || strings.ContainsAny(s, "[]()<>@ ") {
		return ""
	}
	return s
}

// parseDate reads a date of RFC 5322 §3.3, the obsolete forms included; the
// zero time when it cannot.
func parseDate(s string) time.Time {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 200 {
		return time.Time{}
	}
	layout := "Mon, 2 Jan 2006 15:04:05 -0700"
	if digit(s[0]) {
		layout = "2 Jan 2006 15:04:05 -0700"
	}
	plain, _, _ := strings.Cut(s, "(")
	t, err := time.Parse(layout, strings.TrimSpace(plain))
	if err != nil { // the forms that nobody writes any more
		t, err = mail.ParseDate(s)
	}
	if err != nil {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
