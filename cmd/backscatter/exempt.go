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
	var x exemptFlags
	var show bool
	cmd := &cobra.Command{
		Use:   "exempt [PREFIX|-|@FILE...|--import FILE --format plain|misp] --reason WHY (--for LONG|--permanent|--remove)",
		Short: "Keep addresses from ever being listed, or show which are",
		Long: `Exempt addresses or prefixes of any width from being listed. It takes effect at
once: what is listed there is hidden, and comes back when the exemption ends if
its own time is not over. Evidence is kept all the same. Without arguments, or
with --show, it prints all exemptions, those that are built in included
(special-purpose space, the server's own addresses, the relays of reporters).

--import takes a list of large shared providers, or '-' for standard input: plain,
an address or prefix a line, or a MISP warning list of type cidr, whose name is the
reason if no other is given. Such exemptions are marked as observe-only, and last
for ever unless --for says otherwise; they take the place of no exemption that an
operator set by hand, and hide no half of the list: what is that large is an operator's own
word, without --import. Whatever is wrong in a file is told by its line, and then
nothing is changed.`,
		Example: `  backscatter exempt 203.0.113.0/24 --reason "our own customers' relays" --permanent
  backscatter exempt 203.0.113.0/24 --remove --reason "they have left"
  printf '203.0.113.0/24\n' | backscatter exempt --import - --format plain --reason "a large provider" --yes
  backscatter exempt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if x.file == "" && (show || len(args) == 0) {
				return a.withClient(cmd.Context(), func(c *control.Client) error { return a.printExemptions(cmd.Context(), c) })
			}
			return a.exempt(cmd.Context(), &x, args)
		},
	}
	x.add(cmd.Flags())
	x.until.add(cmd.Flags())
	cmd.Flags().BoolVar(&x.remove, "remove", false, "end the exemption")
	cmd.Flags().BoolVar(&show, "show", false, "print the exemptions")
	cmd.Flags().StringVar(&x.file, "import", "", "exempt what `FILE` lists, or - for standard input")
	cmd.Flags().StringVar(&x.format, "format", "", "`FORMAT` of the file to import: plain or misp")
	a.jsonFlag(cmd)
	return cmd
}

// exemptFlags are what exempt is told.
type exemptFlags struct {
	orderFlags

	until        untilFlags
	remove       bool
	file, format string
}

func (a *app) exempt(ctx context.Context, x *exemptFlags, args []string) error {
	items, err := a.exemptItems(x, args)
	if err != nil {
		return err
	}
	prefixes, err := parseAll(items, listing.ParsePrefix)
	if err != nil {
		return err
	}
	x.given, x.items = placesOf(items, prefixes), "exemptions"
	send, err := x.sender(prefixes)
	if err != nil {
		return err
	}
	// One prefix can hide any number of listings, so it is always tried first.
	return a.carryOut(ctx, x.orderFlags, largeChange+len(prefixes), send)
}

// exemptItems returns what is to be exempted, and the reason that a warning
// list brings along.
func (a *app) exemptItems(x *exemptFlags, args []string) ([]item, error) {
	switch {
	case x.file == "" && x.format != "":
		return nil, usageError("--format is of --import, which is missing")
	case x.file == "":
		return a.readArgs(args)
	case len(args) > 0:
		return nil, usageError("exempt: want --import or addresses, not both")
	case x.format == "plain":
		items, err := a.readList(x.file)
		if err == nil && len(items) == 0 {
			err = usageError("%s: lists nothing", x.file)
		}
		return items, err
	case x.format != "misp":
		return nil, usageError("--format %q: want plain or misp", x.format)
	}
	l, err := a.readWarningList(x.file)
	if err == nil && len(l.items) == 0 {
		err = usageError("%s: lists nothing", x.file)
	}
	if x.reason == "" && l.name != "" {
		x.reason = "MISP warning list: " + l.name
	}
	return l.items, err
}

func (x *exemptFlags) sender(prefixes []netip.Prefix) (sender, error) {
	if x.remove {
		return func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
			return c.Unexempt(ctx, control.UnexemptRequest{Order: o, Prefixes: prefixes})
		}, nil
	}
	imported := x.file != ""
	if imported && x.until.duration == "" {
		x.until.permanent = true
	}
	until, err := x.until.until(time.Now())
	if err != nil {
		return nil, err
	}
	exemptions := make([]listing.Exemption, len(prefixes))
	for i, p := range prefixes {
		exemptions[i] = listing.Exemption{Prefix: p, Reason: x.reason, Until: until, Observe: imported}
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
		switch {
		case e.BuiltIn:
			by = "built in"
		case e.Observe:
			by += ", observe only"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Prefix, until, by, e.Reason)
	}
	return w.Flush()
}
