package intake

import (
	"bytes"
	"strconv"
	"strings"
)

// stream follows what a client sends: commands, one a line; the text of a
// message (DATA), up to its dot; and octets of a chunk (BDAT), as many as were
// announced. It decides as go-smtp will on the same octets.
//
// It mends the ends of lines: of CRs in a row it keeps one. go-smtp does not
// see the end of a message whose last line ends in CR CR LF; that is how a message
// with a bare CR at the end of a line comes from servers that send it as it is
// (qmail and others), and both would wait until one gives up, at each attempt
// anew. A line "." with CR CR LF stays as it is: it would become the end of a
// message, which it is not (SMTP smuggling).
//
// It folds the lines of a text that are longer than go-smtp takes, as mail
// servers do: the space behind the line end keeps what follows from being the
// end of the message.
type stream struct {
	fold  int // octets of a line of a text
	mode  mode
	left  uint64 // octets of the chunk that are still to come
	begun bool   // a line of commands is coming in pieces

	state  textState
	cr     bool // the octet before was a CR
	length int  // of the line
}

type mode uint8

const (
	commands mode = iota
	text
	octets
)

// textState is where in a text one is, in the way of go-smtp's reader.
type textState uint8

const (
	lineBegin textState = iota
	lineDot             // "." at the beginning of a line
	lineDotCR           // and CR
	lineCR              // CR in a line
	lineInner
)

// text begins a text: the client was told to go ahead.
func (s *stream) text() {
	s.mode, s.state, s.cr, s.length = text, lineBegin, false, 0
}

// command takes one line of commands, or a piece of one that is long, and
// returns it mended.
func (s *stream) command(line []byte) []byte {
	whole := !s.begun
	s.begun = line[len(line)-1] != '\n'
	line = mendEnd(line)
	if whole && !s.begun {
		if n, ok := chunkSize(line); ok && n > 0 {
			s.mode, s.left = octets, n
		}
	}
	return line
}

// mendEnd leaves one CR at the end of a line, in place.
func mendEnd(line []byte) []byte {
	body := bytes.TrimRight(line, "\r\n")
	if len(line)-len(body) > 2 && line[len(line)-1] == '\n' {
		return append(body, '\r', '\n')
	}
	return line
}

// chunkSize returns how many octets follow a command: it is BDAT (RFC 3030
// §2), and go-smtp will read them, whatever it answers.
func chunkSize(line []byte) (uint64, bool) {
	const verb = "BDAT "
	if len(line) < len(verb) || !strings.EqualFold(string(line[:len(verb)]), verb) {
		return 0, false
	}
	args := strings.Fields(string(line[len(verb):]))
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return 0, false
	}
	n, err := strconv.ParseUint(args[0], 10, 32)
	return n, err == nil
}

// message takes octets of a text, adds them mended to out, and returns how many
// it took: all, or those up to the end of the text.
func (s *stream) message(out, in []byte) (mended []byte, taken int) {
	for i, b := range in {
		if b == '\r' && s.cr && s.state != lineDotCR {
			continue
		}
		if s.length >= s.fold && s.state >= lineCR && b != '\r' && b != '\n' {
			for _, f := range []byte("\r\n ") {
				s.step(f)
			}
			out = append(out, "\r\n "...)
		}
		out = append(out, b)
		if s.step(b) {
			s.mode = commands
			return out, i + 1
		}
	}
	return out, len(in)
}

// step moves on by one octet, and reports the end of the text.
func (s *stream) step(b byte) (ended bool) {
	s.cr = b == '\r'
	s.length++
	if b == '\n' {
		s.length = 0
	}
	switch s.state {
	case lineBegin:
		s.state = lineInner
		switch b {
		case '.':
			s.state = lineDot
		case '\r':
			s.state = lineCR
		}
	case lineDot:
		s.state = lineInner
		if b == '\r' {
			s.state = lineDotCR
		}
	case lineDotCR:
		s.state = lineInner
		return b == '\n'
	case lineCR:
		s.state = lineInner
		if b == '\n' {
			s.state = lineBegin
		}
	case lineInner:
		if b == '\r' {
			s.state = lineCR
		}
	}
	return false
}
