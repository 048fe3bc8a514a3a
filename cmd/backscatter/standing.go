package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) resumeCommand() *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:   "resume --reason WHY",
		Short: "Lift the brakes",
		Long: `Lift the brakes that 'status' shows. Too many new listings within an hour freeze
automatic listing: reports are taken in, and what they would list is held back. It
is decided now, by what evidence says now, and printed; --dry-run prints it first.
Listings too many of which would end at once, as when the clock was set, or come back
when exemptions end, wait too: what is over by the clock of now ends. So does what the
configuration exempts if too many would go or come by it. A clock that jumped is believed again, so that what
grew old is dropped; after a week of going evenly it is without this. Where several
brakes are on, all of them are lifted, and it asks first. With no brake on, nothing is
changed.`,
		Example: `  backscatter resume --reason "a new trap, and all of them are real" --dry-run
  backscatter resume --reason "a new trap, and all of them are real" --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// How much is held back is known only when it was tried.
			return a.carryOut(cmd.Context(), f, largeChange+1, func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				if !o.DryRun && !f.yes {
					if err := a.askForBrakes(ctx, c); err != nil {
						return control.OrderResult{}, err
					}
				}
				return c.Resume(ctx, control.ResumeRequest{Order: o})
			})
		},
	}
	f.add(cmd.Flags())
	a.jsonFlag(cmd)
	return cmd
}

// askForBrakes asks when more than one brake is on: who knows of one may not mean the
// others.
func (a *app) askForBrakes(ctx context.Context, c *control.Client) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	var on []string
	brakes := status.Store.Brakes
	if !brakes.Frozen.IsZero() {
		on = append(on, fmt.Sprintf("on automatic listing, which holds %d back", brakes.Held))
	}
	if !brakes.Stalled.IsZero() {
		on = append(on, fmt.Sprintf("on what ends, %d listings or more of %d", brakes.Due, brakes.List))
	}
	if !brakes.Withheld.IsZero() {
		on = append(on, "on what the configuration exempts, by which "+brakes.Extent())
	}
	if len(on) < 2 {
		return nil
	}
	return a.confirm(fmt.Sprintf("this lifts %d brakes: that %s; go on", len(on), strings.Join(on, "; that ")))
}

func (a *app) decommissionCommand() *cobra.Command {
	var f orderFlags
	var undo bool
	cmd := &cobra.Command{
		Use:   "decommission --reason WHY --yes [--undo]",
		Short: "End the list: publish nothing any more, and say so",
		Long: `End the list as RFC 6471 §3.4 asks: every zone becomes empty, in one serial, its
test entries (127.0.0.2 and the like) too, and a text record at its apex says so. A
list that only stops answering, or that lists everything, loses other people's mail.
Announce it first, keep the empty zones for long, then take their delegations away.

Nothing is lost: what was listed and observed stays in the store, and --undo brings
the list back, less what has had its time.`,
		Example: `  backscatter decommission --reason "we close; announced on 2026-01-01" --yes
  backscatter decommission --undo --reason "others carry it on"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := f.order(); err != nil {
				return err
			}
			if !f.yes && !f.dryRun && !undo {
				return usageError("decommission: this takes the whole list off the network; pass --yes if that is meant, or --dry-run to look")
			}
			f.yes = true
			return a.carryOut(cmd.Context(), f, 1, func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				return c.Decommission(ctx, control.DecommissionRequest{Order: o, Undo: undo})
			})
		},
	}
	f.addWhy(cmd.Flags())
	cmd.Flags().BoolVar(&f.yes, "yes", false, "it is meant (required)")
	cmd.Flags().BoolVar(&undo, "undo", false, "bring the list back")
	a.jsonFlag(cmd)
	return cmd
}

// printStanding says what keeps the list from being as evidence and orders have
// it, and what to do.
func printStanding(b *strings.Builder, st listing.Status) {
	if d := st.Decommissioned; d != nil {
		fmt.Fprintf(b, "decommissioned since %s by %s: %s\n", stamp(d.At), printable(d.By), printable(d.Reason))
		fmt.Fprintf(b, "              nothing is published; 'backscatter decommission --undo' brings the list back\n")
	}
	printBrakes(b, st.Brakes)
	printWithheld(b, st)
	if w := st.Wide; w != nil {
		fmt.Fprintf(b, "brake         %d prefixes were refused since the start as too wide to be listed, %s of them last, at %s\n", w.Refused, w.Prefix, stamp(w.Last))
	}
}

// printBrakes says which brakes are on, and what to do.
func printBrakes(b *strings.Builder, on listing.BrakeStatus) {
	if !on.Frozen.IsZero() {
		fmt.Fprintf(b, "brake         automatic listing is frozen since %s: more than %d new listings in an hour, or at once; %d are held back\n",
			stamp(on.Frozen), on.Limit, on.Held)
		fmt.Fprintf(b, "              look at what 'backscatter resume --dry-run' would list, then resume\n")
	} else if on.Held > 0 {
		fmt.Fprintf(b, "brake         %d listings are held back still: 'backscatter resume' was broken off, and goes on\n", on.Held)
	}
	if !on.Stalled.IsZero() {
		fmt.Fprintf(b, "brake         nothing ends since %s: %d listings or more would go or come at once, of %d\n", stamp(on.Stalled), on.Due, on.List)
		fmt.Fprintf(b, "              look at the clock, and at what 'backscatter exempt' prints; 'backscatter resume' lets them\n")
	}
	if !on.Withheld.IsZero() {
		fmt.Fprintf(b, "brake         what the configuration exempts waits since %s: %s\n", stamp(on.Withheld), on.Extent())
		fmt.Fprintf(b, "              mend it and reload, or let it: 'backscatter resume', with --dry-run first\n")
	}
	if !on.Jumped.IsZero() {
		fmt.Fprintf(b, "clock         jumped from %s to %s: nothing is dropped for its age until %s\n",
			stamp(on.JumpedFrom), stamp(on.Jumped), stamp(on.Believed))
		fmt.Fprintf(b, "              look at the clock; if it is right, there is nothing to do, or 'backscatter resume' has it believed at once\n")
	}
}

// mostWithheld is how many exemptions that wait are printed for people.
const mostWithheld = 20

// printWithheld says which exemptions of the configuration wait for an operator.
func printWithheld(b *strings.Builder, st listing.Status) {
	told := st.Withheld[:min(len(st.Withheld), mostWithheld)]
	for _, w := range told {
		what := "not exempt yet"
		if w.Lifted {
			what = "exempt still"
		}
		fmt.Fprintf(b, "%-13s %s, %s: %s\n", "waits", w.Prefix, what, printable(w.Reason))
	}
	if more := st.MoreWithheld + len(st.Withheld) - len(told); more > 0 {
		fmt.Fprintf(b, "              and %d more\n", more)
	}
}
