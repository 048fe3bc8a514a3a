package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/daemon"
)

func (a *app) serveCommand() *cobra.Command {
	var demo bool
	cmd := &cobra.Command{
		Use:   "serve [--demo]",
		Short: "Run the daemon",
		Long: `Run the daemon: the DNS server, the SMTP trap, the web page with metrics, the
control socket and the scheduled exports, as the configuration says. Without a
configuration it runs on loopback with an empty list. SIGHUP or 'backscatter
reload' reads the configuration anew; SIGTERM and Ctrl-C end it in order.

--demo runs a server that can list documentation addresses, with a temporary
state, hands it a few sample bounces over SMTP, and prints what to try.`,
		Example: `  backscatter serve --demo
  backscatter serve --config /etc/backscatter/backscatter.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if demo {
				// A terminal that is closed must not leave the demonstration's state behind.
				ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
				defer stop()
				return daemon.Demo(ctx, version, newLogger(a.err, slog.LevelWarn, "text"), a.out)
			}
			return a.serve(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false, "run a demonstration with a temporary state")
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
	ctx, cancel := context.WithCancel(ctx)
	reloads := make(chan os.Signal, 1)
	signal.Notify(reloads, syscall.SIGHUP)
	defer signal.Stop(reloads)
	done := make(chan struct{})
	go func() { // ends with ctx; the function waits for it
		defer close(done)
		reloadOnSignal(ctx, d, reloads)
	}()
	err = d.Run(ctx, nil)
	cancel()
	<-done
	return err
}

// reloadOnSignal reloads for each SIGHUP. The daemon logs what came of it, as
// nobody waits for an answer.
func reloadOnSignal(ctx context.Context, d *daemon.Daemon, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			_, _ = d.Reload(ctx, listing.Actor{UID: -1, Name: "signal", Via: "SIGHUP"})
		}
	}
}

func newLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
