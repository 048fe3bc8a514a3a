package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

// orderFlags are the flags of every command that changes the list.
type orderFlags struct {
	reason string
	dryRun bool
	yes    bool
	given  places // where what it is about was given
	items  string // what it names, where its outcome does not tell how many were taken
}

func (f *orderFlags) add(flags *pflag.FlagSet) {
	f.addWhy(flags)
	flags.BoolVar(&f.yes, "yes", false, "do not ask before a large change")
}

// addWhy adds the flags of a change that is never large.
func (f *orderFlags) addWhy(flags *pflag.FlagSet) {
	flags.StringVar(&f.reason, "reason", "", "why, for the audit and for whoever asks later (required)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print what would change, and change nothing")
}

func (f *orderFlags) order() (control.Order, error) {
	if strings.TrimSpace(f.reason) == "" {
		return control.Order{}, usageError("--reason is required: every change is explained in the audit, and to whoever asks for it later")
	}
	return control.Order{Reason: f.reason, DryRun: f.dryRun}, nil
}

// untilFlags say when an entry ends.
type untilFlags struct {
	duration  string
	permanent bool
}

func (f *untilFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.duration, "for", "", "how `LONG`, such as 168h or 30d")
	flags.BoolVar(&f.permanent, "permanent", false, "without an end")
}

// until returns the end, and the zero time for none.
func (f *untilFlags) until(now time.Time) (time.Time, error) {
	if (f.duration == "") == !f.permanent {
		return time.Time{}, usageError("an end is required: give --for DURATION (such as 168h or 30d) or --permanent")
	}
	if f.permanent {
		return time.Time{}, nil
	}
	d, err := config.ParseDuration(f.duration)
	if err != nil || d <= 0 {
		return time.Time{}, usageError("--for %q: want a duration with its unit, such as 168h or 30d", f.duration)
	}
	return now.Add(d).Truncate(time.Second), nil
}

const largeChange = 10 // a change of so few entries is never asked about

// carryOut sends an order: first as a dry run where it could change much, to
// ask, then in earnest.
//
// The flags were checked before anybody was asked for anything.
func (a *app) carryOut(ctx context.Context, f orderFlags, keys int, send sender) error {
	order, err := f.order()
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(c *control.Client) error {
		if !order.DryRun && !f.yes && keys > largeChange {
			if err := a.askFirst(ctx, c, order, send); err != nil {
				return f.given.explain(err)
			}
		}
		result, err := send(ctx, c, order)
		if err != nil {
			return f.given.explain(err)
		}
		f.given.locate(result.Problems)
		return a.printResult(result, f.items)
	})
}

// sender sends one kind of order.
type sender func(context.Context, *control.Client, control.Order) (control.OrderResult, error)

func (a *app) askFirst(ctx context.Context, c *control.Client, order control.Order, send sender) error {
	order.DryRun = true
	would, err := send(ctx, c, order)
	if err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	changed, all := would.NAdded+would.NRemoved, status.Store.Listings
	if changed <= largeChange || changed*100 <= all {
		return nil
	}
	return a.confirm(fmt.Sprintf("this adds %d and removes %d entries of a list of %d; go on", would.NAdded, would.NRemoved, all))
}

func (a *app) printResult(r control.OrderResult, items string) error {
	if a.asJSON {
		return a.printJSON(r)
	}
	verbs := [2]string{"listed", "gone"}
	if r.DryRun {
		verbs = [2]string{"would be listed", "would be gone"}
	}
	for _, c := range r.Added {
		fmt.Fprintf(a.out, "+ %s %s (%s)\n", c.Prefix, c.Class, c.Code)
	}
	for _, c := range r.Removed {
		fmt.Fprintf(a.out, "- %s %s (%s)\n", c.Prefix, c.Class, c.Code)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(a.out, "! %s: %s\n", p.Key, p.Why)
	}
	for _, p := range r.Skipped {
		fmt.Fprintf(a.out, "! %s\n", p)
	}
	if w := r.Withdrawn; w != nil {
		what := "withdrawn"
		if r.DryRun {
			what = "would be withdrawn"
		}
		fmt.Fprintf(a.out, "%d observations of %d keys %s, and %d listings that do not stand without them\n", w.Observations, w.Keys, what, w.Ended)
	}
	if items != "" {
		fmt.Fprintf(a.out, "of %d %s: ", r.Taken, items)
	}
	_, err := fmt.Fprintf(a.out, "%d %s, %d %s, serial %d\n", r.NAdded, verbs[0], r.NRemoved, verbs[1], r.Serial)
	return err
}

func (a *app) listCommand() *cobra.Command {
	var f orderFlags
	var u untilFlags
	cmd := &cobra.Command{
		Use:   "list ADDRESS|PREFIX|-|@FILE... --reason WHY (--for LONG|--permanent)",
		Short: "List addresses by hand",
		Long: `List addresses by hand, with class manual (127.0.0.9). IPv6 addresses are listed
with their /64. Prefixes may be no wider than /24 and /48, and must not overlap
one that is listed by hand already. '-' reads standard input, '@FILE' a file, one
a line. All are listed, or none.`,
		Example: `  backscatter list 192.0.2.99 --reason "bounces to us, evidence in ticket 4711" --for 30d
  backscatter list 198.51.100.0/24 2001:db8::25 --reason "relay farm" --for 168h --dry-run`,
		Args: atLeastArgs(1, "the addresses to list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := u.until(time.Now())
			if err != nil {
				return err
			}
			items, err := a.readArgs(args)
			if err != nil {
				return err
			}
			keys, err := parseAll(items, listing.ParseKey)
			if err != nil {
				a.tellWide(cmd.Context(), err)
				return err
			}
			f.given = placesOf(items, keys)
			entries := make([]listing.Manual, len(keys))
			for i, key := range keys {
				entries[i] = listing.Manual{Key: key, Until: until}
			}
			return a.carryOut(cmd.Context(), f, len(entries), func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				return c.List(ctx, control.ListRequest{Order: o, Entries: entries})
			})
		},
	}
	f.add(cmd.Flags())
	u.add(cmd.Flags())
	a.jsonFlag(cmd)
	return cmd
}

// tellWide lets the daemon know of a prefix that is too wide to be listed, which it
// counts: what is refused here never comes to it. That there may be none is no matter.
func (a *app) tellWide(ctx context.Context, refused error) {
	wide, ok := errors.AsType[*listing.WideError](refused)
	if !ok {
		return
	}
	_ = a.withClient(ctx, func(c *control.Client) error {
		_, err := c.List(ctx, control.ListRequest{Wide: []netip.Prefix{wide.Prefix}})
		return err
	})
}

func (a *app) delistCommand() *cobra.Command {
	var f orderFlags
	var hold string
	cmd := &cobra.Command{
		Use:   "delist ADDRESS|PREFIX|-|@FILE... --reason WHY [--hold LONG]",
		Short: "Take addresses off the list",
		Long: `Take addresses off the list, whether evidence or an operator listed them. The
evidence so far never counts again; new evidence can list an address anew, for 30 days
by half the thresholds unless policy.relapse says otherwise. --hold keeps automatic listing away for a while.
To keep an address off for good, exempt it.`,
		Example: `  backscatter delist 192.0.2.66 --reason "bounces turned off, see their mail of today"
  backscatter delist 192.0.2.67 --reason "being repaired" --hold 7d`,
		Args: atLeastArgs(1, "the addresses to take off"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var holdFor time.Duration
			if hold != "" {
				var err error
				if holdFor, err = config.ParseDuration(hold); err != nil || holdFor <= 0 {
					return usageError("--hold %q: want a duration with its unit, such as 168h or 7d", hold)
				}
			}
			items, err := a.readArgs(args)
			if err != nil {
				return err
			}
			keys, err := parseAll(items, listing.ParseKey)
			if err != nil {
				return err
			}
			f.given = placesOf(items, keys)
			return a.carryOut(cmd.Context(), f, len(keys), func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				return c.Delist(ctx, control.DelistRequest{Order: o, Keys: keys, Hold: control.Duration(holdFor)})
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&hold, "hold", "", "keep automatic listing away for so `LONG`, such as 7d")
	a.jsonFlag(cmd)
	return cmd
}
