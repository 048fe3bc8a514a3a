package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"backscatter/ops/control"
)

func (a *app) topCommand() *cobra.Command {
	var length time.Duration
	var most int
	cmd := &cobra.Command{
		Use:   "top [--for D] [--most N]",
		Short: "Watch who asks over DNS, and for what",
		Long: `Watch the questions over DNS for a while, and print who asked most, and for which
listed addresses most was asked. Nothing is kept of it, and when nobody watches it
costs nothing. Memory is bounded: among very many askers a count may be too high,
by as much as is told.`,
		Example: "  backscatter top --for 1s --most 5",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				top, err := c.Top(cmd.Context(), length, most)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(top)
				}
				return printTop(a.out, top)
			})
		},
	}
	cmd.Flags().DurationVar(&length, "for", 10*time.Second, "how `long` to watch, up to 10m")
	cmd.Flags().IntVar(&most, "most", 20, "how `many` of each to print, up to 1000")
	a.jsonFlag(cmd)
	return cmd
}

func printTop(out io.Writer, top control.Top) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%d answers in %s\n", top.Answers, time.Duration(top.For))
	kinds := slices.SortedFunc(maps.Keys(top.Kinds), func(x, y string) int {
		return cmp.Or(cmp.Compare(top.Kinds[y], top.Kinds[x]), cmp.Compare(x, y))
	})
	for _, kind := range kinds {
		fmt.Fprintf(w, "  %d\t%s\n", top.Kinds[kind], kind)
	}
	for _, part := range []struct {
		title string
		all   []control.Frequent
	}{{"clients", top.Clients}, {"listed addresses", top.Listed}} {
		fmt.Fprintf(w, "%s\n", part.title)
		for _, f := range part.all {
			over := ""
			if f.Over > 0 {
				over = fmt.Sprintf("at most %d too high", f.Over)
			}
			fmt.Fprintf(w, "  %d\t%s\t%s\n", f.Count, f.Address, over)
		}
	}
	return w.Flush()
}
