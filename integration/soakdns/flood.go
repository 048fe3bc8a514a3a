package main

import (
	"context"
	"fmt"
	"time"
)

const (
	peakPart = 20 // of the flood's length is how long each rate is tried
	peakFrom = 100_000
	peakMost = 10_000_000
)

// unlimited takes away what would answer a single client less.
const unlimited = "  limits: {same: 0, all: 0}\n"

// sendTooMuch finds out what one core serves, and asks three times that. Who asks
// has the other cores.
func (s *soak) sendTooMuch(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{dns: unlimited + "  udp_sockets: 1"})
	if err != nil {
		return err
	}
	defer srv.kill()
	if err := apart(srv.cmd.Process.Pid); err != nil {
		return err
	}
	defer together() //nolint:errcheck // the parts that follow would be slower, and hold or not
	peak, err := s.peak(ctx, srv)
	if err != nil {
		return err
	}
	idle, err := srv.rss()
	if err != nil {
		return err
	}
	goroutines, err := srv.metric(ctx, "go_goroutines")
	if err != nil {
		return err
	}
	offered, answered, err := s.offer(ctx, srv, 3.3*peak, s.flood) // the rest is lost on a busy machine
	if err != nil {
		return err
	}
	well, err := s.recovery(ctx, srv)
	if err != nil {
		return err
	}
	one, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	l := lockStep{wait: s.wait}
	if err := l.run(one, srv.dns, s.entries); err != nil {
		return err
	}
	after, err := srv.rss()
	if err != nil {
		return err
	}
	later, err := settled(ctx, srv, goroutines)
	if err != nil {
		return err
	}
	s.speed(answered >= 0.9*peak, fmt.Sprintf("answered of %.2f times the peak, %s", offered/peak, s.flood), "≥ 90 % of the peak",
		"%.0f %% of %.0f a second", 100*answered/peak, peak)
	s.speed(offered >= 3*peak, "offered, of what one core serves", "3 times", "%.2f times", offered/peak)
	s.row(after-idle <= 32e6, "memory that it took", "≤ 32 MB", "%.1f MB", (after-idle)/1e6)
	s.row(later <= goroutines+2, "goroutines", "as before", "%.0f, before %.0f", later, goroutines)
	s.speed(well <= time.Second, "from its end until one is answered", "well within 1 s", "%s", well.Round(100*time.Microsecond))
	s.row(l.unanswered+l.wrong == 0, "questions lost or wrong after that", "none", "%d of %d", l.unanswered+l.wrong, l.asked)
	_, err = srv.stop()
	return err
}

// recovery returns how long it takes until a question is answered, asked again and
// again as resolvers do.
func (s *soak) recovery(ctx context.Context, srv *server) (time.Duration, error) {
	c, err := dialUDP(ctx, srv.dns)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	began := time.Now()
	buf := make([]byte, 4096)
	for id := uint16(0); time.Since(began) < patience; id++ {
		_, _ = c.Write(appendQuestion(buf[:0], id, listedAddress(0))) // it is asked again
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := readID(c, buf, id); err == nil && right(buf[:n], id, true) {
			return time.Since(began), nil
		}
	}
	return 0, errNoAnswer
}

// peak returns how many questions are answered in a second at most: what is
// offered grows until twice in a row no more is answered than before.
func (s *soak) peak(ctx context.Context, srv *server) (peak float64, err error) {
	worse := 0
	for rate := float64(peakFrom); rate < peakMost && worse < 2; rate *= 1.5 {
		_, answered, err := s.offer(ctx, srv, rate, s.flood/peakPart)
		if err != nil {
			return 0, err
		}
		if worse++; answered > peak {
			peak, worse = answered, 0
		}
	}
	return peak, nil
}

// offer asks at a rate, and returns what was sent and answered in a second.
func (s *soak) offer(ctx context.Context, srv *server, rate float64, length time.Duration) (offered, answered float64, err error) {
	before, err := srv.metric(ctx, "backscatter_dns_answers_total")
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	sent, err := flood(ctx, srv.dns, rate, length, s.entries)
	if err != nil {
		return 0, 0, err
	}
	took := time.Since(began).Seconds()
	after, err := srv.metric(ctx, "backscatter_dns_answers_total")
	return float64(sent) / took, (after - before) / took, err
}
