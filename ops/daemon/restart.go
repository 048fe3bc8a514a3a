package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/ops/control"
)

// ErrRestart is what Run returns when it ended in order for a restart in place:
// whoever called it executes the program anew, with Exec.
var ErrRestart = errors.New("ended for a restart in place")

// checkTime is how long the program that takes over may look at the configuration.
const checkTime = 30 * time.Second

// Successor is the program, perhaps another version by now, that goes on in this
// very process, with the DNS sockets of the one before. So whoever watches over the
// process notices nothing, and what is asked in between waits in the sockets.
type Successor struct {
	free    chan struct{} // holds one token until it is wanted
	asked   chan struct{} // holds one token from then on
	program string
	sockets []*os.File
}

func newSuccessor() Successor {
	s := Successor{free: make(chan struct{}, 1), asked: make(chan struct{}, 1)}
	s.free <- struct{}{}
	return s
}

// errWanted is what another says who wants a restart. The server may be ending by then.
var errWanted = &control.Error{Code: control.CodeConflict, Message: "restart: one is under way already"}

// want makes Run end for a restart, unless the program on the disk refuses the
// configuration, which it reads from a file (empty: from nowhere), or the keys that
// the configuration names: once Run has ended nobody is there to go on.
func (s *Successor) want(ctx context.Context, server *dnsd.Server, file string, more ...string) error {
	select {
	case <-s.free:
	default:
		return errWanted
	}
	if err := s.prepare(ctx, server, file, more...); err != nil {
		s.free <- struct{}{}
		return err
	}
	s.asked <- struct{}{} // has room: only who has the token comes here
	return nil
}

// prepare looks whether the program would start, and copies the sockets for it.
func (s *Successor) prepare(ctx context.Context, server *dnsd.Server, file string, more ...string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("restart: find the program: %w", err)
	}
	arguments := append([]string{"config", "check"}, more...)
	if file != "" {
		arguments = append(arguments, "--config", file)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	check := exec.CommandContext(ctx, program, arguments...)
	check.Args[0] = os.Args[0]
	if out, err := check.CombinedOutput(); err != nil {
		return &control.Error{
			Code:    control.CodeConflict,
			Message: fmt.Sprintf("restart: %s refuses to start, nothing has changed: %v: %s", program, err, strings.TrimSpace(string(out))),
		}
	}
	sockets, err := server.Sockets()
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	s.program, s.sockets = program, sockets
	return nil
}

// Exec executes the program anew. It returns only when that fails; then the
// sockets are lost, as by any end.
func (s *Successor) Exec() error {
	var descriptors []string
	for _, f := range s.sockets {
		fd := f.Fd()
		if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil { // it is to stay open
			return fmt.Errorf("restart: hand a socket over: %w", err)
		}
		descriptors = append(descriptors, strconv.Itoa(int(fd)))
	}
	env := append(os.Environ(), inheritedSockets+"="+strings.Join(descriptors, " "))
	return fmt.Errorf("restart: execute %s: %w", s.program, syscall.Exec(s.program, os.Args, env))
}

// Restart has the program executed anew, in this process and with its DNS sockets,
// as soon as all that was taken in is done with.
func (d *Daemon) Restart(ctx context.Context, by listing.Actor) error {
	select {
	case <-d.reloading: // never given back: what is reloaded now would be lost
	case <-ctx.Done():
		return fmt.Errorf("restart: a reload is under way: %w", ctx.Err())
	}
	if err := d.want(ctx, d.dns, d.rules.Load().config.File); err != nil {
		d.reloading <- struct{}{}
		d.log.Warn("restart refused", "err", err)
		return err
	}
	d.log.Info("restarting", "by", by.Name, "via", by.Via)
	return nil
}

// Restart has the program executed anew, in this process and with its DNS sockets.
func (m *Mirror) Restart(ctx context.Context, by listing.Actor) error {
	if err := m.want(ctx, m.dns, m.o.Config.File, "--mirror", m.o.From); err != nil {
		m.log.Warn("restart refused", "err", err)
		return err
	}
	m.log.Info("restarting", "by", by.Name, "via", by.Via)
	return nil
}

// giveWay ends the stages for a restart. The DNS is the last: it answers from
// memory while the store is closed, which may take a while. With a stage that did not
// end the store is left as it is; whatever was committed is on the disk.
func (d *Daemon) giveWay(running []runningStage) error {
	within := d.rules.Load().config.ShutdownTimeout
	var dns []runningStage
	var others []runningStage
	for _, r := range running {
		if r.name == "dns" {
			dns = append(dns, r)
		} else {
			others = append(others, r)
		}
	}
	err := stopAll(others, within)
	if !errors.Is(err, errStillRuns) {
		err = errors.Join(err, d.store.Close())
	}
	return restarting(d.log, errors.Join(err, stopAll(dns, within)))
}

// restarting returns ErrRestart, however the end was: with the process the sockets
// would end, and nobody would answer.
func restarting(log *slog.Logger, err error) error {
	if err != nil {
		log.Error("restarting, and not all has ended in order", "err", err)
	}
	return ErrRestart
}
