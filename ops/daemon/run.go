package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// stage is a group of parts that start together and stop together.
type stage struct {
	name  string
	parts []func(context.Context) error
}

// maxWebClients bounds the connections to the public page: whoever holds more
// must not take the file descriptors that DNS over TCP and the trap need.
const maxWebClients = 512

// stages lists the parts in the order of their start; they stop in the other.
func (d *Daemon) stages() []stage {
	work := stage{name: "control, web and exports", parts: []func(context.Context) error{
		func(ctx context.Context) error { return serveHTTP(ctx, d.control.HTTP(), d.controlL) },
	}}
	if d.webL != nil {
		public := netutil.LimitListener(d.webL, maxWebClients)
		work.parts = append(work.parts, func(ctx context.Context) error { return serveHTTP(ctx, d.web.HTTP(), public) })
	}
	work.parts = append(work.parts, d.notifier.Run)
	for _, p := range d.publishers {
		work.parts = append(work.parts, p.Run)
	}
	intake := stage{name: "intake", parts: d.serveSensors()}
	return []stage{
		{name: "store", parts: []func(context.Context) error{d.store.Run}},
		{name: "dns", parts: []func(context.Context) error{d.dns.Serve}},
		work,
		intake,
	}
}

// Run serves until ctx ends or a part fails, then stops everything in order
// and closes the store. It is called once. Ready, if not nil, is called as soon
// as everything runs. It returns [ErrRestart] for a restart in place.
func (d *Daemon) Run(ctx context.Context, ready func()) error {
	failed := make(chan error, 1)
	var running []runningStage
	for _, s := range d.stages() {
		running = append(running, start(ctx, s, failed))
	}
	d.notReady.Store(nil)
	notifySystemd(ctx, "READY=1")
	d.log.Info("ready", "version", d.version, "serial", d.store.Snapshot().Serial(), "listed", d.store.Snapshot().Len())
	if ready != nil {
		ready()
	}

	var cause error
	select {
	case <-ctx.Done():
		d.log.Info("stopping")
	case <-d.asked:
		d.setNotReady("restarting")
		notifySystemd(ctx, reloadingState()) // STOPPING would have the manager end it
		return d.giveWay(running)
	case cause = <-failed:
		d.log.Error("stopping because a part failed", "err", cause)
	}
	d.setNotReady("stopping")
	notifySystemd(context.WithoutCancel(ctx), "STOPPING=1")
	err := d.stop(running)
	d.log.Info("stopped")
	return errors.Join(cause, err)
}

type runningStage struct {
	name   string
	cancel context.CancelFunc
	done   chan error
}

// start runs the parts of a stage under a context of their own: the end of ctx
// must not stop them all at once.
func start(ctx context.Context, s stage, failed chan<- error) runningStage {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := runningStage{name: s.name, cancel: cancel, done: make(chan error, 1)}
	g, own := errgroup.WithContext(own)
	for _, part := range s.parts {
		g.Go(func() error {
			err := part(own)
			if err == nil && own.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil && own.Err() == nil {
				err = fmt.Errorf("%s: %w", s.name, err)
				select {
				case failed <- err:
				default: // the first failure is the cause
				}
			}
			return err
		})
	}
	go func() { r.done <- g.Wait() }() // ends with the stage, which Run waits for
	return r
}

// stop ends the stages and closes the store, unless one of them did not end: then
// the store is left as it is; whatever was committed is on disk.
func (d *Daemon) stop(running []runningStage) error {
	err := stopAll(running, d.rules.Load().config.ShutdownTimeout)
	if errors.Is(err, errStillRuns) {
		return err
	}
	return errors.Join(err, d.store.Close())
}

var errStillRuns = errors.New("not done within shutdown_timeout; gave up waiting")

// stopAll ends the stages in the opposite order of their start. All of it takes
// no longer than the bound; what does not end by then is named.
func stopAll(running []runningStage, within time.Duration) error {
	bound := time.NewTimer(within)
	defer bound.Stop()
	var errs []error
	for _, s := range slices.Backward(running) {
		s.cancel()
		select {
		case err := <-s.done:
			if err != nil && !errors.Is(err, context.Canceled) {
				errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
			}
		case <-bound.C:
			return errors.Join(append(errs, fmt.Errorf("stop %s: %w", s.name, errStillRuns))...)
		}
	}
	return errors.Join(errs...)
}

// serveHTTP serves on l until ctx ends, then lets requests under way finish.
func serveHTTP(ctx context.Context, server *http.Server, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(bound) != nil {
			return server.Close() // who has not finished by now is cut off
		}
		return nil
	})
	return g.Wait()
}
