package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds how much is told about one configuration; whoever has
// more than this to mend reads no further anyway.
const maxProblems = 100

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File string // the file, or $NAME for a variable of the environment
	Line int    // zero where no line is to blame
	Key  string // path of the key, like zones[0].ttl; empty for the whole file
	Text string // what is wrong and what to do
}

// String writes the problem as FILE:LINE: key: text.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Text)
	return b.String()
}

// Errors is everything that is wrong with a configuration, in the order of the
// file. It is the only error that [Load] and [Parse] return.
type Errors []Problem

// Error writes one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// origin is where a value came from.
type origin struct {
	file string
	line int
}

// problems collects what is wrong. A key is complained about once: what
// follows from a first mistake is no news.
type problems struct {
	file    string            // where keys are when nothing else is known
	origins map[string]origin // key path → where it was set
	list    Errors
	left    int // problems that were not kept
}

func newProblems(file string) *problems {
	return &problems{file: file, origins: map[string]origin{}}
}

// add complains about a key, unless it or a section around it was complained
// about before.
func (p *problems) add(key, format string, args ...any) {
	for _, known := range p.list {
		if known.Key == key || known.Key != "" && within(key, known.Key) {
			return
		}
	}
	o := p.origin(key)
	p.append(Problem{File: o.file, Line: o.line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// addAt complains about a line of the file.
func (p *problems) addAt(line int, key, format string, args ...any) {
	p.append(Problem{File: p.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (p *problems) append(problem Problem) {
	if len(p.list) >= maxProblems {
		p.left++
		return
	}
	p.list = append(p.list, problem)
}

// sound reports whether nothing is known to be wrong with a key, or anything
// in it, so that what other keys say about it can be judged.
func (p *problems) sound(key string) bool {
	return !slices.ContainsFunc(p.list, func(known Problem) bool {
		return known.Key == "" || known.Key == key || within(known.Key, key) || within(key, known.Key)
	})
}

// origin returns where a key was set, or else the nearest section around it.
func (p *problems) origin(key string) origin {
	for {
		if o, ok := p.origins[key]; ok {
			return o
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return origin{file: p.file}
		}
		key = key[:cut]
	}
}

// err returns what was collected, sorted by line, or nil.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	out := slices.Clone(p.list)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	if p.left > 0 {
		out = append(out, Problem{File: p.file, Text: fmt.Sprintf("%d more problems are not shown; mend these first", p.left)})
	}
	return out
}

// within reports whether the key path lies in the section, as zones[0].ttl
// does in zones[0] and in zones.
func within(key, section string) bool {
	rest, ok := strings.CutPrefix(key, section)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}
