package intake

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"regexp"
	"slices"
	"strconv"
)

// mbox reads the messages of an mbox, or the one message of a stream that is
// none. There are four dialects, and no file says which it is in (see RFC 4155
// and the manual page mbox(5) of qmail):
//
//	mboxo    lines "From " in a body are quoted as ">From "
//	mboxrd   lines "From ", ">From ", ">>From " … get one more ">"
//	mboxcl   as mboxo, and Content-Length gives the size of the body
//	mboxcl2  Content-Length gives the size of the body; nothing is quoted
//
// A message ends before a From_ line: a line that begins with "From ", after a
// blank line, with a date in it. Where the header has a Content-Length that leads
// to exactly such a line, or to the end of the file, it is believed, so that in
// mboxcl2 the text of a message cannot begin another; else it is of another time
// or another's making, and the From_ lines decide. (A stream is looked ahead in for
// [MaxRaw] octets only; a larger message in an mboxcl2 should come as a file.)
type mbox struct {
	in      *bufio.Reader
	at      io.ReaderAt // looks ahead at any distance; nil for a stream
	offset  int64       // of in's next octet
	started bool        // the beginning was looked at
	many    bool        // it is an mbox; its From_ line was read
	undated bool        // the first From_ line has no date, so the others need none
	ended   bool
}

// lookAhead is the number of octets in which a From_ line must show itself.
const lookAhead = 1 << 10

// The header lines that are looked at for Content-Length are at most this long,
// and no more than so many of them count.
const (
	maxLengthLine = 256
	maxLengths    = 4
)

// fromLine matches what follows "From " and the sender in a From_ line:
// asctime's date, with or without seconds and time zone, or RFC 5322's.
var fromLine = regexp.MustCompile(`^From .*(` +
	`(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2} +\d{1,2}:\d\d(:\d\d)?( +[-+A-Za-z0-9]{1,6}){0,2} +\d{4}` +
	`|(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +\d{1,2} +(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{4} +\d{1,2}:\d\d` +
	`)`)

func newMbox(r io.Reader, at io.ReaderAt) *mbox { return &mbox{in: bufferOf(r, at), at: at} }

// line is one line, or a piece of one that is longer than the buffer.
type line struct {
	text []byte // with its line end; valid until the next read
	head bool   // it is the beginning of the line
	tail bool   // it is the end of the line
}

func (l line) blank() bool {
	return l.head && l.tail && len(bytes.TrimRight(l.text, "\r\n")) == 0
}

// read returns the next piece of a line. What came before the end of the input
// is returned without an error.
func (m *mbox) read(head bool) (line, error) {
	text, err := m.in.ReadSlice('\n')
	m.offset += int64(len(text))
	switch {
	case err == nil:
		return line{text, head, true}, nil
	case err == bufio.ErrBufferFull: //nolint:errorlint // ReadSlice returns it bare
		return line{text, head, false}, nil
	case err == io.EOF && len(text) > 0:
		return line{text, head, true}, nil
	}
	return line{}, err
}

// start looks at the beginning: an mbox begins with a From_ line, after blank
// lines perhaps.
func (m *mbox) start() error {
	if m.started {
		return nil
	}
	m.started = true
	begin, err := m.in.Peek(lookAhead)
	if len(begin) == 0 {
		return err
	}
	text := bytes.TrimLeft(begin, "\r\n")
	if !isFrom(text, true) || crAlone(text) {
		return nil
	}
	m.many = true
	m.undated = !isFrom(text, false)
	n, _ := m.in.Discard(len(begin) - len(text))
	m.offset += int64(n)
	return m.skipLine()
}

// crAlone reports whether the line at the start of text ends in CR alone, as
// lines did on old Macintoshes. That is no mbox of any dialect: it is left whole
// to the parser, which knows such lines.
func crAlone(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return bytes.IndexByte(bytes.TrimRight(line, "\r"), '\r') >= 0
}

// skipLine reads to the end of the line.
func (m *mbox) skipLine() error {
	for head := true; ; head = false {
		l, err := m.read(head)
		if err != nil || l.tail {
			return err
		}
	}
}

// isFrom reports whether text begins with a From_ line, or with a loose one,
// which has no date.
func isFrom(text []byte, loose bool) bool {
	if !bytes.HasPrefix(text, []byte("From ")) {
		return false
	}
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		text = text[:end]
	}
	return loose || fromLine.Match(text[:min(len(text), lookAhead)])
}

// single reads all that is left as one message, whatever From_ lines there are
// behind its beginning.
func (m *mbox) single(item *Item) error {
	if err := m.start(); err != nil {
		return err
	}
	if m.ended {
		return io.EOF
	}
	m.ended = true
	if m.many {
		if err := m.skipHops(); err != nil && err != io.EOF { //nolint:errorlint // ours, bare
			return err
		}
	}
	in := io.Reader(m.in)
	if m.at != nil { // a stream is read to its end, since whoever writes it waits for that
		in = io.LimitReader(in, MaxRaw+1)
	}
	c := collector{}
	if _, err := io.Copy(&c, in); err != nil {
		return err
	}
	item.Raw, item.Truncated = c.raw, c.truncated
	return nil
}

// next reads the next message into item, and returns io.EOF when there is none.
func (m *mbox) next(item *Item) error {
	if err := m.start(); err != nil {
		return err
	}
	if !m.many {
		return m.single(item)
	}
	if m.ended {
		return io.EOF
	}
	c := collector{}
	lengths, err := m.header(&c)
	head := len(c.raw)
	quoted := true
	if err == nil {
		if length, ok := m.believable(lengths); ok {
			err = m.body(&c, length)
			quoted = !hasFrom(c.raw[head:])
		} else {
			err = m.untilFrom(&c)
		}
	}
	if err == io.EOF { //nolint:errorlint // ours, bare
		m.ended, err = true, nil
	}
	if quoted {
		c.raw = c.raw[:head+len(unquote(c.raw[head:]))]
	}
	item.Raw, item.Truncated = c.raw, c.truncated
	return err
}

// header reads to the blank line, and returns the last few Content-Lengths in
// it: who stores a message writes below what the sender wrote.
func (m *mbox) header(c *collector) (lengths []int64, err error) {
	if err := m.skipHops(); err != nil {
		return nil, err
	}
	for head := true; ; {
		l, err := m.read(head)
		if err != nil {
			return nil, err
		}
		head = l.tail
		c.add(l.text)
		if l.blank() {
			return lengths, nil
		}
		if n, ok := contentLength(l); ok {
			lengths = append(lengths[max(0, len(lengths)+1-maxLengths):], n)
		}
	}
}

// skipHops skips lines ">From " at the top of a header: From_ lines of earlier
// hops.
func (m *mbox) skipHops() error {
	for {
		begin, _ := m.in.Peek(len(">From "))
		if string(begin) != ">From " {
			return nil
		}
		if err := m.skipLine(); err != nil {
			return err
		}
	}
}

// contentLength reads the header field that gives the size of the body.
func contentLength(l line) (int64, bool) {
	const name = "content-length:"
	if !l.head || !l.tail || len(l.text) > maxLengthLine || len(l.text) < len(name) ||
		!bytes.EqualFold(l.text[:len(name)], []byte(name)) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(l.text[len(name):])), 10, 48)
	return n, err == nil && n >= 0
}

// believable returns the largest length after which the message can end. A
// smaller one may be the sender's, and lead to a From_ line in the text.
func (m *mbox) believable(lengths []int64) (int64, bool) {
	slices.SortFunc(lengths, func(a, b int64) int { return cmp.Compare(b, a) })
	for _, n := range lengths {
		if m.endsAfter(n) {
			return n, true
		}
	}
	return 0, false
}

// endsAfter reports whether a message can end n octets from here: there is a
// From_ line, after line ends, or nothing more.
func (m *mbox) endsAfter(n int64) bool {
	from := max(n-1, 0) // the octet before tells whether a line ends there
	var look []byte
	switch {
	case m.at != nil:
		look = make([]byte, lookAhead)
		got, _ := m.at.ReadAt(look, m.offset+from)
		look = look[:got]
	case from+lookAhead <= int64(m.in.Size()):
		look, _ = m.in.Peek(int(from) + lookAhead)
		look = look[min(len(look), int(from)):]
	}
	if len(look) == 0 {
		return false // beyond the end, or too far to see
	}
	after := look
	if n > 0 {
		after = look[1:]
	}
	next := bytes.TrimLeft(after, "\r\n")
	newLine := n == 0 || look[0] == '\n' || len(next) < len(after)
	return len(next) == 0 && len(after) < 8 || newLine && isFrom(next, m.undated)
}

// body reads n octets, and then to behind the next From_ line.
func (m *mbox) body(c *collector, n int64) error {
	got, err := io.CopyN(c, m.in, n)
	m.offset += got
	if err != nil {
		return err
	}
	return m.separator()
}

// separator reads the line ends between a body of known size and the next
// From_ line, and that line.
func (m *mbox) separator() error {
	for {
		l, err := m.read(true)
		if err != nil {
			return err
		}
		if l.blank() {
			continue
		}
		if l.tail {
			return nil
		}
		return m.skipLine()
	}
}

// untilFrom reads to the next From_ line and reads that as well. The blank line
// before it, or before the end, belongs to the mailbox and not to the message.
func (m *mbox) untilFrom(c *collector) error {
	var blank []byte // the blank line that was read last and not added yet
	after := true    // a blank line came before; the header's, to begin with
	for head := true; ; {
		l, err := m.read(head)
		if err != nil {
			return err
		}
		if l.head && after && isFrom(l.text, m.undated) {
			if l.tail {
				return nil
			}
			return m.skipLine()
		}
		c.add(blank)
		blank = blank[:0]
		if after = l.blank(); after {
			blank = append(blank, l.text...)
		} else {
			c.add(l.text)
		}
		head = l.tail
	}
}

// hasFrom reports whether a line begins with "From ", so that the dialect is one
// that quotes none.
func hasFrom(body []byte) bool {
	return bytes.HasPrefix(body, []byte("From ")) || bytes.Contains(body, []byte("\nFrom "))
}

// unquote takes one ">" from each line that has some before "From ", in place.
// In mboxo a line that was ">From " before it was stored cannot be told from one
// that was "From "; this is what the other dialects mean.
func unquote(body []byte) []byte {
	if !bytes.Contains(body, []byte(">From ")) {
		return body
	}
	out := body[:0]
	for text := range bytes.Lines(body) {
		if rest := bytes.TrimLeft(text, ">"); len(rest) < len(text) && bytes.HasPrefix(rest, []byte("From ")) {
			text = text[1:]
		}
		out = append(out, text...)
	}
	return out
}

// collector keeps the first octets of a message.
type collector struct {
	raw       []byte
	truncated bool
}

func (c *collector) add(text []byte) {
	n := min(len(text), MaxRaw-len(c.raw))
	c.raw = append(c.raw, text[:n]...)
	c.truncated = c.truncated || n < len(text)
}

// Write adds to the message.
func (c *collector) Write(text []byte) (int, error) {
	c.add(text)
	return len(text), nil
}
