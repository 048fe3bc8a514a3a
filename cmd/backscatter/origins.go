package main

import (
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

func (a *app) originsCommand() *cobra.Command {
	since := "7d"
	most := 20
	cmd := &cobra.Command{
		Use:   "origins [--since LONG] [--most N]",
		Short: "Show which spam was answered to forged senders, and where it came from",
		Long: `Show the spam runs behind the backscatter: messages with the same subject that
led to the same host, the addresses that they came from as the returned headers
tell, and the hosts that were abused to bounce them to others.

This is information, for an abuse desk or a filter of your own. It lists nobody
and is no blocking zone: an origin is what a stranger's mail server wrote down,
or what somebody made it believe. Subjects are kept as keyed hashes only, and an
operator who knows the key's server can tell that two are the same, not what they
said.

--json prints a run a line. With http.origins there is a feed for others, at
/origins.jsonl of the web server. It has only what was seen at traps of several
domains, so that nobody finds traps by it.`,
		Example: `  backscatter origins --since 30d --most 5`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			long, err := config.ParseDuration(since)
			if err != nil || long <= 0 {
				return usageError("--since %q: want how long ago, such as 24h or 7d", since)
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				runs, err := c.Origins(cmd.Context(), time.Now().Add(-long), most)
				if err != nil {
					return err
				}
				return a.printOrigins(runs)
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", since, "how `LONG` ago the first observation may be")
	cmd.Flags().IntVar(&most, "most", most, "the largest `N` runs")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) printOrigins(all listing.SpamRuns) error {
	if a.asJSON {
		for _, run := range all.Runs {
			if err := a.printJSONLine(run); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "BOUNCES\tMESSAGES\tFIRST\tLAST\tSUBJECT\tHOST\tORIGINS\tBACKSCATTERERS")
	for _, r := range all.Runs {
		subject, host := "–", "–"
		if !r.Subject.IsZero() {
			subject = r.Subject.String()[:8]
		}
		if r.URLHost != "" {
			host = printable(r.URLHost)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Observations, r.Originals, stamp(r.First), stamp(r.Last), subject, host, someOf(r.Origins), someOf(r.Backscatters))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "since %s; %d more bounces told neither subject nor host, or were of too many runs\n", stamp(all.Since), all.LeftOut)
	return err
}

// someOf is the first addresses, and how many more there are.
func someOf(addrs []netip.Addr) string {
	const most = 3
	var texts []string
	for _, a := range addrs[:min(len(addrs), most)] {
		texts = append(texts, a.String())
	}
	if more := len(addrs) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	if len(texts) == 0 {
		return "–"
	}
	return strings.Join(texts, " ")
}
