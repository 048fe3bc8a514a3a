package zonefile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of what is read: a list is made by others.
const (
	maxLine     = 4096
	maxProblems = 1000
	maxItems    = 10_000_000
)

// Problem is a line that cannot be taken.
type Problem struct {
	Line int    `json:"line"`
	Text string `json:"text"` // its beginning, printable
	Why  string `json:"why"`
}

// String writes the problem as one line.
func (p Problem) String() string { return fmt.Sprintf("line %d: %q: %s", p.Line, p.Text, p.Why) }

// lines reads a file by lines, none of them longer than maxLine.
type lines struct {
	r      *bufio.Reader
	number int
	text   []byte // without its end; valid until the next line
	long   bool   // the line was longer, and text is its beginning
	cut    bool   // the file ended without a newline
	err    error
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine)} }

// next reads a line; it returns false at the end and on an error.
func (l *lines) next() bool {
	text, err := l.r.ReadSlice('\n')
	l.long = errors.Is(err, bufio.ErrBufferFull)
	if l.long {
		text = bytes.Clone(text[:80])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.r.ReadSlice('\n')
		}
	}
	l.cut = errors.Is(err, io.EOF)
	if err != nil && !l.cut {
		l.err = err
		return false
	}
	if l.cut && len(text) == 0 {
		return false
	}
	if l.number++; l.number == 1 {
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
	}
	l.text = bytes.TrimRight(text, "\r\n")
	return true
}

// problem makes a problem of the line.
func (l *lines) problem(why string) Problem {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(l.text[:min(len(l.text), 80)]))
	return Problem{Line: l.number, Text: text, Why: why}
}
