package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"backscatter/ops/control"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := family(&cobra.Command{
		Use:     "key",
		Short:   "Care for the key under which recipients are hashed",
		Example: "  backscatter key rotate --reason 'the old backup was lost on a train' --dry-run",
	}, "rotate")
	var f orderFlags
	rotate := &cobra.Command{
		Use:   "rotate --reason WHY",
		Short: "Hash recipients under a new key from now on",
		Long: `Hash recipients, originals and subjects under a new key from now on. The store has
them only as hashes under this key, which is in recipients.key in the state folder,
so nobody can test with a store or a backup alone whether an address is a trap.

The new key stands first in the file, the former ones with the time of their end
behind it. What was seen before keeps its hash, and is recognised by the former key
for as long as the policy counts it (its window, 7 days): nothing counts twice.
Once that is over, and nobody has to find out any more who a former recipient was,
delete the older lines.`,
		Example: `  backscatter key rotate --reason 'the old backup was lost on a train'`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order, err := f.order()
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				if err := c.RotateKey(cmd.Context(), order); err != nil {
					return err
				}
				done := "recipients are hashed under a new key from now on"
				if order.DryRun {
					done = "recipients would be hashed under a new key from now on"
				}
				_, err := fmt.Fprintln(a.out, done)
				return err
			})
		},
	}
	f.addWhy(rotate.Flags())
	cmd.AddCommand(rotate)
	return cmd
}
