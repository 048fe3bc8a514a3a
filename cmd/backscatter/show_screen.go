package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"backscatter/evidence"
	"backscatter/listing"
)

// What show prints by default fits on the smallest screen that is in use: who
// asks must see the answer and what to do without scrolling.
const (
	screenLines   = 24
	screenColumns = 80
	textColumn    = 14 // where values stand
	fewLines      = 5  // that an event and what goes round it need
	mostAdvice    = 5  // lines of it
	leastAdvice   = 2
)

// explained is what show prints: the head, the events, and what to do.
type explained struct {
	listing.Explanation

	head []string
}

// page is all of it, with so many events.
func (p explained) page(events int) string {
	return joined(p.head, eventLines(p.Explanation, events), whatToDo(p.Explanation, math.MaxInt), pastListings(p.Explanation, len(p.History)))
}

// screen is as much of it as a screen holds. Of events there are most, so they
// give way first, then the advice.
func (p explained) screen() string {
	var foot []string
	room := 0
	for advice := mostAdvice; advice >= leastAdvice && room < fewLines; advice-- {
		foot = append(whatToDo(p.Explanation, advice), pastListings(p.Explanation, 1)...)
		room = screenLines - 1 - len(p.head) - len(foot) // the prompt has a line, too
		if utf8.RuneCountInString(p.head[0]) > screenColumns {
			room-- // it is the answer, and never shortened
		}
	}
	events := min(len(p.Events), screenLines)
	lines := eventLines(p.Explanation, events)
	for events > 1 && len(lines) > room {
		events--
		lines = eventLines(p.Explanation, events)
	}
	if over := len(lines) - room; over > 0 { // the last line tells that there are more
		last := max(len(lines)-1, 0)
		lines = append(lines[:max(last-over, 0)], lines[last:]...)
	}
	for _, part := range [][]string{p.head[1:], lines, foot} {
		for i, line := range part {
			part[i] = shorten(line, screenColumns)
		}
	}
	return joined(p.head, lines, foot)
}

func joined(parts ...[]string) string {
	return strings.Join(slices.Concat(parts...), "\n") + "\n"
}

// shorten cuts a line that is too long for a screen.
func shorten(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:columns-1]) + "…"
}

// eventLines are the newest events, each with its traces.
func eventLines(e listing.Explanation, most int) []string {
	if len(e.Events) == 0 {
		return nil
	}
	out := []string{"", fmt.Sprintf("%d observed, first %s, last %s", e.Observations, stamp(e.First), stamp(e.Last))}
	for i, event := range e.Events {
		if i == most {
			out = append(out, fmt.Sprintf("  and %d more; --events %d shows them", len(e.Events)-i, len(e.Events)))
			break
		}
		withdrawn := ""
		if event.Revoked != 0 {
			withdrawn = ", withdrawn: does not count"
		}
		out = append(out, fmt.Sprintf("  %s %s, proof %s, level %s%s", stamp(event.At), event.Class, strings.Join(event.Proofs, " and "), event.Level, withdrawn))
		for _, line := range traces(event) {
			out = append(out, "    "+printable(line))
		}
	}
	return out
}

// whatToDo tells how to stop what was recognised, in so many lines, and how the
// listing ends.
func whatToDo(e listing.Explanation, advice int) []string {
	if !e.Listed && len(e.Events) == 0 || !e.At.IsZero() {
		return nil
	}
	var out []string
	say := func(what, text string) {
		lines := wrap(text, screenColumns-textColumn)
		if len(lines) > advice {
			lines = append(lines[:advice-1], lines[advice-1]+" …")
		}
		for _, line := range lines {
			out = append(out, fmt.Sprintf("%-*s%s", textColumn, what, line))
			what = ""
		}
	}
	fixes := evidence.Fixes(e.Events)
	switch {
	case len(fixes) > 1:
		var others []string
		for _, fix := range fixes[1:] {
			others = append(others, fix.Product)
		}
		say("what to do", fixes[0].Product+": "+fixes[0].Text)
		say("", "The advice for "+strings.Join(others, ", ")+" is on the page of the list.")
	case len(fixes) == 1:
		say("what to do", fixes[0].Product+": "+fixes[0].Text)
	case e.By&listing.ByEvidence != 0 || !e.Listed:
		say("what to do", "Refuse what you cannot deliver while its sender is still connected (at RCPT or after DATA), and send no notices about viruses and spam.")
	}
	switch {
	case !e.Listed:
	case e.Permanent:
		say("to be removed", "write to the list's operator: it does not end by itself")
	default:
		say("to be removed", "mend it, and it ends by itself; sooner: tell the list's operator")
	}
	if len(out) > 0 {
		out = append([]string{""}, out...)
	}
	return out
}

// pastListings are the newest of those that are over.
func pastListings(e listing.Explanation, most int) []string {
	var out []string
	for _, p := range e.History[:min(len(e.History), most)] {
		out = append(out, fmt.Sprintf("was listed    %s to %s: %s", stamp(p.Listed), stamp(p.Removed), p.How))
	}
	if more := len(e.History) - len(out); more > 0 {
		out[len(out)-1] += fmt.Sprintf(", and %d times before", more)
	}
	return out
}

// wrap breaks a text into lines.
func wrap(text string, columns int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns:
			out, line = append(out, line), word
		default:
			line += " " + word
		}
	}
	return append(out, line)
}
