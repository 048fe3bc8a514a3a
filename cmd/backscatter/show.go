package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) showCommand() *cobra.Command {
	var all bool
	var events int
	var at string
	cmd := &cobra.Command{
		Use:   "show ADDRESS|PREFIX",
		Short: "Explain why an address is listed, or why not",
		Long: `Explain what is known of an address: whether it is listed, by which rule, with
what was wanted and what was found, until when, and the newest events with what
the listed party can search its logs for. Traps and reporters are left out, so
that the answer can be passed on; --all tells them too, for operators.

--at explains a moment of the past: whether the address was listed then, which
observations there were, and what the rule of then said of them. What is not kept
so long is said to be so.

The exit code is 4 when the address is not listed.`,
		Example: `  backscatter show 192.0.2.66
  backscatter show 192.0.2.66 --json`,
		Args: exactArgs(1, "one address or prefix"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkCount("--events", events); err != nil {
				return err
			}
			moment, err := parseMoment(at)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				e, err := c.ShowAt(cmd.Context(), args[0], moment, !all)
				if err != nil {
					return err
				}
				if err := a.printShow(e, events); err != nil {
					return err
				}
				if !e.Listed {
					return &codeError{code: exitNotListed}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "tell traps and reporters too")
	cmd.Flags().StringVar(&at, "at", "", "explain the `TIME`: 2026-11-21T12:00:00Z, 2026-11-21 12:00:00Z, or 2026-11-21 for its first second, UTC")
	cmd.Flags().IntVar(&events, "events", 3, "print the `N` newest events")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) printShow(e listing.Explanation, events int) error {
	if a.asJSON {
		return a.printJSON(e)
	}
	var b strings.Builder
	if e.At.IsZero() {
		showState(&b, e)
	} else {
		showPast(&b, e)
	}
	if e.Decision != nil {
		showRule(&b, *e.Decision, ruleWhen(e))
	}
	showEvents(&b, e, events)
	showFixes(&b, e)
	for _, p := range e.History {
		fmt.Fprintf(&b, "was listed    %s to %s: %s\n", stamp(p.Listed), stamp(p.Removed), p.How)
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}

// showState says whether the address is listed, until when, and what follows.
func showState(b *strings.Builder, e listing.Explanation) {
	name := e.Key.String()
	if e.Address.IsValid() {
		name = e.Address.String()
	}
	if !e.Listed {
		fmt.Fprintf(b, "%s is not listed\n", name)
	} else {
		fmt.Fprintf(b, "%s is listed: %s (%s), by %s\n", name, e.Class, e.Code, source(e.By))
		until := "permanent"
		if !e.Permanent {
			until = stamp(e.Until)
		}
		fmt.Fprintf(b, "since         %s\nuntil         %s\n", stamp(e.Since), until)
		if e.Extends != "" {
			fmt.Fprintf(b, "              %s\n", e.Extends)
		}
	}
	if e.CoveredBy != nil {
		fmt.Fprintf(b, "listed with   %s\n", e.CoveredBy)
	}
	if e.Exempt != nil {
		fmt.Fprintf(b, "exempt        as part of %s%s\n", e.Exempt.Prefix, because(e.Exempt.Reason))
	}
	if e.Reason != "" {
		fmt.Fprintf(b, "reason        %s\n", printable(e.Reason))
	}
	if e.HoldUntil.After(time.Now()) {
		fmt.Fprintf(b, "held          evidence does not list it before %s\n", stamp(e.HoldUntil))
	}
	if !e.Retired.IsZero() {
		fmt.Fprintf(b, "decommissioned the whole list is, since %s; nothing is published\n", stamp(e.Retired))
	}
	if e.HeldBack {
		fmt.Fprintf(b, "held back     evidence would list it, and a brake waits for an operator: see status\n")
	}
	if !e.Delisted.IsZero() {
		fmt.Fprintf(b, "delisted      evidence up to %s never counts again\n", stamp(e.Delisted))
	}
}

// source says by whom something is listed.
func source(by listing.Source) string {
	switch by {
	case listing.ByEvidence | listing.ByOperator:
		return "evidence and an operator"
	case listing.ByOperator:
		return "an operator"
	}
	return "evidence"
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + printable(reason)
}

// showRule prints each threshold with what was wanted and found.
func showRule(b *strings.Builder, d listing.Decision, when string) {
	fmt.Fprintf(b, "\nthe rule %s (profile %s)\n", when, d.Profile)
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, t := range d.Thresholds {
		met := "not met"
		if t.Met {
			met = "met"
		}
		fmt.Fprintf(w, "  %s\twanted %s\tfound %s\t%s\n", t.Name, t.Wanted, t.Found, met)
	}
	w.Flush()
}

// showEvents prints the newest events, each with its traces.
func showEvents(b *strings.Builder, e listing.Explanation, most int) {
	if len(e.Events) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d observed, first %s, last %s\n", e.Observations, stamp(e.First), stamp(e.Last))
	for i, event := range e.Events {
		if i == most {
			fmt.Fprintf(b, "  and %d more; --events %d shows them\n", len(e.Events)-i, len(e.Events))
			break
		}
		withdrawn := ""
		if event.Revoked != 0 {
			withdrawn = ", withdrawn: does not count"
		}
		fmt.Fprintf(b, "  %s %s, proof %s, level %s%s\n", stamp(event.At), event.Class, strings.Join(event.Proofs, " and "), event.Level, withdrawn)
		for _, line := range traces(event) {
			fmt.Fprintf(b, "    %s\n", printable(line))
		}
	}
}

// showFixes prints how to stop what was recognised.
func showFixes(b *strings.Builder, e listing.Explanation) {
	for _, fix := range evidence.Fixes(e.Events) {
		fmt.Fprintf(b, "\nhow to stop it (%s): %s\n", fix.Product, fix.Text)
	}
}

// traces are what the listed party can search its logs for; with them, for
// operators, who reported it.
func traces(e listing.Event) []string {
	var out []string
	line := func(pairs ...string) {
		var parts []string
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] != "" {
				parts = append(parts, pairs[i]+" "+pairs[i+1])
			}
		}
		if len(parts) > 0 {
			out = append(out, strings.Join(parts, ", "))
		}
	}
	t := e.Traces
	origin := ""
	if t.Origin.IsValid() {
		origin = t.Origin.String()
	}
	line("Message-ID", t.MessageID, "queue id", t.QueueID)
	line("reporting MTA", t.ReportingMTA, "HELO", t.HELO, "PTR", t.PTR)
	line("status", t.Status, "diagnostic", t.Diagnostic)
	line("the original came from", origin, "software", t.Product)
	if !e.ID.IsZero() {
		line("event", e.ID.String())
	}
	line("reporter", e.Reporter, "organisation", e.Organisation, "sensor", e.Sensor, "trap domain", e.TrapDomain)
	return out
}
