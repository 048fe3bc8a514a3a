package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"text/tabwriter"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

func (a *app) policyTryCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "try FILE",
		Short: "Show who would come, go and stay under another configuration",
		Long: `Replay the observations that are kept under the policy, the reporters and the
exemptions of another configuration file, and print who would come onto the list
and who would go, each with the reason, and how many would stay. Nothing is changed.

What the file has no section for (policy, reporters, probation, exempt) is as in
force, so a file with a policy alone is enough. The replay takes each observation as if it had
come when it was received, with the weight that its reporter has now.

With --json each key is one object on a line, and the summary is the last line.`,
		Example: `  backscatter policy try stricter.yaml
  backscatter policy try stricter.yaml --all --json`,
		Args: exactArgs(1, "one configuration file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := tryRequest(args[0])
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				return a.try(cmd.Context(), c, q, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "print those who would stay, too")
	a.jsonFlag(cmd)
	return cmd
}

// tryRequest takes from the file what it says itself.
func tryRequest(path string) (control.TryRequest, error) {
	var q control.TryRequest
	// Load knows another way to name a file, and would speak of it.
	switch info, err := os.Stat(path); {
	case err != nil:
		return q, usageError("policy try: %w", err)
	case info.IsDir():
		return q, usageError("policy try: %s is a folder; name the file that has the policy to try", path)
	}
	c, err := config.Load(path)
	if err != nil {
		return q, err
	}
	settings, err := c.ListingSettings()
	if err != nil {
		return q, err
	}
	tried := false
	if c.Has("policy") {
		tried = true
		q.Policy, q.Listable = &settings.Policy, append([]netip.Prefix{}, settings.Listable...)
	}
	if c.Has("probation") {
		tried = true
		q.Probation = &settings.Probation
	}
	if c.Has("reporters") {
		tried = true
		q.Reporters = append([]listing.Reporter{}, settings.Reporters...)
	}
	// A reporter's relays are exempt, so they and the exemptions go together.
	if c.Has("exempt") || c.Has("reporters") {
		tried = true
		q.BuiltIn = append([]listing.Exemption{}, settings.BuiltIn...)
	}
	if !tried {
		return q, usageError("policy try: %s has no policy, reporters, probation or exempt; there is nothing to try", path)
	}
	return q, nil
}

func (a *app) try(ctx context.Context, c *control.Client, q control.TryRequest, all bool) error {
	bar := a.progressOf("observations", progressbar.OptionShowCount())
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	rows := 0
	sum, err := c.Try(ctx, q, func(one listing.Trial) error {
		if one.Fate == listing.Stays && !all {
			return nil
		}
		if a.asJSON {
			return a.printJSONLine(one)
		}
		if rows++; rows%tryRows == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", tryMarks[one.Fate], one.Key, one.Class, printable(one.Why))
		return err
	}, func(p control.Progress) { bar.tell(int64(p.Done), int64(p.Total)) })
	bar.done()
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSONLine(map[string]listing.TrialSummary{"summary": sum})
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%d would come, %d go, %d stay; %d observations of %d keys replayed, nothing was changed\n",
		sum.Come, sum.Go, sum.Stay, sum.Observations, sum.Keys)
	return err
}

// tryRows bounds the rows that are aligned with each other, and so kept.
const tryRows = 1000

var tryMarks = map[listing.Fate]string{listing.Comes: "+ comes", listing.Goes: "- goes", listing.Stays: "  stays"}
