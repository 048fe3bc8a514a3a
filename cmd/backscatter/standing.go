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
Listings that would end too many at once, as when the clock was set, wait too: what
is over by the clock of now ends. With no brake on, nothing is changed.`,
		Example: `  backscatter resume --reason "a new trap, and all of them are real" --dry-run
  backscatter resume --reason "a new trap, and all of them are real" --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// How much is held back is known only when it was tried.
			return a.carryOut(cmd.Context(), f, largeChange+1, func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				return c.Resume(ctx, control.ResumeRequest{Order: o})
			})
		},
	}
	f.add(cmd.Flags())
	a.jsonFlag(cmd)
	return cmd
}

// printBrakes says which brakes are on, and what to do.
func printBrakes(b *strings.Builder, on listing.BrakeStatus) {
	if !on.Frozen.IsZero() {
		fmt.Fprintf(b, "brake         automatic listing is frozen since %s: more than %d new listings in an hour; %d are held back\n",
			stamp(on.Frozen), on.Limit, on.Held)
		fmt.Fprintf(b, "              look at what 'backscatter resume --dry-run' would list, then resume\n")
	} else if on.Held > 0 {
		fmt.Fprintf(b, "brake         %d listings are held back still: 'backscatter resume' was broken off, and goes on\n", on.Held)
	}
	if !on.Stalled.IsZero() {
		fmt.Fprintf(b, "brake         nothing ends since %s: %d or more of %d listings were over at once\n", stamp(on.Stalled), on.Due, on.List)
		fmt.Fprintf(b, "              look at the clock; 'backscatter resume' lets them end\n")
	}
}
