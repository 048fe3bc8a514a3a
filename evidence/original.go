package evidence

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
)

// Original is the message that the backscatter answers, as far as it came
// back. Everything in it is a claim of whoever sent the backscatter, and what
// lies below that host's own trace line a claim of the sender before it.
type Original struct {
	Returned   Returned
	Header     Header
	MessageID  string // without angle brackets; from In-Reply-To where nothing came back
	From       string
	Subject    string
	Date       string
	To         string
	ReturnPath string // with its brackets, so that "<>" differs from none
	Trail      []Received

	quoted   bool         // found in the text, not in a part
	raw      []byte       // all that came back of it, still encoded; nil when a budget cut it
	whole    bool         // raw is the original as it was, with nothing changed
	answered []string     // what an answer without an original refers to
	origins  []netip.Addr // where it came from, the most trustworthy first
}

// digest fills in what is derived from the parts.
func (m *Message) digest() {
	text := m.ownText()
	m.text = text
	m.DSN = m.findDSN()
	found := m.findReturned()
	if quoted, cut, ok := findQuoted(text); ok {
		m.text = text[:cut]
		if !found {
			m.Original = quoted
		}
	}
	m.links += strings.Count(m.text, "://")
	m.words = normal([]byte{'\x01'}, m.text)
	o := &m.Original
	if o.Returned == "" {
		o.Returned = ReturnedNone
	}
	o.describe()
	if o.MessageID == "" && o.Returned == ReturnedNone {
		o.MessageID, o.answered = m.answeredID(), m.answeredIDs()
	}
	o.origins = append(o.origins, m.toldOrigins()...)
	if addr, ok := bracketed("[" + strings.Trim(o.Header.Get("X-Originating-IP"), "[] ") + "]"); ok && addr.IsValid() {
		o.origins = append(o.origins, addr)
	}
}

// describe reads the fields of the original's header.
func (o *Original) describe() {
	h := &o.Header
	if h.Len() == 0 {
		return
	}
	o.MessageID = messageID(h.Get("Message-ID"))
	o.From = decodeWords(h.Get("From"))
	o.Subject = decodeWords(h.Get("Subject"))
	o.Date = h.Get("Date")
	o.To = decodeWords(h.Get("To"))
	o.ReturnPath = h.Get("Return-Path")
	o.Trail = trail(h)
	o.origins = believable(o.Trail)
}

// answeredID returns the Message-ID that an automatic reply says it answers
// (RFC 3834 §3.1.5).
func (m *Message) answeredID() string {
	if id := messageID(m.Header.Get("In-Reply-To")); id != "" {
		return id
	}
	references := strings.Fields(m.Header.Get("References"))
	if len(references) == 0 {
		return ""
	}
	return messageID(references[len(references)-1])
}

// maxAnswered bounds the identities of a conversation that are looked at.
const maxAnswered = 100

// answeredIDs returns all identities that an automatic reply refers to: its
// In-Reply-To names one, and References a conversation, in an order that programs
// differ in.
func (m *Message) answeredIDs() (ids []string) {
	for _, name := range []string{"In-Reply-To", "References"} {
		for _, id := range strings.FieldsFunc(m.Header.Get(name), func(c rune) bool { return strings.ContainsRune(" \t<>,", c) }) {
			if strings.Contains(id, "@") && len(ids) < maxAnswered {
				ids = append(ids, printable(id, maxAddress))
			}
		}
	}
	return ids
}

// messageID returns the first identity in a field, without angle brackets.
func messageID(value string) string {
	if open := strings.IndexByte(value, '<'); open >= 0 {
		if id, _, ok := strings.Cut(value[open+1:], ">"); ok {
			value = id
		}
	}
	value = printable(value, maxAddress)
	if strings.ContainsAny(value, " \t") {
		value, _, _ = strings.Cut(value, " ")
	}
	return value
}

// ownText returns what the message itself says: its text parts that are not
// part of an original, the HTML form only where there is no plain one.
func (m *Message) ownText() string {
	var plain, html strings.Builder
	for i := range m.Parts {
		p := &m.Parts[i]
		// A multipart in which no part begins lost its delimiters on the way.
		lost := p.multipart() && (i+1 >= len(m.Parts) || m.Parts[i+1].Parent != i)
		if p.Returned || !p.textual() && !lost || len(p.body) == 0 {
			continue
		}
		b := &plain
		if p.Type == "text/html" {
			b = &html
		}
		room := maxText - b.Len()
		if room <= 0 {
			continue
		}
		decoded := decodeCharset(p.Charset, p.decoded(room))
		m.work += len(decoded)
		b.WriteString(decoded[:min(len(decoded), 2*room)])
		b.WriteByte('\n')
	}
	stripped, links := stripHTML(html.String())
	if len(strings.TrimSpace(plain.String())) < 40 {
		m.html = html.Len() > 0
		plain.WriteString(stripped)
	}
	m.links = links
	return plainLines(plain.String())
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", " ")

// plainLines returns the text with lines that end in LF, and without NUL.
func plainLines(text string) string {
	if !strings.ContainsAny(text, "\r\x00") {
		return text
	}
	return lineEnds.Replace(text)
}

// findReturned looks for the original in a part of its own.
func (m *Message) findReturned() bool {
	for i := range m.Parts {
		p := &m.Parts[i]
		if i == 0 || p.Returned {
			continue
		}
		header, body, ok := m.embedded(i)
		if !ok {
			continue
		}
		m.Original = Original{Returned: ReturnedHeaders, Header: header, raw: m.rawOf(i), whole: p.embeds() && !m.Cut}
		if !p.headersOnly() && len(bytes.TrimSpace(body)) > 0 {
			m.Original.Returned = ReturnedFull
		}
		return true
	}
	return false
}

// embedded returns the header and the body of the message within part i. A
// part that has the fields of a message among its own is one that was put
// there without a header for itself.
func (m *Message) embedded(i int) (Header, []byte, bool) {
	p := &m.Parts[i]
	switch {
	case !p.embeds():
		return p.Header, p.body, p.Header.Has("Received") && known(&p.Header) >= 4
	case p.encoded():
		decoded := p.decoded(maxParse)
		m.work += len(decoded)
		header, body := splitHeader(decoded)
		return header, body, known(&header) >= 2
	}
	if i+1 >= len(m.Parts) || m.Parts[i+1].Parent != i || known(&m.Parts[i+1].Header) < 2 {
		return Header{}, nil, false
	}
	child := &m.Parts[i+1]
	for j := i + 1; j < len(m.Parts) && m.Parts[j].Returned; j++ {
		if j == i+1 && child.multipart() && len(m.Parts) > j+1 && m.Parts[j+1].Parent == j {
			continue // its preamble
		}
		if len(m.Parts[j].body) > 0 {
			return child.Header, m.Parts[j].body, true
		}
	}
	return child.Header, child.body, true
}

// rawOf returns the message within part i, as far as it came back.
func (m *Message) rawOf(i int) []byte {
	switch p := &m.Parts[i]; {
	case p.encoded() && p.embeds():
		return p.decoded(maxParse)
	case p.embeds():
		return m.Parts[i+1].raw
	}
	return m.Parts[i].raw
}

// texts returns what the original says in its text parts, decoded, to a limit.
func (o *Original) texts() string {
	if o.Returned != ReturnedFull || len(o.raw) == 0 {
		return ""
	}
	w := walker{m: &Message{}, raw: o.raw[:min(len(o.raw), maxMessage)], current: -1}
	w.eol = lineEnd(w.raw)
	w.walk()
	var b strings.Builder
	for i := range w.m.Parts {
		p := &w.m.Parts[i]
		if room := maxText - b.Len(); room > 0 && p.textual() && len(p.body) > 0 {
			b.Write(p.decoded(room))
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// splitHeader reads the header at the start of a text of its own.
func splitHeader(text []byte) (Header, []byte) {
	w := walker{m: &Message{}, raw: text, eol: '\n', current: -1}
	h := w.header(true)
	return h, text[min(w.pos, len(text)):]
}

// returnedNames are the fields by which a returned header is known. Those of
// the first line are seldom in the summary that a person's mail program puts
// over a quoted message.
var returnedNames = map[string]int{
	"received": 3, "message-id": 3, "return-path": 3, "mime-version": 3, "dkim-signature": 3,
	"content-type": 1, "content-transfer-encoding": 1, "x-mailer": 2, "x-originating-ip": 3,
	"from": 1, "to": 1, "subject": 1, "date": 1, "sender": 1, "reply-to": 1, "cc": 1,
}

func known(h *Header) int {
	n := 0
	for i := range h.fields {
		if len(h.fields[i].name) < 32 && returnedNames[strings.ToLower(string(h.fields[i].name))] > 0 {
			n++
		}
	}
	return n
}

// findQuoted looks for an original that was put into the text: a run of header
// fields, behind one prefix if it is indented or quoted. It is known by what
// it is and not by the line that announces it, since every program words that
// one differently. cut is where the report's own words end.
func findQuoted(text string) (o Original, cut int, ok bool) {
	var run headerRun
	separator := -1 // start of the last line that announces an original
	for at := 0; at <= len(text); {
		line, _, _ := strings.Cut(text[at:], "\n")
		next := at + len(line) + 1
		run.announced = separator >= 0
		if run.take(line, at) {
			at = next
			continue
		}
		if run.proven() {
			cut = run.start
			if separator >= 0 {
				cut = separator
			}
			return run.original(text[at:]), cut, true
		}
		run.reset()
		switch trimmed := strings.TrimLeft(line, " \t>"); {
		case announces(trimmed):
			separator = at
		case trimmed != "":
			separator = -1
		}
		run.take(line, at)
		at = next
	}
	if run.proven() {
		return run.original(""), run.start, true
	}
	return Original{}, 0, false
}

// headerRun is a run of lines that can be a returned header.
type headerRun struct {
	announced bool // behind a line that announces an original
	prefix    string
	start     int
	points    int
	unfolded  int // lines that lost the space by which they continue a field
	block     []byte
}

// maxUnfolded bounds the lines without a field that an announced header may have.
const maxUnfolded = 12

func (r *headerRun) reset() { *r = headerRun{announced: r.announced, block: r.block[:0]} }

// take adds the line to the run, and reports false when it does not belong.
func (r *headerRun) take(line string, at int) bool {
	line = strings.TrimRight(line[:min(len(line), maxLine)], "\r")
	if len(r.block) > 0 {
		rest, ok := strings.CutPrefix(line, r.prefix)
		if !ok || strings.TrimSpace(rest) == "" || len(r.block) > maxHeaderBytes {
			return false
		}
		if rest[0] == ' ' || rest[0] == '\t' {
			r.add(rest)
			return true
		}
		if r.begin(rest) {
			return true
		}
		r.unfolded++
		if !r.announced || r.unfolded > maxUnfolded {
			return false
		}
		r.add(" " + rest)
		return true
	}
	trimmed := strings.TrimLeft(line, " \t>|")
	r.prefix = line[:len(line)-len(trimmed)]
	if trimmed == "" || !r.begin(trimmed) {
		r.reset()
		return false
	}
	if r.points == 0 { // a run begins with a field that headers begin with
		r.reset()
		return false
	}
	r.start = at
	return true
}

func (r *headerRun) begin(line string) bool {
	field := fieldName([]byte(line[:min(len(line), 128)]))
	if field == nil {
		return false
	}
	if len(field) < 32 {
		r.points += returnedNames[strings.ToLower(string(field))]
	}
	r.add(line)
	return true
}

func (r *headerRun) add(line string) {
	r.block = append(r.block, line...)
	r.block = append(r.block, '\n')
}

// proven reports whether the run is a header: by itself only with a field that
// people do not quote, behind a line that announces one with less.
func (r *headerRun) proven() bool {
	if r.announced {
		return r.points >= 3
	}
	return r.points >= 6
}

func (r *headerRun) original(rest string) Original {
	header, _ := splitHeader(bytes.Clone(r.block))
	o := Original{Returned: ReturnedHeaders, Header: header, quoted: true}
	blank, body, _ := strings.Cut(rest, "\n")
	if strings.Trim(blank, quoting) == "" && strings.Trim(body, quoting) != "" {
		o.Returned = ReturnedFull
		o.raw = append(append(bytes.Clone(r.block), '\n'), r.unquote(body)...)
	}
	return o
}

// unquote removes from each line what stands before those of the header.
func (r *headerRun) unquote(body string) string {
	if r.prefix == "" {
		return body
	}
	var b strings.Builder
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, r.prefix)
		if !ok { // an empty line loses the space behind its mark
			rest, _ = strings.CutPrefix(line, strings.TrimRight(r.prefix, " \t"))
		}
		b.WriteString(rest)
	}
	return b.String()
}

// quoting is what stands before quoted lines and between texts.
const quoting = " \t\n>|-_="

// announcements are the words of the line before a returned original.
var announcements = []string{
	"original message", "copy of the message", "copy of your message", "header of the original",
	"headers follow", "header follows", "message headers", "message header", "original header", "returned message",
	"undelivered message", "unsent message", "message follows", "text of the message", "copy of the headers",
	"failed message", "mensaje original", "message d'origine", "messaggio originale", "mensagem original",
	"ursprüngliche nachricht", "first part of the message", "beginning of the message",
	"begin message", "forwarded message", "rejected message", "bounced message", "message text",
}

var announcer = sync.OnceValue(func() *matcher {
	phrases := make([]phrase, len(announcements))
	for i, words := range announcements {
		phrases[i].text = words
	}
	return newMatcher(phrases)
})

// announces reports whether a line announces the original that follows.
func announces(line string) bool {
	if line == "" || len(line) > 120 {
		return false
	}
	var buffer [400]byte // lower case can be longer
	var hit [1]bool
	announcer().scan(normal(buffer[:0], line), hit[:])
	return hit[0]
}
