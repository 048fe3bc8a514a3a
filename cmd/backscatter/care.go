package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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
					return c.Backup(cmd.Context(), a.out, func(int64, int64) {})
				}
				return a.backupFile(cmd.Context(), c, output, withKey)
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "`FILE` to write, or - for standard output (required)")
	cmd.Flags().BoolVar(&withKey, "with-key", false, "write the recipients' keys to FILE.keys")
	return cmd
}

// backupFile writes beside the file, checks what it wrote, and only then gives
// it the name.
func (a *app) backupFile(ctx context.Context, c *control.Client, name string, withKey bool) error {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("backup to %s: %w", name, err)
	}
	defer func() { _ = f.Cleanup() }() // after the rename there is nothing to clean up
	bar := a.bytesBar("backup")
	err = c.Backup(ctx, f, bar.tell)
	bar.done()
	if err != nil {
		return err
	}
	v, err := listing.Check(f.Name())
	if err != nil {
		return fmt.Errorf("backup to %s: %w", name, err)
	}
	if len(v.Damage) > 0 {
		return fmt.Errorf("backup to %s: the store is damaged, and no backup was written: %s; see 'backscatter verify'", name, v.Damage[0])
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("backup to %s: %w", name, err)
	}
	if withKey {
		if err := a.backupKeys(name + ".keys"); err != nil {
			return err
		}
	}
	if err := syncFolder(name); err != nil {
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
	if err := renameio.WriteFile(name, text, 0o600); err != nil {
		return fmt.Errorf("backup of the recipients' keys: %w", err)
	}
	return nil
}

func syncFolder(name string) error {
	dir, err := os.Open(filepath.Dir(name))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("sync the folder of %s: %w", name, err)
	}
	return nil
}

// bytesBar is a progress bar on a terminal, and nothing elsewhere.
type bytesBar struct{ bar *progressbar.ProgressBar }

func (a *app) bytesBar(what string) *bytesBar {
	if !isTerminal(a.err) {
		return &bytesBar{}
	}
	return &bytesBar{progressbar.NewOptions64(-1,
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(a.err), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish())}
}

func (b *bytesBar) tell(done, total int64) {
	if b.bar != nil {
		b.bar.ChangeMax64(max(total, 1))
		_ = b.bar.Set64(min(done, total)) // a bar that cannot be drawn is no reason to stop
	}
}

func (b *bytesBar) done() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}

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
		return fmt.Errorf("%s: a daemon runs at %s and has the store; stop it first", what, socket)
	}
	return nil
}

func (a *app) verifyCommand() *cobra.Command {
	var f orderFlags
	var repair, drop bool
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Read the whole store and say what is wrong with it",
		Long: `Read the whole store, or a backup in FILE, and say what is wrong with it: pages,
checksums, what is published against the records, the indexes and counts, the
journal, the chain of the audit, whose first break is named. Exit code 1 when
something is wrong.

A running daemon reads its store itself, and nothing is changed; a file is read
here, and its pages in a process of their own, since a damaged one can end it.

--repair makes anew, with no daemon running, what can be derived: the expiry index,
the identities, counts, digest; it begins a broken journal anew. Where that is not
enough, restore a backup; without one, --drop takes out what cannot be read.`,
		Example: `  backscatter verify
  backscatter verify store.backup --json`,
		Args: atMostOneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if repair || drop {
				return a.repair(cmd.Context(), f, drop, args)
			}
			if len(args) == 1 {
				return a.verifyFile(cmd.Context(), args[0])
			}
			return a.verify(cmd.Context())
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().Lookup("reason").Usage = "why, for the audit (required with --repair)"
	cmd.Flags().BoolVar(&repair, "repair", false, "make anew what can be derived")
	cmd.Flags().BoolVar(&drop, "drop", false, "with --repair: take out what cannot be read")
	a.jsonFlag(cmd)
	cmd.AddCommand(a.verifyPagesCommand())
	return cmd
}

// verify asks the daemon, or reads the store when there is none.
func (a *app) verify(ctx context.Context) error {
	socket, err := a.loadSocketConfig()
	if err != nil {
		return err
	}
	client := control.Dial(socket)
	defer client.Close()
	v, err := client.Verify(ctx)
	if err == nil {
		return a.printVerdict("the daemon's store", v)
	}
	if !errors.Is(err, control.ErrUnreachable) || a.socket != "" {
		return err
	}
	path, err := a.storePath()
	if err != nil {
		return err
	}
	return a.verifyFile(ctx, path)
}

func (a *app) verifyFile(ctx context.Context, path string) error {
	v, err := listing.Check(path)
	if err != nil {
		return err
	}
	damage, err := checkPages(ctx, path)
	if err != nil {
		return err
	}
	v.Damage = append(v.Damage, damage...)
	return a.printVerdict(path, v)
}

func (a *app) repair(ctx context.Context, f orderFlags, drop bool, args []string) error {
	order, err := f.order()
	if err != nil {
		return err
	}
	var path string
	if len(args) == 1 {
		path = args[0]
	} else if path, err = a.storePath(); err == nil {
		err = a.refuseRunning(ctx, "verify --repair")
	}
	if err != nil {
		return err
	}
	if drop && !f.yes && !f.dryRun {
		if err := a.confirm("this takes out of " + path + " what cannot be read; go on"); err != nil {
			return err
		}
	}
	by := listing.Order{By: control.LocalActor("offline"), Reason: order.Reason, DryRun: order.DryRun}
	before, err := listing.Repair(ctx, path, by, drop)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.printVerdict(path, before)
	}
	if !a.asJSON {
		for _, d := range before.Damage {
			fmt.Fprintf(a.out, "was: %s\n", d)
		}
	}
	return a.verifyFile(ctx, path)
}

func (a *app) printVerdict(what string, v listing.Verdict) error {
	switch {
	case a.asJSON:
		if err := a.printJSON(v); err != nil {
			return err
		}
	default:
		for _, d := range v.Damage {
			fmt.Fprintln(a.out, printable(d.String()))
			if d.Repair != "" {
				fmt.Fprintf(a.out, "    can be repaired: %s\n", d.Repair)
			}
		}
		if v.More > 0 {
			fmt.Fprintf(a.out, "and %d more\n", v.More)
		}
	}
	if n := len(v.Damage) + v.More; n > 0 {
		return &codeError{exitFailed, fmt.Errorf("%s is damaged: %d things are wrong with it", what, n)}
	}
	if a.asJSON {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s is whole: %d published entries at serial %d, %d records, %d observations, %d changes in the journal, %d entries in the audit\n",
		what, v.Entries, listing.SerialOf(v.Sequence), v.Records, v.Observations, v.Journal, v.Audit)
	return err
}

// maxPageDamage bounds what is read of the other process.
const maxPageDamage = 64 << 10

// checkPages has another process check the pages of a file, so that whatever
// that does to it is a finding.
func checkPages(ctx context.Context, path string) ([]listing.Damage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("check pages: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "verify", "pages", "--", path)
	var out limitedBuilder
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &ended):
		return nil, fmt.Errorf("check pages: %w", err)
	case ended.ExitCode() != exitFailed:
		return []listing.Damage{{Part: "pages", What: "they cannot even be walked through: " + firstLine(out.String())}}, nil
	}
	var damage []listing.Damage
	for line := range strings.Lines(out.String()) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), pagePrefix); ok {
			damage = append(damage, listing.Damage{Part: "pages", What: what})
		}
	}
	if len(damage) == 0 {
		return nil, fmt.Errorf("check pages: %s", firstLine(out.String()))
	}
	return damage, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// limitedBuilder keeps the beginning of what is written.
type limitedBuilder struct{ strings.Builder }

func (b *limitedBuilder) Write(p []byte) (int, error) {
	if room := maxPageDamage - b.Len(); room > 0 {
		b.Builder.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// pagePrefix begins each line that tells of damage.
const pagePrefix = "page: "

func (a *app) verifyPagesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "pages FILE",
		Short:   "Check the pages of a store (verify runs this in a process of its own)",
		Hidden:  true,
		Example: `  backscatter verify pages store.backup`,
		Args:    exactArgs(1, "one file"),
		RunE: func(_ *cobra.Command, args []string) error {
			n := 0
			err := listing.CheckPages(args[0], func(what error) {
				n++
				fmt.Fprintf(a.out, "%s%s\n", pagePrefix, what)
			})
			if err == nil && n > 0 {
				err = fmt.Errorf("%d pages are damaged", n)
			}
			return err
		},
	}
}

func (a *app) compactCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compact [FILE]",
		Short: "Write the store anew without the space that is free in it",
		Long: `Write the store, or a backup in FILE, anew with full pages and nothing free
between them, compare the copy with it, and exchange the two. No daemon may run:
the store grows back what it needs, so this is worth it after much was dropped.`,
		Example: `  backscatter compact store.backup`,
		Args:    atMostOneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			var path string
			var err error
			if len(args) == 1 {
				path = args[0]
				_, err = os.Stat(path)
			} else if path, err = a.storePath(); err == nil {
				err = a.refuseRunning(cmd.Context(), "compact")
			}
			if err != nil {
				return err
			}
			return a.compact(cmd.Context(), path)
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) compact(ctx context.Context, path string) error {
	bar := a.bytesBar("compact")
	r, err := listing.Compact(ctx, path, bar.tell)
	bar.done()
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(r)
	}
	_, err = fmt.Fprintf(a.out, "%s: %d bytes, was %d\n", path, r.After, r.Before)
	return err
}
