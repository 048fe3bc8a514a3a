package evidence

import (
	"bytes"
	"errors"
)

// Errors of [Parse].
var (
	ErrEmpty   = errors.New("the message is empty")
	ErrNotMail = errors.New("the message has neither a header nor text")
)

// Message is a parsed message: its own header, its parts, and what was found
// in them. It refers to the raw bytes that it was parsed from.
type Message struct {
	Header   Header
	Parts    []Part   // in the order of the message; Parts[0] is the message itself
	Cut      bool     // a budget ended the walk before the message did
	DSN      *DSN     // the delivery report, nil without one
	Original Original // what came back of the message that this one answers

	text       string // the report's own words: without the original, decoded, in lines
	words      []byte // the same in the form in which phrases are looked for, behind "\x01"
	html       bool   // the text comes from HTML
	links      int    // URLs in the text
	mboxSender string // sender in an mbox "From " line
	work       int    // bytes looked at, for the test that work is linear
}

// Part is one entity of a message (RFC 2045 §2.4).
type Part struct {
	Header   Header
	Type     string // media type in lower case; text/plain without a Content-Type
	Charset  string
	Report   string // report-type parameter of multipart/report (RFC 6522)
	Depth    int
	Parent   int  // index of the enclosing part, -1 for the message itself
	Returned bool // lies in a message/rfc822 or its like: not the report's own words

	boundary string
	encoding string // Content-Transfer-Encoding in lower case
	body     []byte // as it stands in the message, still encoded
	raw      []byte // header, body and the parts within, as they stand
	ended    bool   // raw does not grow any more
}

// Header is the fields of a header block, in order, as they stand in the message.
type Header struct {
	fields []field
}

type field struct {
	name  []byte
	value []byte // may span lines
}

// Len returns how many fields there are.
func (h *Header) Len() int { return len(h.fields) }

// Get returns the unfolded value of the first field of that name, or nothing.
func (h *Header) Get(name string) string {
	for i := range h.fields {
		if foldEqual(h.fields[i].name, name) {
			return unfold(h.fields[i].value)
		}
	}
	return ""
}

// Has reports whether there is a field of that name.
func (h *Header) Has(name string) bool {
	for i := range h.fields {
		if foldEqual(h.fields[i].name, name) {
			return true
		}
	}
	return false
}

// Values returns the unfolded values of all fields of that name, in order.
func (h *Header) Values(name string) []string {
	var values []string
	for i := range h.fields {
		if foldEqual(h.fields[i].name, name) {
			values = append(values, unfold(h.fields[i].value))
		}
	}
	return values
}

// foldEqual compares ASCII without regard to case.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// unfold joins the lines of a field's value (RFC 5322 §2.2.3) and trims it.
func unfold(value []byte) string {
	value = bytes.TrimSpace(value)
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return string(value)
	}
	out := make([]byte, 0, len(value))
	space := false
	for _, c := range value {
		switch c {
		case '\r', '\n':
			space = true
		case ' ', '\t':
			if !space {
				out = append(out, ' ')
			}
		default:
			if space {
				out = append(bytes.TrimRight(out, " "), ' ')
				space = false
			}
			out = append(out, c)
		}
	}
	return string(out)
}
