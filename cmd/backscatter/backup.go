package main

import (
	"context"
	"fmt"
	"os"

	"github.com/google/renameio/v2"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

func (a *app) backupCommand() *cobra.Command {
	var output string
	var withKey bool
	cmd := &cobra.Command{
		Use:   "backup --output FILE|-",
		Short: "Back the store up while the daemon goes on",
		Long: `Write the store as it is at this moment, to a file (beside it, checked, synced,
then renamed) or to standard output. The daemon goes on meanwhile.

What is in it: the listings, what they rest on, the journal and the audit. What
is not: the configuration, and the keys under which recipients are hashed. Without
the keys a backup does not tell whether an address is a trap; with --with-key they
are written beside it, to FILE.keys, for who restores to another machine. Keep the
two in different places.`,
		Example: `  backscatter backup --output store.backup
  backscatter backup --output - | gzip > store.backup.gz`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output == "":
				return usageError("--output is required: a file, or - for standard output")
			case output == "-" && isTerminal(a.out):
				return usageError("--output -: a backup is no text for a terminal; redirect it, or name a file")
			case output == "-" && withKey:
				return usageError("--with-key: the keys go to a file beside the backup; name one")
			}
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				if output == "-" {
					bar := a.progressBeside("backup", progressbar.OptionShowBytes(true))
					defer bar.done()
					return c.Backup(cmd.Context(), a.out, bar.tell)
				}
				return a.backupFile(cmd.Context(), c, output, withKey)
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "`FILE` to write, or - for standard output (required)")
	cmd.Flags().BoolVar(&withKey, "with-key", false, "write the recipients' keys to FILE.keys")
	return cmd
}

// backupFile checks what it wrote before that gets the name.
func (a *app) backupFile(ctx context.Context, c *control.Client, name string, withKey bool) error {
	var v listing.Verdict
	err := writeDurably("backup", name, func(f *os.File) (err error) {
		bar := a.progressOf("backup", progressbar.OptionShowBytes(true))
		err = c.Backup(ctx, f, bar.tell)
		bar.done()
		if err != nil {
			return err
		}
		if v, err = listing.Check(f.Name()); err != nil {
			return fmt.Errorf("backup to %s: %w", name, err)
		}
		if len(v.Damage) > 0 {
			return fmt.Errorf("backup to %s: the store is damaged, and no backup was written: %s; see 'backscatter verify'", name, v.Damage[0])
		}
		return nil
	}, renameio.WithPermissions(0o600))
	if err == nil && withKey {
		err = a.backupKeys(name + ".keys")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: %d records, %d observations, serial %d\n", name, v.Records, v.Observations, listing.SerialOf(v.Sequence))
	return err
}

func (a *app) backupKeys(name string) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(daemon.KeyFile(c.State))
	if err != nil {
		return fmt.Errorf("backup of the recipients' keys: %w; run this as the daemon's user", err)
	}
	return writeDurably("backup of the recipients' keys", name, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	}, renameio.WithPermissions(0o600))
}
