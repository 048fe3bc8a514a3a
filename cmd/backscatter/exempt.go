package main

import (
	"context"
	"fmt"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) exemptCommand() *cobra.Command {
	var f orderFlags
	var u untilFlags
	var remove, show bool
	cmd := &cobra.Command{
		Use:   "exempt [PREFIX|-|@FILE...] --reason WHY (--for LONG|--permanent|--remove)",
		Short: "Keep addresses from ever being listed, or show which are",
		Long: `Exempt addresses or prefixes of any width from being listed. It takes effect at
once: what is listed there is hidden, and comes back when the exemption ends if
its own time is not over. Evidence is kept all the same. Without arguments, or
with --show, it prints all exemptions, those that are built in included
(special-purpose space, the server's own addresses, the relays of reporters).`,
		Example: `  backscatter exempt 203.0.113.0/24 --reason "our own customers' relays" --permanent
  backscatter exempt 203.0.113.0/24 --remove --reason "they have left"
  backscatter exempt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if show || len(args) == 0 {
				return a.withClient(cmd.Context(), func(c *control.Client) error { return a.printExemptions(cmd.Context(), c) })
			}
			texts, err := a.readArgs(args)
			if err != nil {
				return err
			}
			prefixes, err := parseAll(texts, listing.ParsePrefix)
			if err != nil {
				return err
			}
			send, err := exemptSender(prefixes, f, u, remove)
			if err != nil {
				return err
			}
			// One prefix can hide any number of listings, so it is always tried first.
			return a.carryOut(cmd.Context(), f, largeChange+len(prefixes), send)
		},
	}
	f.add(cmd.Flags())
	u.add(cmd.Flags())
	cmd.Flags().BoolVar(&remove, "remove", false, "end the exemption")
	cmd.Flags().BoolVar(&show, "show", false, "print the exemptions")
	a.jsonFlag(cmd)
	return cmd
}

func exemptSender(prefixes []netip.Prefix, f orderFlags, u untilFlags, remove bool) (sender, error) {
	if remove {
		return func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
			return c.Unexempt(ctx, control.UnexemptRequest{Order: o, Prefixes: prefixes})
		}, nil
	}
	until, err := u.until(time.Now())
	if err != nil {
		return nil, err
	}
	exemptions := make([]listing.Exemption, len(prefixes))
	for i, p := range prefixes {
		exemptions[i] = listing.Exemption{Prefix: p, Reason: f.reason, Until: until}
	}
	return func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
		return c.Exempt(ctx, control.ExemptRequest{Order: o, Exemptions: exemptions})
	}, nil
}

func (a *app) printExemptions(ctx context.Context, c *control.Client) error {
	page, err := c.Exemptions(ctx)
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(page.Exemptions)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PREFIX\tUNTIL\tBY\tREASON")
	for _, e := range page.Exemptions {
		until, by := "permanent", e.By
		if !e.Until.IsZero() {
			until = stamp(e.Until)
		}
		if e.BuiltIn {
			by = "built in"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Prefix, until, by, e.Reason)
	}
	return w.Flush()
}
