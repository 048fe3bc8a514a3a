package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/daemon"
)

func (a *app) serveCommand() *cobra.Command {
	var demo bool
	var mirror string
	cmd := &cobra.Command{
		Use:   "serve [--mirror DIR|PRIMARY:PORT[,…]|--demo]",
		Short: "Run the daemon",
		Long: `Run the daemon: the DNS server, the SMTP trap, the web page with metrics, the
control socket and the scheduled exports, as the configuration says. Without a
configuration it runs on loopback with an empty list. SIGHUP or 'backscatter
reload' reads the configuration anew; SIGTERM and Ctrl-C end it in order. SIGUSR2
or 'backscatter restart' executes the program anew, with its DNS sockets.

--mirror answers, with no store and no intake, from a folder that rsync or anything
else copies an export into. It goes over to what the publisher has signed
(mirror.key), whole, newer than what it has and not expired, and keeps what it has
until then. With addresses of primaries in place of a folder it takes the zone
(mirror.zone) from them as a secondary does: AXFR, then IXFR as they tell of changes,
signed with mirror.transfer_key. SIGHUP or 'backscatter reload' has it look at once
and opens its log of questions anew; a changed configuration needs a restart.

--demo runs a server that can list documentation addresses, with a temporary
state, hands it a few sample bounces over SMTP, and prints what to try.`,
		Example: `  backscatter serve --demo
  backscatter serve --config /etc/backscatter/backscatter.yaml
  backscatter serve --config /etc/backscatter/backscatter.yaml --mirror mirrored
  backscatter serve --config /etc/backscatter/backscatter.yaml --mirror 127.0.0.1:5311`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch isMirror := cmd.Flags().Changed("mirror"); {
			case demo && isMirror:
				return usageError("serve: want --mirror or --demo, not both")
			case isMirror && mirror == "": // what a script did not set must not start a publisher
				return usageError("serve --mirror: want a folder, or primaries as ADDRESS:PORT,…")
			}
			if demo {
				// A terminal that is closed must not leave the demonstration's state behind.
				ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
				defer stop()
				return daemon.Demo(ctx, version, newLogger(a.err, slog.LevelWarn, "text"), a.out)
			}
			if mirror != "" {
				return a.serveMirror(cmd.Context(), mirror)
			}
			return a.serve(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false, "run a demonstration with a temporary state")
	cmd.Flags().StringVar(&mirror, "mirror", "", "answer from the export that is copied into `DIR`, or from what primaries have (ADDRESS:PORT,…)")
	return cmd
}

func (a *app) serve(ctx context.Context) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	logger := newLogger(a.err, c.LogLevel(), c.Log.Format)
	for _, warning := range c.Warnings() {
		logger.Warn("configuration", "warning", warning)
	}
	d, err := daemon.New(daemon.Options{
		Config: c, Load: func() (*config.Config, error) { return config.Load(a.configFile) },
		Version: version, Logger: logger,
	})
	if err != nil {
		return err
	}
	makeRoom(d.Threads())
	err = runWithSignals(ctx, func(ctx context.Context) error { return d.Run(ctx, nil) }, map[os.Signal]func(context.Context){
		// The daemon logs what came of them, as nobody waits for an answer.
		syscall.SIGHUP: func(ctx context.Context) {
			_, _ = d.Reload(ctx, listing.Actor{UID: -1, Name: "signal", Via: "SIGHUP"})
		},
		syscall.SIGUSR2: func(ctx context.Context) {
			_ = d.Restart(ctx, listing.Actor{UID: -1, Name: "signal", Via: "SIGUSR2"})
		},
	})
	return succeed(ctx, err, &d.Successor)
}

// succeed executes the program anew if that is what ended a daemon, and nobody
// wants the end of it in the meantime.
func succeed(ctx context.Context, err error, next *daemon.Successor) error {
	switch {
	case !errors.Is(err, daemon.ErrRestart):
		return err
	case ctx.Err() != nil:
		return nil //nolint:nilerr // it was to restart, and then to stop
	default:
		return next.Exec()
	}
}

// runWithSignals runs a daemon, and meanwhile does for each signal what it is for.
func runWithSignals(ctx context.Context, run func(context.Context) error, do map[os.Signal]func(context.Context)) error {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, slices.Collect(maps.Keys(do))...)
	defer signal.Stop(signals)
	done := make(chan struct{})
	go func() { // ends with ctx; the function waits for it
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case which := <-signals:
				do[which](ctx)
			}
		}
	}()
	err := run(ctx)
	cancel()
	<-done
	return err
}

// makeRoom lets Go's scheduler run so many goroutines more at a time. Those that
// answer over UDP sit on threads of their own, mostly asleep in the kernel. If
// they counted among the few that may run, the scheduler would take their places
// away for every sleep, and they would have to wait for them afterwards; this
// costs a third of a busy server's time.
func makeRoom(threads int) { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + threads) }

func (a *app) serveMirror(ctx context.Context, from string) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	if err := checkMirror(c, from); err != nil {
		return err
	}
	m, err := daemon.NewMirror(daemon.MirrorOptions{
		Config: c, Load: func() (*config.Config, error) { return config.Load(a.configFile) },
		From: from, Version: version, Logger: newLogger(a.err, c.LogLevel(), c.Log.Format),
	})
	if err != nil {
		return err
	}
	makeRoom(m.Threads())
	err = runWithSignals(ctx, func(ctx context.Context) error { return m.Run(ctx, nil) }, map[os.Signal]func(context.Context){
		syscall.SIGHUP: func(ctx context.Context) {
			_, _ = m.Reload(ctx, listing.Actor{UID: -1, Name: "signal", Via: "SIGHUP"})
		},
		syscall.SIGUSR2: func(ctx context.Context) {
			_ = m.Restart(ctx, listing.Actor{UID: -1, Name: "signal", Via: "SIGUSR2"})
		},
	})
	return succeed(ctx, err, &m.Successor)
}

func newLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
