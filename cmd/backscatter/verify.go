package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) verifyCommand() *cobra.Command {
	var f orderFlags
	var check checkFlags
	var repair, drop bool
	cmd := &cobra.Command{
		Use:   "verify [FILE|DIR|HOST:PORT]",
		Short: "Say what is wrong with the store, an export or a live server",
		Long: `Read the whole store, or a backup in FILE, and say what is wrong with it: pages,
checksums, what is published against the records, the indexes and counts, the
journal, the chain of the audit, whose first break is named. Exit code 1 when
something is wrong.

A running daemon reads its store itself, and nothing is changed; a file is read
here, and its pages in a process of their own, since a damaged one can end it.

Of an export in a folder it checks signature, age and expiry, every file against the
manifest, and that a mirror can read it; of a live server, asked over the DNS, that it
has the zone, and its test points, and --against an export its serial, the number of
its entries, and samples of listed and unlisted addresses. The publisher and its own
mirrors tell how old their list is. Other servers do not; their age is known only
--against an export of the same serial, and with --max-age they fail without one.
Both print one line, for monitors.

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
			switch {
			case len(args) == 1 && isFolder(args[0]):
				return a.verifyExport(args[0], check, time.Now())
			case len(args) == 1 && isServer(args[0]):
				return a.verifyServer(cmd.Context(), args[0], check, time.Now())
			case len(args) == 1:
				return a.verifyFile(cmd.Context(), args[0])
			}
			return a.verify(cmd.Context())
		},
	}
	f.add(cmd.Flags())
	check.add(cmd.Flags())
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
		return &codeError{exitFailed, fmt.Errorf("%s is damaged, faults found: %d; %s", what, n, wayOut(v))}
	}
	if a.asJSON {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s is whole: %d published entries at serial %d, %d records, %d observations, %d changes in the journal, %d entries in the audit\n",
		what, v.Entries, listing.SerialOf(v.Sequence), v.Records, v.Observations, v.Journal, v.Audit)
	return err
}

// wayOut says what to do about damage.
func wayOut(v listing.Verdict) string {
	way := "'verify --repair' mends it, with no daemon running"
	for _, d := range v.Damage {
		switch {
		case d.Part == "pages" && d.Repair == "":
			return "restore a backup"
		case d.Repair == "":
			way = "restore a backup; without one, 'verify --repair --drop' takes out what cannot be read"
		}
	}
	return way
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
