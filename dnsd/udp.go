package dnsd

import (
	"context"
	"fmt"
	"time"
)

// A socket that reports errors (no memory, network down) is asked again after a
// pause, so that it does not take a whole core.
const errorPause = 10 * time.Millisecond

// readFailed returns the error if the socket is done for, and otherwise waits.
func (w *worker) readFailed(ctx context.Context, local fmt.Stringer, err error) error {
	if isFatal(err) {
		return fmt.Errorf("read dns questions on %s: %w", local, err)
	}
	s := w.server
	s.loud.Do(func() { s.log.Warn("dns socket could not be read", "err", err) })
	return pause(ctx, errorPause)
}

// ended returns nil for the error of a socket that we closed ourselves, or gave
// a deadline, because ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// pause waits, or returns the error of ctx when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
