package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"backscatter/ops/control"
)

func (a *app) acceptCommand() *cobra.Command {
	var f orderFlags
	var zone string
	cmd := &cobra.Command{
		Use:   "accept [--zone Z] --reason WHY",
		Short: "Publish files that the brake holds",
		Long: `Publish files that the brake of an export holds, since the list grew or shrank by
much at once. What would be published, and why it is not, is in the folder .refused
of the export; 'status' tells which are held.`,
		Example: `  backscatter export accept --reason "the import of a friend's list" --dry-run`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order, err := f.order()
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				r, err := c.AcceptExport(cmd.Context(), control.AcceptRequest{Order: order, Zone: zone})
				if err != nil {
					return err
				}
				return a.printAccepted(r)
			})
		},
	}
	f.addWhy(cmd.Flags())
	cmd.Flags().StringVar(&zone, "zone", "", "only the exports of `ZONE`")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) printAccepted(r control.AcceptResult) error {
	if a.asJSON {
		return a.printJSON(r)
	}
	if len(r.Held) == 0 {
		_, err := fmt.Fprintln(a.out, "nothing is held")
		return err
	}
	if r.DryRun {
		for _, e := range r.Held {
			fmt.Fprintf(a.out, "held: %s to %s: %s\n", e.Zone, e.Dir, e.Error)
		}
		return nil
	}
	for _, p := range r.Publications {
		fmt.Fprintf(a.out, "published: %s to %s, serial %d\n", p.Zone, p.Dir, p.Serial)
	}
	return nil
}
