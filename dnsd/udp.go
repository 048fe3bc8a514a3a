package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	controlSize = 128 // room for what the kernel tells of a packet's destination
	// A socket that reports errors (no memory, network down) is asked again
	// after a pause, so that it does not take a whole core.
	errorPause = 10 * time.Millisecond
)

// serveUDP is one worker: it reads, answers and sends, one packet at a time,
// in buffers of its own. When all workers are busy, packets wait in the kernel,
// which drops what is too much.
func (s *Server) serveUDP(ctx context.Context, e endpoint, counts *tally) error {
	packet := make([]byte, maxTCP)
	control := make([]byte, controlSize)
	answer := make([]byte, 0, maxUDP)
	for {
		n, controlLen, _, client, err := e.udp.ReadMsgUDPAddrPort(packet, control)
		if err != nil {
			if err := s.readFailed(ctx, e, err); err != nil {
				return ended(ctx, err)
			}
			continue
		}
		out := s.handle(answer[:0], packet[:n], UDP, counts)
		if len(out) == 0 {
			continue
		}
		if _, _, err := e.udp.WriteMsgUDPAddrPort(out, e.source(control[:controlLen]), client); err != nil {
			counts.dropped[notSent].Add(1) // no route, a forged address, or a full queue: the asker will ask again
		}
	}
}

// readFailed returns the error if the socket is done for, and otherwise waits.
func (s *Server) readFailed(ctx context.Context, e endpoint, err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read dns questions on %s: %w", e.udp.LocalAddr(), err)
	}
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
