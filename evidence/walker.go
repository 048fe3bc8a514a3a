package evidence

import "bytes"

// The budgets. What lies beyond them is not looked at: a report that needs
// more than this to be understood proves nothing.
const (
	maxMessage     = 1 << 20  // bytes of a message that are walked
	maxDepth       = 10       // parts within parts
	maxParts       = 64       // entities in all
	maxHeaderBytes = 64 << 10 // of one header block
	maxHeaderLines = 500      // of one header block
	maxLine        = 2000     // octets of a line that are looked at
	maxBoundary    = 200      // RFC 2046 §5.1.1 allows 70
	maxPreamble    = 2000     // bytes before the first part of a multipart that does not tell its boundary
)

// Parse walks a message once, from its first byte to its last, and finds its
// parts, its delivery report and the original that it returns. It forgives
// what bounces get wrong: boundaries that are missing, wrong or never closed,
// lines that end in LF or CR alone, an mbox "From " line, a message indented
// as a whole, wrong media types, unknown charsets and encodings.
//
// go-message's reader is not used for the walk, since it refuses most of these;
// its charsets are.
func Parse(raw []byte) (*Message, error) {
	if len(bytes.TrimLeft(raw[:min(len(raw), maxMessage)], " \t\r\n\x00")) == 0 {
		return nil, ErrEmpty
	}
	w := walker{m: &Message{}, current: -1}
	if len(raw) > maxMessage {
		raw, w.m.Cut = raw[:maxMessage], true
	}
	w.raw = w.outdent(raw)
	w.eol = lineEnd(w.raw)
	w.work(len(raw))
	w.skipEnvelopeLine()
	w.walk()
	m := w.m
	m.Header = m.Parts[0].Header
	m.digest()
	if m.Header.Len() == 0 && m.text == "" {
		return nil, ErrNotMail
	}
	return m, nil
}

// lineEnd returns the octet that ends the lines: LF, but CR in a message
// without any LF. A sender who mixes them must not be able to move the lines of
// those behind it; so where an mbox line comes first, which is not his, it tells.
func lineEnd(raw []byte) byte {
	first, _, lf := bytes.Cut(bytes.TrimLeft(raw, "> \t\r\n\x00"), []byte{'\n'})
	if !lf || bytes.HasPrefix(first, []byte("From ")) && bytes.IndexByte(bytes.TrimRight(first, "\r"), '\r') >= 0 {
		return '\r'
	}
	return '\n'
}

// walker holds the state of one pass. Lines are consumed in order and none is
// visited twice, but for a look at the next one in three places.
type walker struct {
	m       *Message
	raw     []byte
	eol     byte
	pos     int     // start of the next line
	current int     // part whose body is being read, -1 in a preamble or an epilogue
	start   int     // where that body begins
	open    []level // enclosing multiparts, outermost first
}

// work counts bytes that were looked at.
func (w *walker) work(n int) { w.m.work += n }

// level is an open multipart, or a message without a Content-Type, which may
// turn out to be one.
type level struct {
	part     int
	boundary []byte // empty while it is not known
	seen     bool   // the boundary was met
}

// line returns the line at pos without its end, and where the next begins.
func (w *walker) line(pos int) (line []byte, next int) {
	rest := w.raw[pos:]
	end := bytes.IndexByte(rest, w.eol)
	if end < 0 {
		return rest, len(w.raw)
	}
	return bytes.TrimSuffix(rest[:end], []byte{'\r'}), pos + end + 1
}

// outdent removes the indentation of a message that was indented as a whole,
// as happens where it was pasted into a text.
func (w *walker) outdent(raw []byte) []byte {
	body := bytes.TrimLeft(raw, "\r\n")
	indent := len(body) - len(bytes.TrimLeft(body, " \t"))
	if indent == 0 || indent > 8 {
		return raw
	}
	first := body[indent:min(len(body), indent+maxLine)]
	if !bytes.HasPrefix(first, []byte("From ")) && fieldName(first) == nil {
		return raw
	}
	prefix := body[:indent]
	out := make([]byte, 0, len(body))
	for len(body) > 0 {
		end := bytes.IndexByte(body, '\n') + 1
		if end == 0 {
			end = len(body)
		}
		out = append(out, bytes.TrimPrefix(body[:end], prefix)...)
		body = body[end:]
	}
	w.work(len(raw))
	return out
}

// skipEnvelopeLine passes over blank lines and an mbox "From " line, and keeps
// its sender.
func (w *walker) skipEnvelopeLine() {
	for w.pos < len(w.raw) {
		line, next := w.line(w.pos)
		trimmed := bytes.TrimLeft(bytes.Trim(line, " \t\x00"), ">")
		if len(trimmed) > 0 && !bytes.HasPrefix(trimmed, []byte("From ")) {
			return
		}
		if w.m.mboxSender == "" && len(trimmed) > 0 {
			sender := bytes.TrimLeft(trimmed[len("From "):min(len(trimmed), maxLine)], " ")
			sender, _, _ = bytes.Cut(sender, []byte(" "))
			w.m.mboxSender = string(sender)
		}
		w.pos = next
	}
}

func (w *walker) walk() {
	w.entity(-1, 0, false)
	for w.pos < len(w.raw) {
		begin := w.pos
		line, next := w.line(begin)
		w.pos = next
		if len(line) < 3 || line[0] != '-' || line[1] != '-' {
			continue
		}
		at, last := w.delimiter(line)
		if at < 0 {
			continue
		}
		w.closeBody(begin)
		w.endParts(w.open[at].part, begin)
		if last {
			w.open = w.open[:at]
			continue
		}
		w.open = w.open[:at+1]
		parent := w.open[at].part
		if len(w.m.Parts) >= maxParts {
			w.m.Cut = true
			return
		}
		w.entity(parent, w.m.Parts[parent].Depth+1, w.m.Parts[parent].Returned)
	}
	w.closeBody(len(w.raw))
	w.endParts(-1, len(w.raw))
}

// endParts ends all that lies in a part before the byte at end.
func (w *walker) endParts(within, end int) {
	for i := len(w.m.Parts) - 1; i > within; i-- {
		if p := &w.m.Parts[i]; !p.ended {
			p.raw, p.ended = p.raw[:max(0, len(p.raw)-(len(w.raw)-end))], true
		}
	}
}

// closeBody ends the body of the current part before the byte at end.
func (w *walker) closeBody(end int) {
	if w.current >= 0 {
		w.m.Parts[w.current].body = w.raw[w.start:max(w.start, end)]
		w.current = -1
	}
}

// entity reads the header of a new part at pos and gets ready for its body. A
// message within the message has a header of its own, which is read at once.
func (w *walker) entity(parent, depth int, returned bool) {
	for {
		part := Part{Parent: parent, Depth: depth, Returned: returned, raw: w.raw[w.pos:]}
		part.Header = w.header(parent < 0 || w.m.Parts[parent].embeds())
		part.describe(parent < 0 || w.m.Parts[parent].Type != "multipart/digest")
		index := len(w.m.Parts)
		w.m.Parts = append(w.m.Parts, part)
		w.current, w.start = index, w.pos
		if depth >= maxDepth || len(w.m.Parts) >= maxParts {
			w.m.Cut = w.m.Cut || part.multipart() || part.embeds()
			return
		}
		if part.multipart() || parent < 0 && part.Type == "" {
			w.open = append(w.open, level{part: index, boundary: []byte(part.boundary)})
			return
		}
		if !part.embeds() || part.encoded() {
			return
		}
		parent, depth, returned = index, depth+1, true
	}
}

// header reads fields up to the blank line that ends them, to a line that can
// be none, or to the delimiter of an enclosing multipart.
func (w *walker) header(message bool) Header {
	var h Header
	begin, lines := w.pos, 0
	grows := -1 // where the value of the last field begins, -1 when it must not grow
	for w.pos < len(w.raw) {
		line, next := w.line(w.pos)
		lines++
		within := lines <= maxHeaderLines && w.pos-begin <= maxHeaderBytes
		w.m.Cut = w.m.Cut || !within
		switch {
		case len(line) == 0:
			w.pos = next
			if h.Len() == 0 && message && lines <= 3 {
				continue // a blank line or two before the header of a message within
			}
			return h
		case w.delimits(line):
			return h
		case !within:
		case (line[0] == ' ' || line[0] == '\t') && h.Len() > 0:
			if grows >= 0 {
				h.fields[h.Len()-1].value = w.raw[grows : w.pos+min(len(line), maxLine)]
			}
		default:
			name := fieldName(line)
			if name == nil && !w.junk(&h, line, next) {
				return h
			}
			grows = w.field(&h, name, line)
		}
		if len(line) > maxLine {
			grows = -1
		}
		w.pos = next
	}
	return h
}

// field adds the field that begins with the line, if it has a name, and
// returns where its value begins.
func (w *walker) field(h *Header, name, line []byte) int {
	if name == nil {
		return -1
	}
	colon := bytes.IndexByte(line, ':') + 1
	h.fields = append(h.fields, field{name: name, value: line[colon:min(len(line), maxLine)]})
	return w.pos + colon
}

// junk reports whether a line that begins no field is to be passed over: an
// mbox line, or junk between fields. Else the header is over, though no blank
// line says so, and the line is text.
func (w *walker) junk(h *Header, line []byte, next int) bool {
	if bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From ")) {
		return true
	}
	following, _ := w.line(next)
	return h.Len() > 0 && fieldName(following) != nil
}

// fieldName returns the name at the start of a header line (RFC 5322 §2.2:
// printable ASCII but the colon), or nil when it begins no field. Space before
// the colon is obsolete syntax (§4.5.1).
func fieldName(line []byte) []byte {
	colon := bytes.IndexByte(line[:min(len(line), 128)], ':')
	if colon <= 0 {
		return nil
	}
	name := bytes.TrimRight(line[:colon], " \t")
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return nil
		}
	}
	if len(name) == 0 {
		return nil
	}
	return name
}

// delimits reports whether the line is a delimiter of an open multipart,
// without acting upon it.
func (w *walker) delimits(line []byte) bool {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return false
	}
	at, _ := w.match(line)
	return at >= 0
}

// delimiter returns the open multipart that the line delimits, -1 for none,
// and whether it is its last delimiter. A multipart that never showed its own
// boundary takes the first line that can be one.
func (w *walker) delimiter(line []byte) (at int, last bool) {
	if at, last = w.match(line); at >= 0 {
		w.open[at].seen = true
		return at, last
	}
	inner := len(w.open) - 1
	if inner < 0 || w.open[inner].seen || w.pos-w.start > maxPreamble || !w.startsPart() {
		return -1, false
	}
	w.open[inner].boundary = bytes.TrimRight(line[2:min(len(line), maxBoundary)], " \t")
	w.open[inner].seen = true
	return inner, false
}

// match compares the line with the boundaries of the open multiparts, from the
// innermost out (RFC 2046 §5.1.2).
func (w *walker) match(line []byte) (at int, last bool) {
	text := line[2:min(len(line), maxLine)]
	for at = len(w.open) - 1; at >= 0; at-- {
		boundary := w.open[at].boundary
		w.work(len(boundary))
		if len(boundary) == 0 || !bytes.HasPrefix(text, boundary) {
			continue
		}
		switch rest := bytes.TrimRight(text[len(boundary):], " \t"); {
		case len(rest) == 0:
			return at, false
		case bytes.Equal(rest, []byte("--")):
			return at, true
		}
	}
	return -1, false
}

// startsPart reports whether the next line is a Content-… field.
func (w *walker) startsPart() bool {
	line, _ := w.line(w.pos)
	w.work(min(len(line), maxLine))
	return len(line) > 8 && foldEqual(line[:8], "content-")
}
