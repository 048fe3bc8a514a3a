package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) listingsCommand() *cobra.Command {
	var class, within, by string
	var limit int
	cmd := &cobra.Command{
		Use:   "listings [--class C] [--within PREFIX] [--by evidence|operator]",
		Short: "Print what is listed",
		Long: `Print what is listed, in the order of the addresses: since when, until when, by
evidence or by an operator. A listing that an exemption hides, or that a wider one
covers, is marked as not published.`,
		Example: `  backscatter listings --within 192.0.2.0/24
  backscatter listings --class notice --by evidence --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := listingsRequest(class, within, by)
			if err := errors.Join(err, checkCount("--limit", limit)); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				return a.printListings(cmd.Context(), c, r, limit)
			})
		},
	}
	cmd.Flags().StringVar(&class, "class", "", "only `CLASS`: bounce, notice, autoreply, challenge, callout or manual")
	cmd.Flags().StringVar(&within, "within", "", "only inside `PREFIX`")
	cmd.Flags().StringVar(&by, "by", "", "only those by `WHOM`: evidence or operator")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N` (default: all)")
	a.jsonFlag(cmd)
	return cmd
}

func listingsRequest(class, within, by string) (control.ListingsRequest, error) {
	var r control.ListingsRequest
	if by != "" && by != "evidence" && by != "operator" {
		return r, usageError("--by %q: want evidence or operator", by)
	}
	err := r.By.UnmarshalText([]byte(by))
	if err != nil {
		return r, usageError("--by: %w", err)
	}
	if class != "" {
		if r.Class, err = listing.ParseClass(class); err != nil {
			return r, usageError("--class: %w", err)
		}
	}
	if within != "" {
		if r.Within, err = listing.ParsePrefix(within); err != nil {
			return r, usageError("--within: %w", err)
		}
	}
	return r, nil
}

func checkCount(flag string, n int) error {
	if n < 0 {
		return usageError("%s %d: want 0 or more", flag, n)
	}
	return nil
}

// printListings prints page by page, so that a long list needs no memory. As
// JSON it is one object a line.
func (a *app) printListings(ctx context.Context, c *control.Client, r control.ListingsRequest, limit int) error {
	// The table is written in many small pieces, which are put together here.
	out := bufio.NewWriterSize(a.out, 64<<10)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if !a.asJSON {
		fmt.Fprintln(w, "KEY\tCLASS\tBY\tEVENTS\tSINCE\tUNTIL\tNOTE")
	}
	for printed := 0; ; {
		r.Limit = control.MaxPage
		if limit > 0 {
			r.Limit = min(limit-printed, r.Limit)
		}
		page, err := c.Listings(ctx, r)
		if err != nil {
			return err
		}
		for _, l := range page.Listings {
			if err := a.printListing(w, l); err != nil {
				return err
			}
		}
		if err := errors.Join(w.Flush(), out.Flush()); err != nil {
			return fmt.Errorf("write the listings: %w", err)
		}
		printed += len(page.Listings)
		if page.Next == nil || limit > 0 && printed >= limit {
			return nil
		}
		r.After = *page.Next
	}
}

func (a *app) printListing(w io.Writer, l listing.Listing) error {
	if a.asJSON {
		return a.printJSONLine(l)
	}
	until, note := "permanent", l.Reason
	if !l.Until.IsZero() {
		until = stamp(l.Until)
	}
	switch {
	case l.CoveredBy != nil:
		note = strings.TrimSpace("covered by " + l.CoveredBy.String() + " " + note)
	case !l.Published:
		note = strings.TrimSpace("hidden by an exemption " + note)
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", l.Key, l.Class, l.By, l.Events, stamp(l.Since), until, printable(note))
	return err
}

func (a *app) auditCommand() *cobra.Command {
	var within string
	var after uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "audit [--within PREFIX] [--after N] [--limit N]",
		Short: "Print who changed what, and why",
		Long: `Print the audit, oldest first: every listing and its end, every order of an
operator with the user who gave it, and why.`,
		Example: `  backscatter audit --within 192.0.2.66
  backscatter audit --limit 5 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkCount("--limit", limit); err != nil {
				return err
			}
			r := control.AuditRequest{After: after}
			if within != "" {
				var err error
				if r.Within, err = listing.ParsePrefix(within); err != nil {
					return usageError("--within: %w", err)
				}
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				return a.printAudit(cmd.Context(), c, r, limit)
			})
		},
	}
	cmd.Flags().StringVar(&within, "within", "", "only what is about an address in `PREFIX`, or about a prefix around it")
	cmd.Flags().Uint64Var(&after, "after", 0, "only entries after number `N`")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N` (default: all)")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) printAudit(ctx context.Context, c *control.Client, r control.AuditRequest, limit int) error {
	for printed := 0; ; {
		r.Limit = control.MaxPage
		if limit > 0 {
			r.Limit = min(limit-printed, r.Limit)
		}
		page, err := c.Audit(ctx, r)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := a.printAuditEntry(e); err != nil {
				return err
			}
		}
		printed += len(page.Entries)
		if page.Next == 0 || limit > 0 && printed >= limit {
			return nil
		}
		r.After = page.Next
	}
}

func (a *app) exportCommand() *cobra.Command {
	var format, zone, output, since string
	cmd := &cobra.Command{
		Use:   "export --format F|--since SERIAL [--zone Z] [--output FILE]",
		Short: "Write the list as a file",
		Long: `Write the list as it is published now, to standard output or durably to a file
(written beside it, synced, then renamed). Formats: ip4set, ip6trie and combined
(both, with a sub-zone for each class) for rbldnsd; zone for BIND, NSD, Knot and
others; txt for firewalls and scripts; jsonl, an object a line; removals, what left
the list in the past 30 days and when, for those who keep answers for long.

--since writes what was removed, added and changed since a serial, as an object a
line; the last one has the serial to begin with next time. When that is too long ago
(journal.keep), or too much changed, it fails, and the whole list is to be taken.`,
		Example: `  backscatter export --format ip4set
  backscatter export --format zone --zone bl.example --output bl.example.zone
  backscatter export --format removals`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write := func(c *control.Client, w io.Writer) error {
				return c.Export(cmd.Context(), control.ExportRequest{Format: format, Zone: zone}, w)
			}
			if since != "" {
				serial, err := strconv.ParseUint(since, 10, 32)
				if err != nil || format != "" {
					return usageError("export: want --since with a serial, and without --format")
				}
				write = func(c *control.Client, w io.Writer) error {
					return c.ExportSince(cmd.Context(), zone, uint32(serial), w)
				}
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				if output == "" || output == "-" {
					return write(c, a.out)
				}
				return writeDurably("export", output, func(f *os.File) error { return write(c, f) },
					renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`FORMAT`: ip4set, ip6trie, combined, zone, txt, jsonl or removals (required without --since)")
	cmd.Flags().StringVar(&since, "since", "", "write what changed since `SERIAL`, which you have")
	cmd.Flags().StringVar(&zone, "zone", "", "`ZONE` to write (default: the only or first one)")
	cmd.Flags().StringVar(&output, "output", "", "write to `FILE` instead of standard output")
	cmd.AddCommand(a.keygenCommand(), a.acceptCommand())
	return cmd
}

func (a *app) importCommand() *cobra.Command {
	var f orderFlags
	var u untilFlags
	var format, as string
	var skipBad bool
	cmd := &cobra.Command{
		Use:   "import --format F --reason WHY (--for LONG|--permanent) FILE|-",
		Short: "List by hand what a file holds",
		Long: `List by hand, with class manual, what a list in a file or on standard input
holds. Formats: txt (an address or prefix a line); ip4set, ip4tset, ip4trie, ip6trie
and combined (rbldnsd's); zone (a master file, of hosts and wildcards); jsonl (as
export writes it). Lines that cannot be taken are all reported, and then nothing is
changed, unless --skip-bad says to go on.

--as exemptions keeps what the file holds from ever being listed instead, up to
prefixes as wide as a large provider; such exemptions are observe-only and take the
place of none that an operator set by hand.`,
		Example: `  printf '192.0.2.7\n192.0.2.8\n' | backscatter import --format txt --reason "list of a friend" --for 168h -
  printf '203.0.112.0/20\n' | backscatter import --as exemptions --format txt --reason "a provider" --permanent --yes -`,
		Args: exactArgs(1, "one file, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := u.until(time.Now())
			if err != nil {
				return err
			}
			body, done, err := a.rereadable(args[0])
			if err != nil {
				return err
			}
			defer done()
			f.items = "entries"
			// How many keys the file holds is known only when it was read.
			return a.carryOut(cmd.Context(), f, largeChange+1, func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				if _, err := body.Seek(0, io.SeekStart); err != nil {
					return control.OrderResult{}, fmt.Errorf("read %s: %w", args[0], err)
				}
				// A request closes its body; the file is read again for the next.
				return c.Import(ctx, control.ImportRequest{Order: o, Format: format, Until: until, As: as, SkipBad: skipBad}, io.NopCloser(body))
			})
		},
	}
	f.add(cmd.Flags())
	u.add(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", "", "`FORMAT`: txt, ip4set, ip4tset, ip4trie, ip6trie, combined, zone or jsonl (required)")
	cmd.Flags().StringVar(&as, "as", control.AsListings, "what to make of it: `WHAT` is listings or exemptions")
	cmd.Flags().BoolVar(&skipBad, "skip-bad", false, "leave out the lines that cannot be taken, and print them")
	a.jsonFlag(cmd)
	return cmd
}

// rereadable opens a file to be read more than once, each time as long as it is now:
// of one that grows meanwhile nothing is imported that was not counted. What is no
// plain file, as standard input, is copied to a temporary one first.
func (a *app) rereadable(name string) (body io.ReadSeeker, done func(), err error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, fmt.Errorf("import: %w", err)
		}
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() {
			return io.NewSectionReader(f, 0, info.Size()), func() { f.Close() }, nil
		}
		defer f.Close()
		if err == nil && info.IsDir() {
			return nil, nil, usageError("import: %s is a folder; name a file in it", name)
		}
		in = f
	}
	copied, err := os.CreateTemp("", "backscatter-import-")
	if err != nil {
		return nil, nil, fmt.Errorf("import: keep what is read: %w", err)
	}
	done = func() {
		copied.Close()
		_ = os.Remove(copied.Name()) // a temporary file that stays behind harms nobody
	}
	n, err := io.Copy(copied, io.LimitReader(in, control.MaxOrderBytes+1))
	if err == nil && n > control.MaxOrderBytes {
		err = fmt.Errorf("more than %d bytes; import it in parts", control.MaxOrderBytes)
	}
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("import: read %s: %w", name, err)
	}
	return copied, done, nil
}
