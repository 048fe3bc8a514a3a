package main

import (
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) reporterCommand() *cobra.Command {
	cmd := family(&cobra.Command{
		Use:   "reporter",
		Short: "Enrol, weigh and suspend those whose reports count",
		Long: `Enrol, weigh and suspend reporters: those who run sensors, and whose reports
count. One that is enrolled here is on probation: its reports count for a quarter
for 30 days, or until two other organisations, who are past theirs, reported three of
the sources that it had reported before they were listed (the section probation of
the configuration). Those of the configuration are enrolled without probation; their
weight is changed there.

What a reporter counts for is asked whenever the listing rule is. A suspended one
counts for nothing from then on, in what it reported before too, and counts again
when it is resumed. What is listed already stays listed until its time, which
the suspended no longer puts off; 'revoke --reporter' takes back what it brought.`,
		Example: "  backscatter reporter show",
	}, "show, add, weight, suspend, resume, keygen, key or relays")
	cmd.AddCommand(
		a.reporterShow(), a.reporterAdd(), a.reporterKeygen(), a.reporterKey(), a.reporterRelays(),
		a.reporterChange(&cobra.Command{
			Use:     "weight NAME W --reason WHY",
			Short:   "Set what a reporter's reports count for",
			Example: `  backscatter reporter weight friend 0.5 --reason "many of its traps are young"`,
			Args:    exactArgs(2, "the reporter's name, and its weight"),
		}, listing.ActionWeigh, func(r *control.ReporterRequest, args []string) (err error) {
			if r.Weight, err = strconv.ParseFloat(args[1], 64); err != nil {
				return usageError("weight %q: want a number such as 0.5", args[1])
			}
			return nil
		}),
		a.reporterChange(&cobra.Command{
			Use:     "suspend NAME --reason WHY",
			Short:   "Let a reporter's reports count for nothing from now on",
			Example: `  backscatter reporter suspend friend --reason "its trap domain sends mail again"`,
			Args:    exactArgs(1, "the reporter's name"),
		}, listing.ActionSuspend, nil),
		a.reporterChange(&cobra.Command{
			Use:     "resume NAME --reason WHY",
			Short:   "Let a suspended reporter's reports count again",
			Example: `  backscatter reporter resume friend --reason "the trap domain is quiet again"`,
			Args:    exactArgs(1, "the reporter's name"),
		}, listing.ActionReinstate, nil),
	)
	return cmd
}

func (a *app) reporterAdd() *cobra.Command {
	var organisation string
	var weight float64
	var remote remoteFlags
	cmd := a.reporterChange(&cobra.Command{
		Use:     "add NAME --reason WHY [--organisation ORG] [--weight W] [--key FILE] [--relay PREFIX]...",
		Short:   "Enrol a reporter, on probation",
		Example: `  backscatter reporter add friend --organisation "Friends of Mail" --reason "met at the conference"`,
		Args:    exactArgs(1, "the reporter's name"),
	}, listing.ActionEnrol, func(r *control.ReporterRequest, _ []string) error {
		r.Organisation, r.Weight = organisation, weight
		return remote.fill(r)
	})
	remote.add(cmd.Flags())
	cmd.Flags().StringVar(&organisation, "organisation", "", "`ORG` that it belongs to; reporters of one count as one voice (default: its name)")
	cmd.Flags().Float64Var(&weight, "weight", 1, "`FACTOR` on what it reports")
	return cmd
}

// reporterChange completes a command that changes one reporter.
func (a *app) reporterChange(cmd *cobra.Command, action string, fill func(*control.ReporterRequest, []string) error) *cobra.Command {
	var f orderFlags
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := f.order()
		if err != nil {
			return err
		}
		r := control.ReporterRequest{Order: o, Name: args[0]}
		if fill != nil {
			if err := fill(&r, args); err != nil {
				return err
			}
		}
		return a.withClient(cmd.Context(), func(c *control.Client) error {
			e, err := c.Reporter(cmd.Context(), action, r)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(e)
			}
			return a.printReporters([]listing.Enrolment{e})
		})
	}
	f.addWhy(cmd.Flags())
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) reporterShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show [NAME]",
		Aliases: []string{"list"},
		Short:   "Print the reporters and what their reports count for",
		Example: "  backscatter reporter show",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("reporter show: want one name at most")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				page, err := c.Reporters(cmd.Context())
				if err != nil {
					return err
				}
				shown := page.Reporters
				if len(args) == 1 {
					if shown = reportersNamed(shown, args[0]); len(shown) == 0 {
						return fmt.Errorf("%s: there is no such reporter", args[0])
					}
				}
				if a.asJSON {
					return a.printJSON(shown)
				}
				return a.printReporters(shown)
			})
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func reportersNamed(all []listing.Enrolment, name string) []listing.Enrolment {
	for i, e := range all {
		if e.Name == name {
			return all[i : i+1]
		}
	}
	return nil
}

func (a *app) printReporters(all []listing.Enrolment) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tORGANISATION\tWEIGHT\tCOUNTS\tENROLLED\tNOTE")
	for _, e := range all {
		enrolled := stamp(e.Enrolled)
		if e.Configured {
			enrolled = "by the configuration"
		}
		fmt.Fprintf(w, "%s\t%s\t%v\t%v\t%s\t%s\n", e.Name, printable(e.Organisation), e.Weight, e.Effective, enrolled, reporterNote(e))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return a.printReporterKeys(all)
}

// reporterNote says why a reporter does not count for its own weight.
func reporterNote(e listing.Enrolment) string {
	switch {
	case !e.Suspended.IsZero():
		return fmt.Sprintf("suspended since %s by %s: %s", stamp(e.Suspended), printable(e.SuspendedBy), printable(e.SuspendedWhy))
	case !e.Probation.IsZero():
		return "on probation until " + stamp(e.Probation)
	case !e.Agreed.IsZero():
		return "others agreed with it on " + stamp(e.Agreed)
	}
	return ""
}
