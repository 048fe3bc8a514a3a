package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) showCommand() *cobra.Command {
	var all, headers bool
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

--headers prints the headers of the newest reports instead, for operators alone,
where the configuration has them kept (headers.keep). Local parts of addresses and
the subject are not in them.

It is shortened to 24 lines of 80 columns; --events and --json tell all.

The exit code is 4 when the address is not listed.`,
		Example: `  backscatter show 192.0.2.66
  backscatter show 192.0.2.66 --json
  backscatter show 192.0.2.66 --headers`,
		Args: exactArgs(1, "one address or prefix"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case headers && (all || at != "" || cmd.Flags().Changed("events")):
				return usageError("show: --headers prints headers alone; leave out --all, --at and --events")
			case headers:
				return a.withClient(cmd.Context(), func(c *control.Client) error {
					return a.showHeaders(cmd.Context(), c, args[0])
				})
			case !cmd.Flags().Changed("events") && !all:
				events = -1
			default:
				if err := checkCount("--events", events); err != nil {
					return err
				}
			}
			moment, err := parseMoment(at)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				return a.show(cmd.Context(), c, args[0], moment, all, events)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "tell traps and reporters too")
	cmd.Flags().BoolVar(&headers, "headers", false, "print the headers of the newest reports, for operators")
	cmd.Flags().StringVar(&at, "at", "", "explain the `TIME`: 2026-11-21T12:00:00Z, 2026-11-21 12:00:00Z, or 2026-11-21 for its first second, UTC")
	cmd.Flags().IntVar(&events, "events", 3, "print the `N` newest events, and nothing shortened (default: what a screen of 24 lines holds)")
	a.jsonFlag(cmd)
	return cmd
}

// show prints what is known of a target at a moment, and is an error where that
// is not listed.
func (a *app) show(ctx context.Context, c *control.Client, target string, at time.Time, all bool, events int) error {
	e, err := c.ShowAt(ctx, target, at, !all)
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
}

func (a *app) printShow(e listing.Explanation, events int) error {
	if a.asJSON {
		return a.printJSON(e)
	}
	var head strings.Builder
	if e.At.IsZero() {
		showState(&head, e)
	} else {
		showPast(&head, e)
	}
	if e.Decision != nil {
		showRule(&head, *e.Decision, ruleWhen(e))
	}
	p := explained{Explanation: e, head: strings.Split(strings.TrimSuffix(head.String(), "\n"), "\n")}
	text := p.screen
	if events >= 0 {
		text = func() string { return p.page(events) }
	}
	_, err := io.WriteString(a.out, text())
	return err
}

// showState says whether the address is listed, until when, and what follows.
func showState(b *strings.Builder, e listing.Explanation) {
	name := e.Key.String()
	if e.Address.IsValid() {
		name = e.Address.String()
	}
	switch {
	case e.TestPoint != listing.ClassOther:
		fmt.Fprintf(b, "%s is the test point of class %s, and no host's\n", name, e.TestPoint)
		fmt.Fprintf(b, "              every zone with that class lists it always, so that clients can\n")
		fmt.Fprintf(b, "              test whether they reach the list (RFC 5782 section 5)\n")
	case !e.Listed:
		fmt.Fprintf(b, "%s is not listed\n", name)
	default:
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
		if e.Exempt.Reason == "" {
			fmt.Fprintf(b, "              'show --all' tells why, for operators alone\n")
		}
	}
	if e.Reason != "" {
		fmt.Fprintf(b, "reason        %s\n", printable(e.Reason))
	}
	if e.HoldUntil.After(time.Now()) {
		fmt.Fprintf(b, "held          evidence does not list it before %s\n", stamp(e.HoldUntil))
	}
	if !e.Retired.IsZero() {
		fmt.Fprintf(b, "decommissioned since %s: nothing of the list is published\n", stamp(e.Retired))
	}
	if e.HeldBack {
		fmt.Fprintf(b, "held back     evidence would list it; a brake waits for an operator: see status\n")
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
	eased := ""
	if d.Relapse {
		eased = "; less wanted after a removal"
	}
	fmt.Fprintf(b, "\nthe rule %s (profile %s%s)\n", when, d.Profile, eased)
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
