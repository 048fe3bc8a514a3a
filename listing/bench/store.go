package main

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
)

// running is a store with its writer.
type running struct {
	*listing.Store
	path     string
	registry *prometheus.Registry
	stop     func() error
}

func start(path string, policy listing.Policy) (*running, error) {
	registry := prometheus.NewRegistry()
	s, err := listing.Open(path, listing.Options{Metrics: registry, Settings: listing.Settings{
		GroupWait: listing.DefaultGroupWait,
		Policy:    policy, Reporters: []listing.Reporter{{Name: "local", Organisation: "local"}}, Horizon: 5 * time.Minute,
	}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with stop
	return &running{Store: s, path: path, registry: registry, stop: func() error {
		cancel()
		return errors.Join(<-done, s.Close())
	}}, nil
}

// eager lists at the first observation, lazy never.
func eager() listing.Policy {
	p := listing.Solo()
	p.Score, p.Originals, p.Recipients, p.Span = 1, 1, 0, 0
	return p
}

func lazy() listing.Policy {
	p := listing.Solo()
	p.Originals = 1_000_000
	return p
}

// hand has senders hand in observations until there are so many or the time is
// over, and returns how many were acknowledged, and how many of them were not
// answered for at once.
func (s *running) hand(ctx context.Context, senders, from, most int, at func(n int) netip.Addr, life time.Duration) (done, late int64, err error) {
	var next, acked, missing atomic.Int64
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	begun := time.Now()
	for range senders {
		all.Go(func() {
			for ctx.Err() == nil && (life == 0 || time.Since(begun) < life) {
				n := int(next.Add(1)) - 1
				if n >= most {
					return
				}
				out, problem := s.Observe(ctx, bounce(from+n, at(from+n), time.Now()))
				if problem != nil {
					mu.Lock()
					err = errors.Join(err, problem)
					mu.Unlock()
					cancel()
					return
				}
				acked.Add(1)
				if _, there := s.Snapshot().Lookup(at(from + n)); out.Listed && !there {
					missing.Add(1)
				}
			}
		})
	}
	all.Wait()
	return acked.Load(), missing.Load(), err
}

// fill lists n hosts.
func (s *running) fill(ctx context.Context, n int, until time.Time) error {
	const most = 500_000
	for from := 0; from < n; from += most {
		if err := s.list(ctx, from, min(most, n-from), until); err != nil {
			return err
		}
	}
	return nil
}

// list lists n hosts in one order.
func (s *running) list(ctx context.Context, from, n int, until time.Time) error {
	order := listing.Order{By: listing.Actor{UID: -1, Name: "bench"}, Reason: "to measure"}
	keys := make([]listing.Manual, n)
	for i := range keys {
		k, err := listing.HostKey(host(from + i))
		if err != nil {
			return err
		}
		keys[i] = listing.Manual{Key: k, Until: until}
	}
	_, err := s.List(ctx, order, keys)
	return err
}

// compacted is the size of the file when it was compacted.
func compacted(ctx context.Context, path string) (size int64, err error) {
	order := listing.Order{By: listing.Actor{UID: -1, Name: "bench"}, Reason: "to measure"}
	out, err := listing.Compact(ctx, path, order, func(int64, int64) {})
	return out.After, err
}
