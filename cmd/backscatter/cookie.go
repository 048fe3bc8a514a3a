package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"backscatter/ops/control"
)

func (a *app) cookieCommand() *cobra.Command {
	cmd := family(&cobra.Command{
		Use:     "cookie",
		Short:   "Care for the secret of DNS cookies",
		Example: "  backscatter cookie roll --reason 'the yearly change' --dry-run",
	}, "roll")
	var f orderFlags
	roll := &cobra.Command{
		Use:   "roll --reason WHY",
		Short: "Take the next step of a change of the secret",
		Long: `Take the next step of a change of the secret of DNS cookies (RFC 9018 §5):

  staged     a new secret is made; cookies made with it are good
  activated  cookies are made with the new secret; those made with the old are good
  dropped    those made with the old secret are good no more; not within 65 minutes
             after the step before, as long as clients may have some

Do it three times, with an hour between the second and the third. Servers that share
an address share the file of secrets: take a step on one, copy the file to the others,
run 'backscatter reload' there, and take the next step when all have it.`,
		Example: `  backscatter cookie roll --reason 'the yearly change'`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order, err := f.order()
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				r, err := c.RollCookies(cmd.Context(), order)
				if err != nil {
					return err
				}
				return a.printRolled(r)
			})
		},
	}
	f.addWhy(roll.Flags())
	a.jsonFlag(roll)
	cmd.AddCommand(roll)
	return cmd
}

func (a *app) printRolled(r control.CookieResult) error {
	if a.asJSON {
		return a.printJSON(r)
	}
	words := map[control.CookieStep]struct{ done, next string }{
		control.CookieStaged:    {"a new secret is staged", "roll again when all servers of this address have " + r.File},
		control.CookieActivated: {"cookies are made with the new secret", "roll again after an hour, to drop the old one"},
		control.CookieDropped:   {"the old secret is dropped", "the change is complete"},
	}[r.Step]
	switch {
	case !r.Early.IsZero():
		_, err := fmt.Fprintf(a.out, "would be refused: clients have cookies of the old secret until %s\n", r.Early.Format(time.TimeOnly))
		return err
	case r.DryRun:
		_, err := fmt.Fprintf(a.out, "would be done: %s\n", words.done)
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s\n%s\n", words.done, words.next)
	return err
}
