package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// observe measures acknowledged observations, one commit each and of 64 senders.
func (b *bench) observe(ctx context.Context) error {
	var alone, together, ratios []float64
	acked, late := int64(0), int64(0)
	for n := range b.runs {
		s, err := start(b.path(fmt.Sprintf("observe%d.db", n)), eager())
		if err != nil {
			return err
		}
		var rates [2]float64
		for i, senders := range []int{1, 64} {
			begun := time.Now()
			done, missing, err := s.hand(ctx, senders, i*10_000_000, 10_000_000, host, time.Duration(b.seconds*float64(time.Second)))
			if err != nil {
				return err
			}
			rates[i] = float64(done) / time.Since(begun).Seconds()
			acked, late = acked+done, late+missing
		}
		if err := s.stop(); err != nil {
			return err
		}
		alone, together, ratios = append(alone, rates[0]), append(together, rates[1]), append(ratios, rates[1]/rates[0])
	}
	b.row("observations stored, 64 senders", fmt.Sprintf("%.0f/s, %.1f ×", median(together), median(ratios)),
		fmt.Sprintf("one commit each: %.0f/s", median(alone)), "≥ 20 ×")
	b.row("acknowledged, and the answer is not new", fmt.Sprintf("%d of %d", late, acked), "", "0")
	return nil
}

// list measures how large listings are and how fast a list is opened.
func (b *bench) list(ctx context.Context) error {
	for _, n := range []int{b.listings, b.larger} {
		if n == 0 {
			continue
		}
		path := b.path(fmt.Sprintf("list%d.db", n))
		s, err := start(path, lazy())
		if err != nil {
			return err
		}
		if err := s.fill(ctx, n, time.Time{}); err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
		us, them, err := b.race(ctx, path, n)
		if err != nil {
			return err
		}
		beside := "rbldnsd is not installed"
		if them > 0 {
			beside = fmt.Sprintf("rbldnsd: %s, %.2f ×", them.Round(time.Millisecond), us.Seconds()/them.Seconds())
		}
		b.row(fmt.Sprintf("open %d listings, from exec to ready", n), us.Round(time.Millisecond).String(), beside, "≤ 1 ×")
		size, err := compacted(path)
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("file, %d listings, compacted", n), fmt.Sprintf("%.1f bytes each", float64(size)/float64(n)), "", "≤ 100 bytes")
	}
	return nil
}

// race opens a list by turns with rbldnsd.
func (b *bench) race(ctx context.Context, path string, n int) (us, them time.Duration, err error) {
	var ours, theirs []time.Duration
	for range b.runs {
		o, err := open(ctx, path)
		if err != nil {
			return 0, 0, err
		}
		d, err := b.rbldnsd(ctx, n)
		if err != nil {
			return 0, 0, err
		}
		ours, theirs = append(ours, o.took), append(theirs, d)
	}
	return median(ours), median(theirs), nil
}

// expire measures how long the steps keep the writer that end a whole list at one
// moment, while somebody reports.
func (b *bench) expire(ctx context.Context) error {
	path := b.path("expire.db")
	s, err := start(path, lazy())
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Duration(10+b.listings/20_000) * time.Second).Truncate(time.Second)
	if err := s.fill(ctx, b.listings, until); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	if s, err = start(path, lazy()); err != nil { // what the filling took is not counted
		return err
	}
	select {
	case <-time.After(time.Until(until)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	begun := time.Now()
	for s.Snapshot().Len() > 0 {
		select {
		case <-s.Snapshot().Superseded():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	took := time.Since(begun)
	all, over, longest, err := s.holds(20 * time.Millisecond)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("expiry of %d at one moment", b.listings), fmt.Sprintf("%d of %d steps over 20 ms, longest ≤ %s", over, all, longest),
		fmt.Sprintf("%s in all", took.Round(time.Millisecond)), "0 over 20 ms")
	return s.stop()
}

// remember measures what observations take on disk, and in memory beside a list.
func (b *bench) remember(ctx context.Context) error {
	bare, err := open(ctx, b.path(fmt.Sprintf("list%d.db", b.listings)))
	if err != nil {
		return err
	}
	path := b.path("remember.db")
	s, err := start(path, lazy())
	if err != nil {
		return err
	}
	if err := s.fill(ctx, b.listings, time.Time{}); err != nil {
		return err
	}
	empty, err := compacted(b.path(fmt.Sprintf("list%d.db", b.listings)))
	if err != nil {
		return err
	}
	// Ten observations of each source, which has one of the listed addresses.
	sources := max(b.observations/10, 1)
	if _, _, err := s.hand(ctx, 512, 0, b.observations, func(n int) netip.Addr { return host(n % sources) }, 0); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	full, err := open(ctx, path)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("memory, %d listings and %d observations", b.listings, b.observations),
		fmt.Sprintf("%.0f MiB, %+.0f", mib(full.memory), mib(full.memory)-mib(bare.memory)), fmt.Sprintf("the listings alone: %.0f MiB", mib(bare.memory)), "≤ + 64 MiB")
	size, err := compacted(path)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("file, %d observations, compacted", b.observations),
		fmt.Sprintf("%.1f bytes each", float64(size-empty)/float64(b.observations)), "less the listings' own", "≤ 200 bytes")
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
