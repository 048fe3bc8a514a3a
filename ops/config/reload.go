package config

import (
	"reflect"
	"strings"
)

// RestartNeeded names the keys that differ between two configurations and that
// a running server cannot take over, in the order of the reference.
func RestartNeeded(before, after *Config) []string {
	var keys []string
	compare(schema(), reflect.ValueOf(*before), reflect.ValueOf(*after), func(f *field) {
		if f.restart {
			keys = append(keys, f.path)
		}
	})
	return keys
}

// Changed names the keys that differ between two configurations, in the order
// of the reference.
func Changed(before, after *Config) []string {
	var keys []string
	compare(schema(), reflect.ValueOf(*before), reflect.ValueOf(*after), func(f *field) {
		keys = append(keys, f.path)
	})
	return keys
}

// compare calls differs for each key, lists as a whole, whose value differs.
func compare(f *field, a, b reflect.Value, differs func(*field)) {
	for _, sub := range f.fields {
		x, y := a.Field(sub.index), b.Field(sub.index)
		switch {
		case sub.kind == section:
			compare(sub, x, y, differs)
		case text(sub, x) != text(sub, y):
			differs(sub)
		}
	}
}

// text is the value as it is printed: what prints the same is the same,
// whether a list is empty or missing.
func text(f *field, v reflect.Value) string {
	var b strings.Builder
	if err := encode(&b, printer{}.value(f, v)); err != nil {
		return err.Error()
	}
	return b.String()
}
