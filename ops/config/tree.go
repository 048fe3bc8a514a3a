package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the size of a configuration file.
const maxFile = 1 << 20

// tree turns a YAML document into the nested maps that viper takes, and on the
// way tells all that is wrong with its structure. What it complains about it
// leaves out, so that the rest can still be judged. It follows the schema, not
// the document, so its depth is bounded; and it never expands an alias.
type tree struct {
	*problems
	defaults map[string]map[string]any // path of a list of sections → what its items have when they say nothing
}

// yamlLine matches the errors of the YAML parser.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// read parses the document and returns its values.
func (t *tree) read(data []byte) map[string]any {
	if len(data) > maxFile {
		t.addAt(0, "", "is larger than %d KiB; lists of addresses belong in the store: see backscatter import and exempt", maxFile>>10)
		return nil
	}
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		t.syntax(err)
		return nil
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		t.addAt(second.Line, "", "begins a second document; write one only")
	case !errors.Is(err, io.EOF):
		t.syntax(err)
	}
	root := doc.Content[0]
	if isNull(root) {
		return nil
	}
	return t.section(root, schema(), "")
}

func (t *tree) syntax(err error) {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		t.addAt(0, "", "is no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		line = 0
	}
	t.addAt(line, "", "is no YAML: %s", m[2])
}

// section reads a mapping.
func (t *tree) section(n *yaml.Node, f *field, path string) map[string]any {
	if n.Kind != yaml.MappingNode {
		t.addAt(n.Line, path, "want keys with values, found %s", describe(n))
		return nil
	}
	out := map[string]any{}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			t.addAt(k.Line, path, "want a key, found %s", describe(k))
			continue
		}
		at := join(path, k.Value)
		sub := f.find(k.Value)
		if sub == nil {
			t.addAt(k.Line, join(path, plain(k.Value)), "unknown key; %s", suggest(k.Value, f))
			continue
		}
		if line, twice := first[k.Value]; twice {
			t.addAt(k.Line, at, "is set twice, first in line %d; keep one", line)
			continue
		}
		first[k.Value] = k.Line
		t.origins[at] = origin{t.file, k.Line}
		if value, ok := t.value(v, sub, at); ok {
			out[k.Value] = value
		}
	}
	return out
}

// value reads what stands behind a key; false when there is nothing, or
// nothing that can be used.
func (t *tree) value(n *yaml.Node, f *field, path string) (any, bool) {
	if isNull(n) {
		return nil, false
	}
	switch f.kind {
	case section:
		m := t.section(n, f, path)
		return m, m != nil
	case scalar:
		return t.scalar(n, path)
	default:
		return t.items(n, f, path)
	}
}

// items reads a list, of values or of sections.
func (t *tree) items(n *yaml.Node, f *field, path string) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = "; write [" + quote(n.Value) + "]"
		}
		t.addAt(n.Line, path, "want a list, found %s%s", describe(n), hint)
		return nil, false
	}
	out := make([]any, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		t.origins[at] = origin{t.file, item.Line}
		out[i] = t.element(item, f, at)
	}
	return out, true
}

// element reads one item of a list. One that cannot be used is told and left
// empty, so that the others keep their places.
func (t *tree) element(n *yaml.Node, f *field, path string) any {
	switch {
	case isNull(n):
		t.addAt(n.Line, path, "is empty; remove it or give it a value")
		return nil
	case f.kind == scalars:
		value, _ := t.scalar(n, path)
		return value
	default:
		return t.item(n, f, path)
	}
}

// item reads one section of a list, over the defaults for such items.
func (t *tree) item(n *yaml.Node, f *field, path string) map[string]any {
	m := t.section(n, f, path)
	if m == nil {
		m = map[string]any{}
	}
	for _, sub := range f.fields {
		if _, given := m[sub.key]; sub.need && !given {
			t.add(join(path, sub.key), "is missing; set it")
		}
	}
	overlay(t.defaults[f.path], m)
	return m
}

// overlay puts the defaults under what was given.
func overlay(defaults, given map[string]any) {
	for key, value := range defaults {
		have, ok := given[key]
		if !ok {
			given[key] = value
			continue
		}
		below, isSection := value.(map[string]any)
		over, _ := have.(map[string]any)
		if isSection && over != nil {
			overlay(below, over)
		}
	}
}

// scalar reads one value.
func (t *tree) scalar(n *yaml.Node, path string) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		t.addAt(n.Line, path, "want one value, found %s", describe(n))
		return nil, false
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		return n.Value, true
	case "!!int", "!!float", "!!bool":
		var value any
		if err := n.Decode(&value); err != nil {
			t.addAt(n.Line, path, "%s is no %s", quote(n.Value), strings.TrimPrefix(tag, "!!"))
			return nil, false
		}
		return value, true
	default:
		t.addAt(n.Line, path, "the tag %s is not supported; write the plain value", tag)
		return nil, false
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// describe names what a node is, for whoever wrote it.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias; aliases are not supported, write the value out"
	default:
		return quote(n.Value)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// maxShown bounds what of a wrong value is repeated in a message.
const maxShown = 60

// quote shows a wrong value, cut, with quotes.
func quote(text string) string { return strconv.Quote(cut(text)) }

// plain shows a wrong key as it is, if it can be shown in one line.
func plain(key string) string {
	if q := quote(key); q != `"`+key+`"` || key == "" {
		return q
	}
	return key
}

func cut(text string) string {
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// suggest names the key that was likely meant, or all that there are.
func suggest(key string, f *field) string {
	best, distance := "", 3
	names := make([]string, len(f.fields))
	for i, sub := range f.fields {
		names[i] = sub.key
		if d := editDistance(strings.ToLower(key), sub.key); d < distance {
			best, distance = sub.key, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "known here: " + strings.Join(names, ", ")
}

// editDistance counts the letters that must be changed, added or taken away to
// make one word of the other; words that are too long to be a slip are far.
func editDistance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
