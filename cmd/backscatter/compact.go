package main

import (
	"context"
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) compactCommand() *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:   "compact --reason WHY [FILE]",
		Short: "Write the store anew without the space that is free in it",
		Long: `Write the store, or a backup in FILE, anew with full pages and nothing free
between them, compare the copy with it, and exchange the two. The daemon goes on
meanwhile: DNS notices nothing, and reports wait for the exchange, some
milliseconds. The disk must hold both for as long as it takes.

The store grows back what it needs, so this is worth it after much was dropped;
--dry-run tells how much is free.`,
		Example: `  backscatter compact --reason 'a year of observations went' --dry-run
  backscatter compact store.backup --reason 'to keep it for long'`,
		Args: atMostOneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			order, err := f.order()
			if err != nil {
				return err
			}
			bar := a.progressOf("compact", progressbar.OptionShowBytes(true))
			what, out := "the store", listing.Compacted{}
			if len(args) == 1 {
				what = args[0]
				out, err = compactFile(cmd.Context(), args[0], order, bar)
			} else {
				err = a.withClient(cmd.Context(), func(c *control.Client) error {
					out, err = c.Compact(cmd.Context(), order, func(p control.Progress) { bar.tell(int64(p.Done), int64(p.Total)) })
					return err
				})
			}
			bar.done()
			if err != nil {
				return err
			}
			return a.printCompacted(what, out)
		},
	}
	f.addWhy(cmd.Flags())
	a.jsonFlag(cmd)
	return cmd
}

// compactFile compacts a file that no daemon has; a store that is none is not
// made.
func compactFile(ctx context.Context, name string, o control.Order, bar *progress) (listing.Compacted, error) {
	if _, err := os.Stat(name); err != nil {
		return listing.Compacted{}, fmt.Errorf("compact: %w", err)
	}
	return listing.Compact(ctx, name, listing.Order{By: control.LocalActor("offline"), Reason: o.Reason, DryRun: o.DryRun}, bar.tell)
}

func (a *app) printCompacted(what string, r listing.Compacted) error {
	if a.asJSON {
		return a.printJSON(r)
	}
	var err error
	if r.DryRun {
		_, err = fmt.Fprintf(a.out, "%s: %d bytes, of which %d hold nothing\n", what, r.Before, r.Free)
	} else {
		_, err = fmt.Fprintf(a.out, "%s: %d bytes, was %d\n", what, r.After, r.Before)
	}
	return err
}
