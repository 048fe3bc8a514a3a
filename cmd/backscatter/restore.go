package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

func (a *app) restoreCommand() *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:   "restore --reason WHY FILE",
		Short: "Put a backup in the place of the store",
		Long: `Put a backup in the place of the store, with no daemon running. The backup is
copied beside the store, checked completely, and brought to this program's schema;
only then are the two exchanged. The former store stays beside it, under another
name. The serial moves on from where it was, and secondaries fetch the whole zone.

FILE.keys, if 'backup --with-key' wrote it, is put in its place by hand, as
recipients.key in the state folder.`,
		Example: `  backscatter restore store.backup --reason 'moved to a new disk' --dry-run`,
		Args:    exactArgs(1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			order, err := f.order()
			if err != nil {
				return err
			}
			path, err := a.storePath()
			if err != nil {
				return err
			}
			if !f.dryRun {
				if err := a.refuseRunning(cmd.Context(), "restore"); err != nil {
					return err
				}
			}
			return a.restore(cmd.Context(), args[0], path, f, order)
		},
	}
	f.add(cmd.Flags())
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) restore(ctx context.Context, from, path string, f orderFlags, order control.Order) error {
	if f.dryRun {
		v, err := listing.Check(from)
		if err != nil {
			return err
		}
		return a.printVerdict(from, v)
	}
	if _, err := os.Stat(path); err == nil && !f.yes {
		if err := a.confirm(fmt.Sprintf("this puts %s in the place of the store %s, which is kept under another name; go on", from, path)); err != nil {
			return err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	r, err := listing.Restore(ctx, from, path, listing.Order{By: control.LocalActor("offline"), Reason: order.Reason})
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.out, "%s: restored %d records and %d observations, at serial %d\n", path, r.Records, r.Observations, listing.SerialOf(r.Sequence))
	if r.Kept != "" {
		fmt.Fprintf(a.out, "the former store is %s\n", r.Kept)
	}
	return nil
}

// storePath is where the configuration has the store.
func (a *app) storePath() (string, error) {
	c, err := a.loadConfig()
	if err != nil {
		return "", err
	}
	return filepath.Join(c.State, daemon.StoreName), nil
}

// refuseRunning refuses what cannot be done under a daemon. The store's lock
// would, too, in fewer words.
func (a *app) refuseRunning(ctx context.Context, what string) error {
	socket, err := a.loadSocketConfig()
	if err != nil {
		return err
	}
	client := control.Dial(socket)
	defer client.Close()
	if err := client.Ping(ctx); err == nil || !errors.Is(err, control.ErrUnreachable) {
		return fmt.Errorf("%s: a daemon runs at %s and has the store; stop it first, such as by 'systemctl stop backscatter', and do this again", what, socket)
	}
	return nil
}
