package main

import (
	"fmt"
	"strings"
	"time"

	"backscatter/listing"
)

// momentForms are how a moment can be written. The second is how times are
// printed.
var momentForms = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly}

// parseMoment reads a time of the past; nothing is the zero time. Without a zone
// it is in UTC.
func parseMoment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range momentForms {
		at, err := time.Parse(form, text)
		if err != nil {
			continue
		}
		if at.After(time.Now()) {
			return at, usageError("--at %s: that is not past yet", text)
		}
		return at.UTC(), nil
	}
	return time.Time{}, usageError("--at %q: want a time like 2026-11-21T12:00:00Z, or a day", text)
}

// ruleWhen says of which moment the decision is that is shown.
func ruleWhen(e listing.Explanation) string {
	switch {
	case e.Listed && e.By&listing.ByEvidence != 0, e.Listed && e.By != 0 && e.At.IsZero():
		return "when it was listed"
	case !e.At.IsZero():
		return "as of then"
	default:
		return "as of now"
	}
}

// showPast says whether the address was listed at a moment, and what is not known
// of it any more.
func showPast(b *strings.Builder, e listing.Explanation) {
	name := e.Key.String()
	if e.Address.IsValid() {
		name = e.Address.String()
	}
	line := func(what, format string, args ...any) {
		fmt.Fprintf(b, "%-13s %s\n", what, fmt.Sprintf(format, args...))
	}
	if !e.Listed {
		fmt.Fprintf(b, "%s was not listed at %s\n", name, stamp(e.At))
	} else {
		fmt.Fprintf(b, "%s was listed at %s: %s (%s), by %s\n", name, stamp(e.At), e.Class, e.Code, source(e.By))
	}
	if e.By != 0 {
		line("since", "%s", stamp(e.Since))
	}
	switch {
	case e.Permanent:
		line("until", "permanent")
	case !e.Until.IsZero():
		line("until", "%s, as it was then", stamp(e.Until))
	}
	if e.Ended != nil {
		line("ended", "%s: %s", stamp(e.Ended.Removed), e.Ended.How)
	}
	if e.CoveredBy != nil {
		line("listed with", "%s", e.CoveredBy)
	}
	if e.Exempt != nil {
		line("exempt", "as part of %s%s", e.Exempt.Prefix, because(e.Exempt.Reason))
	}
	if e.Reason != "" {
		line("reason", "%s", printable(e.Reason))
	}
	if !e.Delisted.IsZero() {
		line("delisted", "evidence up to %s did not count any more", stamp(e.Delisted))
	}
	if e.Sequence != 0 {
		line("serial", "%d", listing.SerialOf(e.Sequence))
	}
	for _, what := range e.Unsure {
		label := "not known"
		for _, part := range wrap(printable(what), screenColumns-textColumn) {
			line(label, "%s", part)
			label = ""
		}
	}
}
