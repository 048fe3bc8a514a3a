package main

import (
	"strings"
	"testing"
)

// Whatever a list holds, each of its items is told with the line in which it
// ends, in the order in which they stand.
func FuzzWarningList(f *testing.F) {
	for _, text := range []string{
		`{"name": "x", "type": "cidr", "list": ["192.0.2.0/24",` + "\n\n" + ` "2001:db8::/32"]}`,
		"{\n\"list\": [\n\"a\"\n,\n\"b\\n\"\n], \"other\": [{}, 1], \"type\": \"cidr\"\n}",
		`{"type": "cidr", "list": []}`, `[]`, `{"list": 1}`, `{"list": [1]}`, `{"type":"cidr"}{}`, "{\"type\":\"cidr\",\"list\":[\"\xff\"]}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := &app{streams: streams{in: strings.NewReader(text)}}
		l, err := a.readWarningList("-")
		if err != nil {
			return
		}
		if l.kind != "cidr" {
			t.Fatalf("took a list of %q", l.kind)
		}
		lines := strings.Count(text, "\n") + 1
		last := 1
		for _, item := range l.items {
			at := 0
			if _, number, ok := strings.Cut(item.where, ":"); ok {
				for _, digit := range number {
					at = at*10 + int(digit-'0')
				}
			}
			if at < last || at > lines {
				t.Fatalf("%q stands in %q of %d lines, after line %d", item.text, item.where, lines, last)
			}
			last = at
		}
	})
}
