package zonefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"backscatter/listing"
)

// ip4tset takes a line of what is a set of bare addresses (rbldnsd(8), "ip4tset
// Dataset").
func (r *reader) ip4tset(text []byte) error {
	if isRemark(text) {
		return r.ip4set(text)
	}
	if i := bytes.IndexAny(text, "#;"); i > 0 {
		text = bytes.TrimSpace(text[:i])
	}
	if _, n, ok := parseOctets(string(text)); !ok || n != 4 {
		return errors.New("want one IPv4 address: ip4tset has no prefixes, ranges, exclusions or texts")
	}
	return r.ip4set(text)
}

// ip4trie takes a line of rbldnsd's syntax, in which there are no ranges.
func (r *reader) ip4trie(text []byte) error {
	entry := bytes.TrimLeft(text, "! \t")
	if i := bytes.IndexAny(entry, " \t:#;"); i >= 0 {
		entry = entry[:i]
	}
	if !isRemark(text) && bytes.ContainsRune(entry, '-') {
		return errors.New("ip4trie has no ranges")
	}
	return r.ip4set(text)
}

// isRemark reports whether a line is a special, a comment or a default value.
func isRemark(text []byte) bool { return strings.IndexByte("$#;:", text[0]) >= 0 }

// ip6trie takes a line of rbldnsd's syntax (rbldnsd(8), "ip6trie Dataset").
func (r *reader) ip6trie(text []byte) error {
	if special, ok := cutSpecial(text); ok {
		return r.special(string(special))
	}
	if text[0] == '#' || text[0] == ';' {
		return nil
	}
	if text[0] == ':' && !bytes.HasPrefix(text, []byte("::")) {
		return checkValue(text)
	}
	rest, exclude := bytes.CutPrefix(text, []byte("!"))
	rest = bytes.TrimLeft(rest, " \t")
	end := bytes.IndexAny(rest, " \t#;")
	if end < 0 {
		end = len(rest)
	}
	name := whole6(string(rest[:end]))
	if exclude {
		p, err := listing.ParsePrefix(name)
		if err != nil {
			return err
		}
		return r.exclude(p)
	}
	if value := bytes.TrimLeft(rest[end:], " \t"); len(value) > 0 && value[0] == ':' {
		if err := checkValue(value); err != nil {
			return err
		}
	}
	return r.addText(name)
}

// whole6 completes the beginning of an IPv6 address, with or without a length:
// rbldnsd takes the zeros at its end for granted, and without a length as many bits
// as are written.
func whole6(name string) string {
	words, length, hasLength := strings.Cut(name, "/")
	n := strings.Count(words, ":") + 1
	if n < 2 || n > 7 || strings.Contains(words, "::") || strings.Contains(words, ".") {
		return name
	}
	if !hasLength {
		length = strconv.Itoa(16 * n)
	}
	return words + "::/" + length
}

// combined takes a line of a file of several data sets (rbldnsd(8), "combined
// Dataset"). What the sub-zones are called means nothing here.
func (r *reader) combined(text []byte) error {
	if special, ok := cutSpecial(text); ok {
		if fields := strings.Fields(string(special)); len(fields) > 0 && strings.EqualFold(fields[0], "DATASET") {
			return r.dataset(fields[1:])
		}
		return r.special(string(special))
	}
	switch {
	case r.inside != nil:
		return r.inside(r, text)
	case isRemark(text):
		return nil
	}
	return errors.New("stands before the first $DATASET")
}

func (r *reader) dataset(fields []string) error {
	// What follows is passed over, if it cannot be taken: one line says so.
	r.endSet()
	r.inside = func(*reader, []byte) error { return nil }
	if len(fields) < 2 {
		return errors.New("want $DATASET with a type and a sub-zone: what follows is passed over")
	}
	kind, _, _ := strings.Cut(fields[0], ":")
	parse, ok := parsers[Format(kind)]
	if !ok || !strings.HasPrefix(kind, "ip") {
		return fmt.Errorf("a data set of type %q has no addresses, or is not known: it is passed over", kind)
	}
	r.inside, r.format = parse, Format(kind)
	return nil
}

// jsonl takes a line that has an object with a prefix, as we write them.
func (r *reader) jsonl(text []byte) error {
	var e jsonEntry
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("want a JSON object: %w", err)
	}
	if e.Prefix == "" {
		return errors.New(`want a JSON object with "prefix"`)
	}
	return r.addText(e.Prefix)
}
