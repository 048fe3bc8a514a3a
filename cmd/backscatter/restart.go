package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"backscatter/ops/control"
)

func (a *app) restartCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "restart [--wait D]",
		Short: "Have the daemon executed anew, without losing a question",
		Long: `Have the daemon execute its program anew, as after an update of the package or a
change of the configuration that needs a restart. It goes on in the same process
with the DNS sockets that it has, in which waits what is asked in between. A program
that does not start with the configuration is found out before anything ends.

TCP connections are made anew. The number of UDP sockets stays as it is.`,
		Example: "  backscatter restart",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			socket, err := a.loadSocketConfig()
			if err != nil {
				return err
			}
			return a.restart(cmd.Context(), socket, wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 2*time.Minute, "how `long` to wait until it is ready again")
	return cmd
}

// restart asks for a restart, and waits for the next life of the daemon.
func (a *app) restart(ctx context.Context, socket string, wait time.Duration) error {
	client := control.Dial(socket)
	before, err := client.Status(ctx)
	if err == nil {
		err = client.Restart(ctx)
	}
	client.Close()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("restart: the daemon is not ready after %s; its log tells why", wait)
		case <-time.After(50 * time.Millisecond):
		}
		client := control.Dial(socket)
		now, err := client.Status(ctx) // an error is that nobody is there yet
		client.Close()
		if err == nil && now.Ready && now.Started.After(before.Started) {
			_, err := fmt.Fprintf(a.out, "restarted; version %s is ready\n", now.Version)
			return err
		}
	}
}
