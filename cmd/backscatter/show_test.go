package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"backscatter/listing"
)

// explanation is one of much: by the profile with the most thresholds, with
// texts as long as they get.
func explanation(t *testing.T, address string, events int) listing.Explanation {
	t.Helper()
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	addr := netip.MustParseAddr(address)
	k, err := listing.HostKey(addr)
	if err != nil {
		t.Fatal(err)
	}
	e := listing.Explanation{
		Address: addr, Key: k, Listed: true, Class: listing.ClassBounce, Code: "127.0.0.2", By: listing.ByEvidence | listing.ByOperator,
		Since: at, Until: at.AddDate(0, 0, 7), Extends: "each further one that counts puts the end off to 28 days after it",
		First: at, Last: at, Observations: events, Reason: strings.Repeat("their abuse desk does not answer ", 10),
	}
	d := listing.Community().Decide(listing.History{}, at)
	e.Decision = &d
	for range events {
		long := strings.Repeat("x", listing.MaxTrace)
		e.Events = append(e.Events, listing.Event{
			At: at, Class: listing.ClassBounce, Proofs: []string{"trap"}, Level: listing.LevelA, Traces: listing.Traces{
				MessageID: long, QueueID: long, ReportingMTA: long, HELO: long, PTR: long, Status: "5.1.1", Diagnostic: long,
				Origin: netip.MustParseAddr("198.51.100.9"), Product: "qmail",
			},
		})
	}
	for range events {
		e.History = append(e.History, listing.Past{Listed: at, Removed: at, How: listing.Expired})
	}
	return e
}

// Whatever there is to tell, a screen of 24 lines holds it: the state, the rule,
// until when, something of what was seen, and what to do.
func TestShowFitsOnAScreen(t *testing.T) {
	t.Parallel()
	delisted := explanation(t, "192.0.2.66", 5)
	delisted.Listed, delisted.By, delisted.Delisted, delisted.HoldUntil = false, 0, time.Now(), time.Now().Add(time.Hour)
	exempt := explanation(t, "192.0.2.66", 200)
	exempt.Listed, exempt.By = false, 0
	exempt.Exempt = &listing.Exemption{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Reason: strings.Repeat("a customer ", 20)}
	manual := explanation(t, "192.0.2.66", 0)
	manual.By, manual.Decision, manual.Permanent, manual.Extends = listing.ByOperator, nil, true, ""
	past := explanation(t, "192.0.2.66", 5)
	past.At, past.Unsure = past.Since, []string{strings.Repeat("what was not kept so long ", 8), "and more"}
	for name, e := range map[string]listing.Explanation{
		"1 event": explanation(t, "192.0.2.66", 1), "5 events": explanation(t, "192.0.2.66", 5), "200 events": explanation(t, "192.0.2.66", 200),
		"IPv6": explanation(t, "2001:db8:1234:5678:9abc:def0:1234:5678", 200), "by an operator": manual,
		"delisted and held": delisted, "exempt": exempt, "in the past": past,
	} {
		var out bytes.Buffer
		a := &app{streams: streams{out: &out}}
		if err := a.printShow(e, -1); err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if over := utf8.RuneCountInString(lines[0]) / (screenColumns + 1); len(lines)+over >= screenLines { // the prompt has a line, too
			t.Errorf("%s: %d lines\n%s", name, len(lines), out.String())
		}
		for _, line := range lines[1:] {
			if utf8.RuneCountInString(line) > screenColumns {
				t.Errorf("%s: %d columns: %s", name, utf8.RuneCountInString(line), line)
			}
		}
		wanted := []string{"192.0.2.66 is listed", "until ", "wanted", "observed, first", "what to do", "to be removed"}
		switch {
		case e.At != time.Time{}:
			wanted = []string{"was listed at", "until ", "wanted", "observed", "not known"}
		case e.Decision == nil:
			wanted = []string{"is listed: bounce", "until         permanent", "reason ", "to be removed"}
		case !e.Listed:
			wanted = []string{"is not listed", "wanted", "what to do", "observed"}
		case name == "IPv6":
			wanted[0] = "5678 is listed"
		}
		for _, text := range wanted {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is not there\n%s", name, text, out.String())
			}
		}
	}
	var out bytes.Buffer
	a := &app{streams: streams{out: &out}}
	if err := a.printShow(explanation(t, "192.0.2.66", 200), 200); err != nil || strings.Count(out.String(), strings.Repeat("x", listing.MaxTrace)) < 200*6 || strings.Count(out.String(), "was listed    ") != 200 {
		t.Errorf("--events does not tell all: %v\n%s", err, fmt.Sprint(out.Len()))
	}
}
