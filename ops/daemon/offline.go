package daemon

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"backscatter/ops/config"
	"backscatter/ops/control"
)

// Offline opens the store that no daemon holds and runs work with a client of
// it. The error wraps listing.ErrLocked when a process does hold it.
func Offline(ctx context.Context, c *config.Config, version string, work func(*control.Client) error) (err error) {
	k, err := openCore(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.store.Close()) }()
	server := control.NewServer(control.Options{
		Store: k.store, Sink: k.desk, Zones: k.zones, Reporter: k.reporter, RotateKey: k.rotateKey,
		Status: func() control.Status {
			return control.Status{Version: version, NotReady: []string{"no daemon is running"}, Warnings: c.Warnings()}
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	client := control.Local(server, control.LocalActor("offline"))
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.store.Run(ctx) })
	g.Go(func() error {
		defer cancel() // ends the writer
		return work(client)
	})
	return g.Wait()
}
