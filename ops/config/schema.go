package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"backscatter/listing"
)

// kind says how a key is written.
type kind uint8

const (
	section  kind = iota // a mapping of further keys
	sections             // a list of mappings
	scalar               // one value
	scalars              // a list of values
)

// field is one key of the configuration, as the struct tags describe it.
type field struct {
	key      string
	path     string // from the root; a list of sections adds [] to its name
	kind     kind
	typ      reflect.Type // of the value; of one item for lists
	index    int          // of the struct field
	doc      string
	fallback string // words for a default that is no fixed value
	restart  bool
	need     bool
	fields   []*field // of a section, or of one item of sections
}

// leaves are the struct and number types that are written as one word.
var leaves = []reflect.Type{
	reflect.TypeFor[time.Duration](),
	reflect.TypeFor[netip.Addr](),
	reflect.TypeFor[netip.Prefix](),
	reflect.TypeFor[listing.Class](),
}

// schema describes every key of the configuration.
func schema() *field {
	root := &field{kind: section, typ: reflect.TypeFor[Config]()}
	root.fields = fieldsOf(root.typ, "")
	return root
}

func fieldsOf(t reflect.Type, prefix string) []*field {
	var out []*field
	for i := range t.NumField() {
		sf := t.Field(i)
		key := sf.Tag.Get("key")
		if !sf.IsExported() || key == "-" {
			continue
		}
		f := &field{
			key: key, path: prefix + key, index: i, typ: sf.Type,
			doc: sf.Tag.Get("doc"), fallback: sf.Tag.Get("default"),
			restart: sf.Tag.Get("restart") != "", need: sf.Tag.Get("need") != "",
		}
		f.kind = kindOf(sf.Type)
		if f.kind == sections || f.kind == scalars {
			f.typ = sf.Type.Elem()
		}
		switch f.kind {
		case section:
			f.fields = fieldsOf(f.typ, f.path+".")
		case sections:
			f.fields = fieldsOf(f.typ, f.path+"[].")
		}
		out = append(out, f)
	}
	return out
}

func kindOf(t reflect.Type) kind {
	if t.Kind() == reflect.Slice {
		if kindOf(t.Elem()) == section {
			return sections
		}
		return scalars
	}
	if t.Kind() == reflect.Struct && !slices.Contains(leaves, t) {
		return section
	}
	return scalar
}

// find returns the field with the key.
func (f *field) find(key string) *field {
	for _, sub := range f.fields {
		if sub.key == key {
			return sub
		}
	}
	return nil
}

// walk calls visit for f's fields and theirs, in the order of the structs.
func (f *field) walk(visit func(*field)) {
	for _, sub := range f.fields {
		visit(sub)
		sub.walk(visit)
	}
}

// typeName says for people what is to be written.
func (f *field) typeName() string {
	name := wordFor(f.typ)
	switch f.kind {
	case section:
		return "section"
	case sections:
		return "list of sections"
	case scalars:
		return "list of " + plural(name)
	default:
		return name
	}
}

func wordFor(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[netip.Addr]():
		return "address"
	case reflect.TypeFor[netip.Prefix]():
		return "prefix"
	case reflect.TypeFor[listing.Class]():
		return "class"
	}
	switch t.Kind() {
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	default:
		return "text"
	}
}

func plural(word string) string {
	switch {
	case word == "text":
		return "texts"
	case strings.HasSuffix(word, "s") || strings.HasSuffix(word, "x"):
		return word + "es"
	default:
		return word + "s"
	}
}

// envName is the variable of the environment that overrides the key: the path
// in capitals. Items of a list of sections have none.
func (f *field) envName() string {
	if f.kind == section || f.kind == sections || strings.Contains(f.path, "[]") {
		return ""
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}
