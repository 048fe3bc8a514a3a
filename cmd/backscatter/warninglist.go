package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"backscatter/ops/control"
)

// warningList is a list of MISP's (https://github.com/MISP/misp-warninglists) as
// far as it matters here: addresses that are to be treated with care.
type warningList struct {
	name  string
	kind  string // "cidr" is the one that lists addresses
	items []item
}

// readWarningList reads such a list as JSON:
//
//	{"name": "…", "type": "cidr", "list": ["192.0.2.0/24", "2001:db8::/32"]}
//
// Other fields are passed over. Each item is told with its line.
func (a *app) readWarningList(file string) (warningList, error) {
	var l warningList
	f, where, err := a.openInput(file)
	if err != nil {
		return l, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, control.MaxOrderBytes+1))
	switch {
	case err != nil:
		return l, fmt.Errorf("read %s: %w", where, err)
	case len(text) > control.MaxOrderBytes:
		return l, usageError("%s: more than %d bytes; import it in parts", where, control.MaxOrderBytes)
	}
	r := lineReader{Decoder: json.NewDecoder(bytes.NewReader(text)), text: text, line: 1, file: where}
	if err := l.read(&r); err != nil {
		return l, usageError("%s: no MISP warning list: %w", r.where(), err)
	}
	if l.kind != "cidr" {
		return l, usageError("%s: a MISP warning list of type %q: want cidr, which lists addresses", where, l.kind)
	}
	return l, nil
}

func (l *warningList) read(r *lineReader) error {
	if err := r.expect(json.Delim('{')); err != nil {
		return err
	}
	for r.More() {
		field, err := r.Token()
		if err != nil {
			return err
		}
		switch field {
		case "name":
			err = r.Decode(&l.name)
		case "type":
			err = r.Decode(&l.kind)
		case "list":
			err = l.readItems(r)
		default:
			var other json.RawMessage
			err = r.Decode(&other)
		}
		if err != nil {
			return err
		}
	}
	if err := r.expect(json.Delim('}')); err != nil {
		return err
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind its end")
	}
	return nil
}

func (l *warningList) readItems(r *lineReader) error {
	if err := r.expect(json.Delim('[')); err != nil {
		return err
	}
	for r.More() {
		var text string
		if err := r.Decode(&text); err != nil {
			return err
		}
		l.items = append(l.items, item{text, r.where()})
	}
	return r.expect(json.Delim(']'))
}

// lineReader is a JSON decoder that knows in which line it is.
type lineReader struct {
	*json.Decoder

	file   string
	text   []byte
	line   int
	offset int64 // up to which lines were counted
}

func (r *lineReader) where() string {
	at := r.InputOffset()
	r.line += bytes.Count(r.text[r.offset:at], []byte("\n"))
	r.offset = at
	return fmt.Sprintf("%s:%d", r.file, r.line)
}

func (r *lineReader) expect(want json.Delim) error {
	got, err := r.Token()
	if err == nil && got != want {
		err = fmt.Errorf("found %v, want %s", got, want)
	}
	return err
}
