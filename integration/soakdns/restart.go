package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// underLoad does something while questions come at the rate, and tells what
// became of them.
func (s *soak) underLoad(ctx context.Context, addr string, do func(context.Context) error) (*stream, error) {
	load := s.newStream()
	asking, done := context.WithCancel(ctx)
	g, _ := errgroup.WithContext(ctx)
	g.Go(func() error { return load.run(asking, addr, s.rate) })
	g.Go(func() error {
		defer done()
		time.Sleep(time.Second) // of load alone
		return do(ctx)
	})
	err := g.Wait()
	return load, err
}

// reload reloads again and again, each time with another TTL.
func (s *soak) reload(ctx context.Context) error {
	srv, state, err := s.start(ctx, setup{dns: unlimited})
	if err != nil {
		return err
	}
	defer srv.kill()
	config := filepath.Join(s.dir, filepath.Base(state)+".yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	load, err := s.underLoad(ctx, srv.dns, func(ctx context.Context) error {
		for i := range s.reloads {
			changed := strings.Replace(string(text), "{name: "+zone, fmt.Sprintf("{ttl: %dm, name: %s", 5+i%2, zone), 1)
			if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
				return err
			}
			if _, err := srv.control.Reload(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.lossless(load, fmt.Sprintf("%d reloads at %d questions a second", s.reloads, s.rate))
	_, err = srv.stop()
	return err
}

func (s *soak) lossless(load *stream, what string) {
	lost := load.asked.Load() - load.answered.Load()
	s.row(lost == 0 && load.wrong.Load() == 0, what, "none lost, none wrong", "%d of %d lost, %d wrong", lost, load.asked.Load(), load.wrong.Load())
}

// restart ends the server and starts it anew, on sockets that stay open.
func (s *soak) restart(ctx context.Context) error {
	addr, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	sockets, err := holdSockets(ctx, addr)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range sockets {
			f.Close()
		}
	}()
	o := setup{dns: unlimited, address: addr, sockets: sockets}
	srv, state, err := s.start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { srv.kill() }()
	o.state = state
	longest, err := s.timesUnderLoad(ctx, addr, "restarts", func(ctx context.Context) (err error) {
		if _, err = srv.stop(); err == nil {
			srv, _, err = s.start(ctx, o)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.row(true, "the longest of them, from SIGTERM to ready", "none", "%s", longest.Round(time.Millisecond))
	_, err = srv.stop()
	return err
}

// timesUnderLoad does something as often as there are restarts while questions come,
// of which none may be lost, and returns how long the longest time took.
func (s *soak) timesUnderLoad(ctx context.Context, addr, what string, do func(context.Context) error) (longest time.Duration, err error) {
	load, err := s.underLoad(ctx, addr, func(ctx context.Context) error {
		for range s.restarts {
			began := time.Now()
			if err := do(ctx); err != nil {
				return err
			}
			longest = max(longest, time.Since(began))
			time.Sleep(200 * time.Millisecond) // of load alone
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.lossless(load, fmt.Sprintf("%d %s at %d questions a second", s.restarts, what, s.rate))
	return longest, nil
}

// restartInPlace has the program executed anew by the command for it, as after an
// upgrade: the process stays, and keeps its sockets.
func (s *soak) restartInPlace(ctx context.Context) error {
	srv, state, err := s.start(ctx, setup{dns: unlimited})
	if err != nil {
		return err
	}
	defer srv.kill()
	longest, err := s.timesUnderLoad(ctx, srv.dns, "times backscatter restart", func(ctx context.Context) error {
		return s.tool(ctx, state, nil, "restart") // waits until it is ready
	})
	if err != nil {
		return err
	}
	s.row(true, "the longest of them, with the command", "none", "%s", longest.Round(time.Millisecond))
	_, err = srv.stop()
	return err
}

// holdSockets opens what ops/systemd/backscatter.socket has systemd open.
func holdSockets(ctx context.Context, addr string) (files []*os.File, err error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { prepare(int(fd)) })
	}}
	keep := func(c interface{ File() (*os.File, error) }) error {
		f, err := c.File()
		files = append(files, f)
		return err
	}
	for range 2 {
		c, err := config.ListenPacket(ctx, "udp4", addr)
		if err != nil {
			return nil, err
		}
		if err := keep(c.(*net.UDPConn)); err != nil {
			return nil, err
		}
		c.Close()
	}
	l, err := config.Listen(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return files, keep(l.(*net.TCPListener))
}

// stopUnderLoad ends the server while questions come, and wants those answered
// that had been asked before.
func (s *soak) stopUnderLoad(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{dns: unlimited})
	if err != nil {
		return err
	}
	defer srv.kill()
	var before int64
	var took time.Duration
	load := s.newStream()
	load.wait = time.Second // for what has come back already
	asking, done := context.WithCancel(ctx)
	g, _ := errgroup.WithContext(ctx)
	g.Go(func() error { return load.run(asking, srv.dns, s.rate) })
	g.Go(func() (err error) {
		defer done()
		time.Sleep(2 * time.Second)
		before = load.asked.Load()
		took, err = srv.stop()
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	s.row(load.answered.Load() >= before && load.wrong.Load() == 0, fmt.Sprintf("SIGTERM at %d questions a second", s.rate),
		"what was asked before is answered", "%d answered of %d, exit 0", load.answered.Load(), before)
	s.speed(took <= 10*time.Second, "SIGTERM to the end", "≤ shutdown_timeout", "%s", took.Round(time.Millisecond))
	return nil
}
