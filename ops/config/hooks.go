package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"backscatter/listing"

	"github.com/go-viper/mapstructure/v2"
)

// strict is the decoder's hook. It takes exactly what the schema wants, since
// the decoder's own rules turn 5 into five nanoseconds and 7.5 into 7.
func strict(from, to reflect.Value) (any, error) {
	if from.Type() == to.Type() && to.Kind() != reflect.String {
		return from.Interface(), nil
	}
	switch to.Interface().(type) {
	case time.Duration:
		return durationFrom(from)
	case netip.Prefix:
		return fromText(from, "a prefix, like 192.0.2.0/24", parsePrefix)
	case netip.Addr:
		return fromText(from, "an address, like 192.0.2.1", parseAddr)
	case listing.Class:
		return fromText(from, "the name of a class", parseClass)
	}
	switch to.Kind() {
	case reflect.String:
		return fromText(from, "text", parseText)
	case reflect.Int:
		return countFrom(from)
	case reflect.Float64:
		if from.Kind() != reflect.Float64 && from.Kind() != reflect.Int {
			return nil, fmt.Errorf("want a number, found %s", show(from))
		}
	case reflect.Bool:
		if from.Kind() != reflect.Bool {
			return nil, fmt.Errorf("want true or false, found %s", show(from))
		}
	}
	return from.Interface(), nil
}

func durationFrom(from reflect.Value) (any, error) {
	switch from.Kind() {
	case reflect.String:
		return ParseDuration(from.String())
	case reflect.Int, reflect.Float64:
		return nil, fmt.Errorf("%v has no unit; write a duration like %s", from.Interface(), durationExamples)
	default:
		return nil, fmt.Errorf("want a duration like %s, found %s", durationExamples, show(from))
	}
}

func countFrom(from reflect.Value) (any, error) {
	switch from.Kind() {
	case reflect.Int:
		return from.Interface(), nil
	case reflect.Float64:
		return nil, fmt.Errorf("%v is no whole number; write one without a fraction", from.Interface())
	case reflect.Int64, reflect.Uint, reflect.Uint64:
		return nil, fmt.Errorf("%v is too large", from.Interface())
	default:
		return nil, fmt.Errorf("want a whole number, found %s", show(from))
	}
}

// fromText reads a value that is written as text.
func fromText[T any](from reflect.Value, want string, parse func(string) (T, error)) (any, error) {
	if from.Kind() != reflect.String {
		hint := ""
		if want == "text" {
			hint = fmt.Sprintf("; put it in quotes: \"%v\"", from.Interface())
		}
		return nil, fmt.Errorf("want %s, found %s%s", want, show(from), hint)
	}
	return parse(from.String())
}

func parseText(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", fmt.Errorf("%s is not valid UTF-8", quote(text))
	}
	if i := strings.IndexFunc(text, unicode.IsControl); i >= 0 {
		return "", fmt.Errorf("%s has a control character in it; remove it", quote(text))
	}
	return text, nil
}

// parsePrefix reads a prefix, or an address as the prefix of only itself.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := listing.ParsePrefix(cut(text))
	if err != nil {
		// The sentinel's words are for other readers; the key is told already.
		return netip.Prefix{}, errors.New(strings.TrimSuffix(err.Error(), ": "+listing.ErrPrefix.Error()))
	}
	return p, nil
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s is no address; write one like 192.0.2.1 or 2001:db8::1", quote(text))
	}
	return addr.Unmap(), nil
}

func parseClass(text string) (listing.Class, error) {
	class, err := listing.ParseClass(text)
	if err != nil || class == listing.ClassOther {
		names := make([]string, len(listing.Classes))
		for i, c := range listing.Classes {
			names[i] = c.String()
		}
		return 0, fmt.Errorf("%s is no class that can be listed; known are %s", quote(text), strings.Join(names, ", "))
	}
	return class, nil
}

// show names a value that has the wrong type.
func show(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64, reflect.Float64:
		return fmt.Sprintf("the number %v", v.Interface())
	case reflect.Bool:
		return fmt.Sprintf("%v", v.Interface())
	default:
		return "something else"
	}
}

// decodeErrors tells each error of the decoder under the key that it is about,
// and returns these keys.
func decodeErrors(err error, p *problems) []string {
	if err == nil {
		return nil
	}
	switch e := err.(type) { //nolint:errorlint // the decoder's tree of errors is taken apart here
	case interface{ Unwrap() []error }:
		var keys []string
		for _, sub := range e.Unwrap() {
			keys = append(keys, decodeErrors(sub, p)...)
		}
		return keys
	case *mapstructure.DecodeError:
		p.add(e.Name(), "%s", e.Unwrap())
		return []string{e.Name()}
	case interface{ Unwrap() error }:
		return decodeErrors(e.Unwrap(), p)
	default:
		p.add("", "%s", err)
		return nil
	}
}
