package main

import (
	"context"
	"fmt"
	"time"
)

const (
	peakTime = 3 * time.Second // how long each rate is tried
	peakFrom = 100_000
	peakMost = 10_000_000
)

// unlimited takes away what would answer a single client less.
const unlimited = "  limits: {same: 0, all: 0}\n"

// sendTooMuch finds out what one core serves, and asks three times that.
func (s *soak) sendTooMuch(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{dns: unlimited + "  udp_sockets: 1"})
	if err != nil {
		return err
	}
	defer srv.kill()
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
	one, cancel := context.WithTimeout(ctx, 3*time.Second)
	var l lockStep
	err = l.run(one, srv.dns, s.entries)
	cancel()
	if err != nil {
		return err
	}
	first := time.Duration(0)
	if len(l.times) > 0 {
		first = l.times[0]
	}
	after, err := srv.rss()
	if err != nil {
		return err
	}
	later, err := srv.metric(ctx, "go_goroutines")
	if err != nil {
		return err
	}
	s.row(answered >= 0.9*peak, fmt.Sprintf("answered of %.2f times the peak, %s", offered/peak, s.flood), "≥ 90 % of the peak",
		"%.0f %% of %.0f a second", 100*answered/peak, peak)
	s.row(offered >= 3*peak, "offered, of what one core serves", "3 times", "%.2f times", offered/peak)
	s.row(after-idle <= 32e6, "memory that it took", "≤ 32 MB", "%.1f MB", (after-idle)/1e6)
	s.row(later <= goroutines+2, "goroutines", "as before", "%.0f, before %.0f", later, goroutines)
	s.row(l.unanswered == 0 && l.wrong == 0 && first < time.Second, "questions after it", "all answered, the first in 1 s",
		"%d of %d, the first in %s", l.asked-l.unanswered-l.wrong, l.asked, first.Round(time.Microsecond))
	_, err = srv.stop()
	return err
}

// peak returns how many questions are answered in a second at most: what is
// offered grows until twice in a row no more is answered than before.
func (s *soak) peak(ctx context.Context, srv *server) (peak float64, err error) {
	worse := 0
	for rate := float64(peakFrom); rate < peakMost && worse < 2; rate *= 1.5 {
		_, answered, err := s.offer(ctx, srv, rate, peakTime)
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
