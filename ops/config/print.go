package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// lineWidth is where comments in a printed configuration are broken.
const lineWidth = 78

// Print writes the effective configuration, every key included, as YAML that
// loads back to the same.
func (c *Config) Print(w io.Writer) error {
	return encode(w, printer{}.section(schema(), reflect.ValueOf(*c)))
}

func encode(w io.Writer, n *yaml.Node) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return e.Close()
}

// printer turns values into YAML.
type printer struct {
	// told holds the paths of the keys that were commented; nil for no comments.
	told map[string]bool
}

func (p printer) section(f *field, v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, sub := range f.fields {
		value := v.Field(sub.index)
		if f.kind == sections && isEmpty(value) {
			continue // a trap has a domain or an address, and an empty one says nothing
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: sub.key}
		if p.told != nil && !p.told[sub.path] {
			p.told[sub.path] = true
			key.HeadComment = wrap(sub.comment(), lineWidth-2*strings.Count(sub.path, ".")-2)
		}
		n.Content = append(n.Content, key, p.value(sub, value))
	}
	return n
}

// isEmpty reports whether a value is what an item of a list has without the key.
func isEmpty(v reflect.Value) bool {
	return (v.Kind() == reflect.String || v.Kind() == reflect.Slice) && v.Len() == 0
}

func (p printer) value(f *field, v reflect.Value) *yaml.Node {
	switch f.kind {
	case section:
		return p.section(f, v)
	case scalar:
		return renderScalar(v)
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if f.kind == scalars || v.Len() == 0 {
		n.Style = yaml.FlowStyle
	}
	for i := range v.Len() {
		if f.kind == scalars {
			n.Content = append(n.Content, renderScalar(v.Index(i)))
		} else {
			n.Content = append(n.Content, p.section(f, v.Index(i)))
		}
	}
	return n
}

func renderScalar(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch value := v.Interface().(type) {
	case time.Duration:
		n.Value = formatDuration(value)
	case fmt.Stringer:
		n.SetString(value.String())
	case string:
		// SetString quotes what YAML would take for something else.
		n.SetString(value)
		if value == "" {
			n.Style = yaml.DoubleQuotedStyle
		}
	default:
		n.Value = fmt.Sprint(value)
	}
	return n
}

// flow writes a node and all in it on one line.
func flow(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	for _, sub := range n.Content {
		flow(sub)
	}
	return n
}

// wrap breaks text at spaces, so that no line is longer than width unless a
// word is.
func wrap(text string, width int) string {
	var b strings.Builder
	length := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case length == 0:
		case length+1+len(word) > width:
			b.WriteByte('\n')
			length = 0
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}
