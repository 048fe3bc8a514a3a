package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"backscatter/listing"
	"backscatter/ops/control"
)

// maxLine bounds a line of a file of addresses.
const maxLine = 4096

// maxFaults is how many faults of an input are named; the others are counted.
const maxFaults = 20

// item is one thing that a command is about, and where it was given.
type item struct {
	text  string
	where string // FILE:LINE; empty for an argument
}

// readArgs returns the arguments; for each that is "-" the lines of standard
// input, and for each "@FILE" those of the file.
func (a *app) readArgs(args []string) ([]item, error) {
	var out []item
	for _, arg := range args {
		if name, isFile := strings.CutPrefix(arg, "@"); isFile || arg == "-" {
			lines, err := a.readList(name)
			if err != nil {
				return nil, err
			}
			out = append(out, lines...)
			continue
		}
		out = append(out, item{text: arg})
	}
	if len(out) == 0 {
		return nil, usageError("no addresses were given")
	}
	return out, nil
}

// openInput opens a file, or standard input for "-", and returns its name for
// people.
func (a *app) openInput(name string) (io.ReadCloser, string, error) {
	if name == "-" {
		return io.NopCloser(a.in), "standard input", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("read addresses: %w", err)
	}
	return f, name, nil
}

// readList returns the lines of a file that say something: no empty ones, and
// no comments (#).
func (a *app) readList(name string) ([]item, error) {
	f, name, err := a.openInput(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []item
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, maxLine)
	number := 0
	for scanner.Scan() {
		number++
		line, _, _ := strings.Cut(scanner.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, item{line, fmt.Sprintf("%s:%d", name, number)})
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, number+1, err)
	}
	return out, nil
}

// faults gathers what is wrong with an input, so that all of it is told at once.
type faults struct {
	errs []error
	more int
}

func (f *faults) add(where string, err error) {
	if len(f.errs) == maxFaults {
		f.more++
		return
	}
	if where != "" {
		err = fmt.Errorf("%s: %w", where, err)
	}
	f.errs = append(f.errs, err)
}

// err returns all of it; nil when there is none. Of a file it says that nothing
// was done.
func (f *faults) err() error {
	if len(f.errs) == 0 {
		return nil
	}
	if f.more > 0 {
		f.errs = append(f.errs, fmt.Errorf("and %d more", f.more))
	}
	if len(f.errs) > 1 {
		f.errs = append(f.errs, errors.New("nothing was changed"))
	}
	return &codeError{exitUsage, errors.Join(f.errs...)}
}

// parseAll reads every item before anything is done, and reports all that are
// wrong.
func parseAll[T any](items []item, parse func(string) (T, error)) ([]T, error) {
	out := make([]T, 0, len(items))
	var wrong faults
	for _, item := range items {
		v, err := parse(item.text)
		if err != nil {
			wrong.add(item.where, err)
			continue
		}
		out = append(out, v)
	}
	return out, wrong.err()
}

// places remembers where keys and prefixes were given, by the words in which
// they are answered.
type places map[string]string

// placesOf takes the values that were read from the items.
func placesOf[T fmt.Stringer](items []item, values []T) places {
	out := make(places, len(items))
	for i, v := range values {
		where, before := items[i].where, out[v.String()]
		switch {
		case where == "":
		case before == "":
			out[v.String()] = where
		case !strings.Contains(before, twice):
			out[v.String()] = before + twice + where
		}
	}
	return out
}

// twice stands between the first two places of what was given more than once.
const twice = " and "

// locate says where each key was given that is wrong.
func (p places) locate(problems []listing.Problem) {
	for i, problem := range problems {
		if where := p[problem.Key]; where != "" {
			problems[i].Key = where + ": " + problem.Key
		}
	}
}

// explain returns a refusal with each key that it is about, and where that was
// given; the daemon's own words name the first few keys alone.
func (p places) explain(err error) error {
	refused, ok := errors.AsType[*control.Error](err)
	if !ok || len(refused.Problems) == 0 || len(p) == 0 {
		return err
	}
	p.locate(refused.Problems)
	lines := make([]string, 0, maxFaults+1)
	for _, problem := range refused.Problems[:min(len(refused.Problems), maxFaults)] {
		lines = append(lines, problem.Key+": "+problem.Why)
	}
	if more := len(refused.Problems) - maxFaults; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	refused.Message = "refused, nothing was changed:\n" + strings.Join(lines, "\n")
	return err
}
