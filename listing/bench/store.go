package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"

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
		Policy: policy, Reporters: []listing.Reporter{{Name: "local", Organisation: "local"}}, Horizon: 5 * time.Minute,
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

// host is the nth address of public space.
func host(n int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 11<<24+uint32(n)*7)
	return netip.AddrFrom4(a)
}

func id(n int, kind byte) (out listing.ID) {
	binary.BigEndian.PutUint64(out[:], uint64(n+1)*0x9e3779b97f4a7c15) // spread, as hashes are
	out[8] = kind
	return out
}

// bounce is the nth observation, as a qmail that bounces makes it.
func bounce(n int, from netip.Addr, at time.Time) listing.Observation {
	return listing.Observation{
		ID: id(n, 0), Addr: from, Class: listing.ClassBounce, At: at,
		Level: listing.LevelA, Proofs: listing.ProofSetOf(listing.ProofTrap),
		Reporter: "local", Organisation: "local", Sensor: "smtp", TrapDomain: fmt.Sprintf("trap%d.example", n%20),
		Recipient: id(n, 1), Original: id(n, 2),
		Traces: listing.Traces{
			MessageID: fmt.Sprintf("<2026112212%06d.%d.qmail@mx%d.example>", n%1_000_000, n%32768, n%1000),
			HELO:      fmt.Sprintf("mx%d.example", n%1000), PTR: fmt.Sprintf("mx%d.example", n%1000), Product: "qmail", Status: "5.1.1",
		},
	}
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
	order := listing.Order{By: listing.Actor{UID: -1, Name: "bench"}, Reason: "to measure"}
	const most = 500_000
	for from := 0; from < n; from += most {
		keys := make([]listing.Manual, min(most, n-from))
		for i := range keys {
			k, err := listing.HostKey(host(from + i))
			if err != nil {
				return err
			}
			keys[i] = listing.Manual{Key: k, Until: until}
		}
		if _, err := s.List(ctx, order, keys); err != nil {
			return err
		}
	}
	return nil
}

// compacted is the size of a copy of the file without its holes.
func compacted(path string) (size int64, err error) {
	to := path + ".compact"
	from, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return 0, err
	}
	defer from.Close()
	out, err := bolt.Open(to, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		return 0, err
	}
	err = errors.Join(bolt.Compact(out, from, 16<<20), out.Close())
	info, statErr := os.Stat(to)
	if err = errors.Join(err, statErr); err != nil {
		return 0, err
	}
	return info.Size(), os.Remove(to)
}
