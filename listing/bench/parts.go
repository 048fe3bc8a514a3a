package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
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
	times := median(ratios)
	b.row(row{
		"observations stored, 64 senders", fmt.Sprintf("%.0f/s", median(together)),
		fmt.Sprintf("one commit each: %.0f/s", median(alone)), times, "≥ 20 ×", times >= 20,
	})
	b.row(row{what: "acknowledged, and the answer is not new", figure: fmt.Sprintf("%d of %d", late, acked), bar: "0", ok: late == 0 && acked > 0})
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
		if err := b.race(ctx, path, n); err != nil {
			return err
		}
		size, err := compacted(ctx, path)
		if err != nil {
			return err
		}
		each := float64(size) / float64(n)
		b.row(row{what: fmt.Sprintf("file, %d listings, compacted", n), figure: fmt.Sprintf("%.1f bytes each", each), bar: "≤ 100 bytes", ok: each <= 100})
	}
	return nil
}

// race opens a list by turns with rbldnsd, in time by the clock and in time of the
// processor, from exec until it is ready.
func (b *bench) race(ctx context.Context, path string, n int) error {
	var ours, theirs []opened
	for range b.runs {
		o, err := open(ctx, path)
		if err != nil {
			return err
		}
		r, err := b.rbldnsd(ctx, n)
		if err != nil {
			return err
		}
		ours, theirs = append(ours, o), append(theirs, r)
	}
	for _, by := range []struct {
		what string
		of   func(opened) time.Duration
		bar  string
	}{
		{"to ready", func(o opened) time.Duration { return o.took }, "≤ 1 ×"},
		{"time of the processor", func(o opened) time.Duration { return o.processor }, "≤ 1 ×"},
	} {
		us, them := middle(ours, by.of), middle(theirs, by.of)
		r := row{what: fmt.Sprintf("open %d listings, %s", n, by.what), figure: us.Round(time.Millisecond).String(), beside: "rbldnsd is not installed", bar: by.bar}
		if n < 1_000_000 {
			r.bar = "" // a process of Go takes some milliseconds to begin
		}
		if them > 0 {
			r.beside, r.ratio = "rbldnsd: "+them.Round(time.Millisecond).String(), us.Seconds()/them.Seconds()
			r.ok = r.ratio <= 1
		}
		b.row(r)
	}
	us, them := middle(ours, func(o opened) int64 { return o.resident }), middle(theirs, func(o opened) int64 { return o.resident })
	r := row{what: fmt.Sprintf("memory of the process, %d listings", n), figure: fmt.Sprintf("%.0f MiB", mib(us)), beside: fmt.Sprintf("rbldnsd: %.0f MiB", mib(them)), bar: "≤ 1 ×"}
	if them > 0 {
		r.ratio = float64(us) / float64(them)
		r.ok = r.ratio <= 1
	}
	b.row(r)
	return nil
}

// middle is the median of one figure.
func middle[T time.Duration | float64 | int64](all []opened, of func(opened) T) T {
	var figures []T
	for _, o := range all {
		figures = append(figures, of(o))
	}
	return median(figures)
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
	stop, err := b.probe(ctx)
	if err != nil {
		return err
	}
	steps, err := s.emptied(ctx)
	bare, broke := stop()
	holds, noHolds := s.histogram("backscatter_store_hold_seconds", holdLimit)
	commits, noCommits := s.histogram("backscatter_store_commit_seconds", holdLimit)
	if err := errors.Join(err, broke, noHolds, noCommits, s.stop()); err != nil {
		return err
	}
	b.expired(steps, bare, holds, commits)
	return nil
}

// expired tells of the steps of an expiry, and of the disk meanwhile.
func (b *bench) expired(steps []span, bare probed, holds, commits times) {
	var slow, alone int
	longest, all := time.Duration(0), time.Duration(0)
	for _, step := range steps {
		longest, all = max(longest, step.length()), all+step.length()
		if step.length() > holdLimit {
			slow++
			if !bare.slowAt(step) {
				alone++
			}
		}
	}
	b.row(row{
		what: fmt.Sprintf("expiry of %d at one moment, steps over 20 ms", b.listings), figure: fmt.Sprintf("%d of %d", holds.over, holds.all),
		beside: fmt.Sprintf("longest ≤ %s, mean %s; %s in all", holds.longest, holds.mean, all.Round(time.Millisecond)), bar: "0", ok: holds.over == 0,
	})
	// A commit over the bound is a step over the bound.
	own := int64(holds.over) - int64(commits.over)
	b.row(row{
		what: "of these with a commit that took less", figure: strconv.FormatInt(own, 10),
		beside: fmt.Sprintf("commits: %d of %d over, longest ≤ %s, mean %s", commits.over, commits.all, commits.longest, commits.mean), bar: "0", ok: own <= 0,
	})
	b.row(row{
		what:   "from one snapshot to the next over 20 ms, and not the disk",
		figure: strconv.Itoa(alone), beside: fmt.Sprintf("of %d, longest %s; meanwhile a bare fdatasync of another process took less", slow, longest.Round(100*time.Microsecond)), bar: "0", ok: alone == 0,
	})
	rate := float64(holds.over) / float64(max(holds.all, 1))
	b.row(row{
		what: "steps over 20 ms, in a thousand", figure: fmt.Sprintf("%.2f", 1000*rate),
		beside: fmt.Sprintf("a bare write and fdatasync of another process: %.2f, %d of %d, longest %s",
			1000*bare.rate(), len(bare.Slow), bare.All, bare.Longest.Round(100*time.Microsecond)),
		bar: "no more than the disk's own", ok: rate <= bare.rate(),
	})
}

// emptied waits until nothing is listed any more, and returns the times from one
// snapshot to the next: each is that of a step. The first of them is that in which the
// moment is waited for.
func (s *running) emptied(ctx context.Context) ([]span, error) {
	steps := []span{{From: time.Now()}}
	for snap := s.Snapshot(); snap.Len() > 0; snap = s.Snapshot() {
		select {
		case <-snap.Superseded():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		now := time.Now()
		steps[len(steps)-1].To = now
		steps = append(steps, span{From: now})
	}
	return steps[1 : len(steps)-1], nil
}

// rememberers are so many that one group of them waits while another is stored.
const rememberers = 768

// remember measures what observations take on disk, and in memory beside a list.
func (b *bench) remember(ctx context.Context) error {
	alone, path := b.path("alone.db"), b.path("remember.db")
	for _, path := range []string{alone, path} {
		s, err := start(path, lazy())
		if err != nil {
			return err
		}
		if err := errors.Join(s.fill(ctx, b.listings, time.Time{}), s.stop()); err != nil {
			return err
		}
	}
	bare, err := open(ctx, alone)
	if err != nil {
		return err
	}
	s, err := start(path, lazy())
	if err != nil {
		return err
	}
	// Ten observations of each source, which has one of the listed addresses.
	sources := max(b.observations/10, 1)
	if _, _, err := s.hand(ctx, rememberers, 0, b.observations, func(n int) netip.Addr { return host(n % sources) }, 0); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	full, err := open(ctx, path)
	if err != nil {
		return err
	}
	more := mib(full.memory) - mib(bare.memory)
	b.row(row{
		what:   fmt.Sprintf("memory, %d listings and %d observations", b.listings, b.observations),
		figure: fmt.Sprintf("%.0f MiB", mib(full.memory)), beside: fmt.Sprintf("the listings alone: %.0f MiB, %+.0f", mib(bare.memory), more), bar: "≤ + 64 MiB", ok: more <= 64,
	})
	empty, err := compacted(ctx, alone)
	if err != nil {
		return err
	}
	size, err := compacted(ctx, path)
	if err != nil {
		return err
	}
	each := float64(size-empty) / float64(b.observations)
	b.row(row{
		what:   fmt.Sprintf("file, %d observations with every trace, compacted", b.observations),
		figure: fmt.Sprintf("%.1f bytes each", each), beside: "less the listings' own", bar: "≤ 200 bytes", ok: each <= 200,
	})
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
