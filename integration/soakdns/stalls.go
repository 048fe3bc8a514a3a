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

const (
	stallLeast = 10 * time.Second // how long one client asks at least
	stallBar   = 5 * time.Millisecond
	massLives  = 2 * time.Minute // what is imported, until it expires
)

// findStalls has one client ask one question after the other while much is
// imported, exported, transferred, and expires.
func (s *soak) findStalls(ctx context.Context) error {
	srv, state, err := s.start(ctx, setup{dns: unlimited, zone: `, transfer: [{from: ["127.0.0.0/8"]}]`, more: "brakes: {listings: 0, endings: 0}\n"})
	if err != nil {
		return err
	}
	defer srv.kill()
	mass := fmt.Sprintf("%d addresses", s.mass)
	var imported time.Time
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"nothing else happens", func(context.Context) error { return nil }},
		{"import of " + mass, func(ctx context.Context) error {
			err := s.tool(ctx, state, massList(s.mass), "import", "--format", "txt", "--reason", "soak", "--for", massLives.String(), "--yes", "-")
			imported = time.Now()
			return err
		}},
		{"export of " + mass, func(ctx context.Context) error {
			return s.tool(ctx, state, nil, "export", "--format", "zone", "--output", s.dir+"/exported")
		}},
		{"AXFR of " + mass, func(ctx context.Context) error { return transfer(ctx, srv.dns, s.mass) }},
		{"expiry of " + mass, func(ctx context.Context) error {
			for listed := s.mass + s.entries; listed > s.entries; {
				sleep(ctx, 100*time.Millisecond)
				st, err := srv.control.Status(ctx)
				if err != nil {
					return err
				}
				if listed = st.Store.Listings; time.Since(imported) > massLives+patience {
					return fmt.Errorf("%d are still listed", listed)
				}
			}
			return nil
		}},
	}
	for _, step := range steps {
		if strings.HasPrefix(step.what, "expiry") { // what comes before is no matter
			sleep(ctx, time.Until(imported.Add(massLives-stallLeast/2)))
		}
		l, took, err := s.during(ctx, srv.dns, step.do)
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		p999, most := quantile(l.times, 0.999), quantile(l.times, 1)
		s.row(p999 <= stallBar && l.wrong+l.unanswered == 0, step.what+", "+took.Round(100*time.Millisecond).String(), "p99.9 ≤ 5 ms, none lost or wrong",
			"p99.9 %s, most %s, of %d", p999.Round(time.Microsecond), most.Round(time.Microsecond), l.asked)
	}
	_, err = srv.stop()
	return err
}

// during asks one question after the other while something is done, and for
// some time at least.
func (s *soak) during(ctx context.Context, addr string, do func(context.Context) error) (l lockStep, took time.Duration, err error) {
	asking, enough := context.WithCancel(ctx)
	g, _ := errgroup.WithContext(ctx)
	g.Go(func() error { return l.run(asking, addr, s.entries) })
	g.Go(func() error {
		defer enough()
		began := time.Now()
		err := do(ctx)
		took = time.Since(began)
		sleep(ctx, stallLeast-took)
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

// massList returns addresses that nobody asks for.
func massList(n int) io.Reader {
	var b strings.Builder
	for i := range n {
		var v [4]byte
		binary.BigEndian.PutUint32(v[:], 31<<24|uint32(i)*7%(1<<24))
		b.WriteString(netip.AddrFrom4(v).String() + "\n")
	}
	return strings.NewReader(b.String())
}

// transfer takes the whole zone, and wants so many records at least.
func transfer(ctx context.Context, addr string, records int) error {
	conn, err := dialTCP(ctx, addr, nil)
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
