package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const stallBar = 5 * time.Millisecond

// findStalls has one client ask one question after the other while much is
// imported, exported, transferred, and expires.
func (s *soak) findStalls(ctx context.Context) error {
	srv, state, err := s.start(ctx, setup{dns: unlimited, zone: `, transfer: [{from: ["127.0.0.0/8"]}]`, more: "brakes: {listings: 0, endings: 0}\n"})
	if err != nil {
		return err
	}
	defer srv.kill()
	mass := fmt.Sprintf("%d addresses", s.mass)
	take := func(ctx context.Context, network byte, forHowLong string) error {
		return s.tool(ctx, state, massList(network, s.mass), "import", "--format", "txt", "--reason", "soak", forHowLong, "--yes", "-")
	}
	steps := []struct {
		what       string
		before, do func(context.Context) error
	}{
		{"nothing else happens", nil, func(context.Context) error { return nil }},
		{"import of " + mass, nil, func(ctx context.Context) error { return take(ctx, 31, "--permanent") }},
		{"export of " + mass, nil, func(ctx context.Context) error {
			return s.tool(ctx, state, nil, "export", "--format", "zone", "--output", s.dir+"/exported")
		}},
		{"AXFR of " + mass, nil, func(ctx context.Context) error { return s.transfer(ctx, srv.dns, s.mass) }},
		{"expiry of " + mass, func(ctx context.Context) error {
			began := time.Now()
			err := take(ctx, 33, "--for="+s.lives.String())
			sleep(ctx, time.Until(began.Add(s.lives-s.least/2)))
			return err
		}, func(ctx context.Context) error { return srv.listed(ctx, s.entries+s.mass) }},
	}
	for _, step := range steps {
		if step.before != nil {
			if err := step.before(ctx); err != nil {
				return err
			}
		}
		l, took, err := s.during(ctx, srv.dns, step.do)
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		p999, most := quantile(l.times, 0.999), quantile(l.times, 1)
		what := step.what + ", " + took.Round(100*time.Millisecond).String()
		s.speed(p999 <= stallBar, what, "p99.9 ≤ 5 ms", "p99.9 %s, most %s", p999.Round(time.Microsecond), most.Round(time.Microsecond))
		s.row(l.wrong+l.unanswered == 0, "questions lost or wrong meanwhile", "none", "%d of %d", l.wrong+l.unanswered, l.asked)
	}
	_, err = srv.stop()
	return err
}

// during asks one question after the other while something is done, and for
// some time at least.
func (s *soak) during(ctx context.Context, addr string, do func(context.Context) error) (l lockStep, took time.Duration, err error) {
	l.wait = s.wait
	asking, enough := context.WithCancel(ctx)
	g, _ := errgroup.WithContext(ctx)
	g.Go(func() error { return l.run(asking, addr, s.entries) })
	g.Go(func() error {
		defer enough()
		began := time.Now()
		err := do(ctx)
		took = time.Since(began)
		sleep(ctx, s.least-took)
		return err
	})
	return l, took, g.Wait()
}

// tool runs a command of the program on a server's state.
func (s *soak) tool(ctx context.Context, state string, in io.Reader, args ...string) error {
	cmd := exec.CommandContext(ctx, s.program, append(args, "--config", state+".yaml")...)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.500s", args[0], err, out)
	}
	return nil
}

// listed waits until no more are listed than so many.
func (s *server) listed(ctx context.Context, most int) error {
	for end := time.Now().Add(patience); ; sleep(ctx, 100*time.Millisecond) {
		st, err := s.control.Status(ctx)
		if err != nil || st.Store.Listings <= most {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d are still listed", st.Store.Listings)
		}
	}
}

// massList returns addresses that nobody asks for, of a /8.
func massList(network byte, n int) io.Reader {
	var b strings.Builder
	for i := range n {
		var v [4]byte
		binary.BigEndian.PutUint32(v[:], uint32(network)<<24|uint32(i)*7%(1<<24))
		b.WriteString(netip.AddrFrom4(v).String() + "\n")
	}
	return strings.NewReader(b.String())
}

// transfer takes the whole zone, and wants so many records at least.
func (s *soak) transfer(ctx context.Context, addr string, records int) error {
	conn, err := s.dialTCP(ctx, addr, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	t := &dns.Transfer{Conn: &dns.Conn{Conn: conn}, ReadTimeout: patience}
	envelopes, err := t.In(new(dns.Msg).SetAxfr(zone+"."), addr)
	if err != nil {
		return err
	}
	got := 0
	for e := range envelopes { // it is closed after an error
		got += len(e.RR)
		err = errors.Join(err, e.Error)
	}
	if err == nil && got < records {
		err = fmt.Errorf("%d records of %d addresses", got, records)
	}
	return err
}
