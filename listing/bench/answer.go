package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"backscatter/listing"
)

// answer measures the snapshot that questions are answered from, of the larger list
// with its hosts scattered over all of the Internet. The lookups are timed by the
// processor's time of their thread, in runs of which the median is told.
func (b *bench) answer(ctx context.Context) error {
	n := max(b.listings, b.larger)
	rng := rand.New(rand.NewPCG(4, 5))
	anywhere := func() netip.Addr {
		v := rng.Uint32()
		return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	before := heap()
	snap := listing.NewSnapshot(listing.Build{Entries: func(yield func(listing.Entry) bool) {
		for i := range n {
			e := listing.Entry{Prefix: netip.PrefixFrom(anywhere(), 32), Class: listing.ClassBounce, Classes: listing.ClassSetOf(listing.ClassBounce)}
			if e.Summary.Events = uint16(i % 100); !yield(e) {
				return
			}
		}
	}})
	each := (float64(heap()) - float64(before)) / float64(snap.Len())
	b.row(row{what: fmt.Sprintf("snapshot of %d hosts", snap.Len()), figure: fmt.Sprintf("%.2f bytes each", each), bar: "≤ 4 bytes", ok: each <= 4})
	const most = 1 << 20
	misses, hits := make([]netip.Addr, most), make([]netip.Addr, 0, most)
	for i := range misses {
		misses[i] = anywhere()
	}
	for e := range snap.All() {
		if len(hits) < most {
			hits = append(hits, e.Prefix.Addr())
		} else if i := rng.IntN(snap.Len()); i < most {
			hits[i] = e.Prefix.Addr()
		}
	}
	rng.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
	for _, set := range []struct {
		name  string
		addrs []netip.Addr
	}{{"hit", hits}, {"random", misses}} {
		took, err := timed(ctx, set.addrs, func(addr netip.Addr) { snap.Lookup(addr) })
		if err != nil {
			return err
		}
		b.row(row{what: fmt.Sprintf("lookup among %d, %s", snap.Len(), set.name), figure: fmt.Sprintf("%.0f ns", took), bar: "≤ 100 ns", ok: took <= 100})
	}
	took, err := timed(ctx, misses[:20_000], func(addr netip.Addr) {
		snap.Next(listing.Next{Added: []listing.Entry{{Prefix: netip.PrefixFrom(addr, 32), Class: listing.ClassBounce}}})
	})
	b.row(row{what: fmt.Sprintf("one listing added to %d, until it is answered", snap.Len()), figure: fmt.Sprintf("%.1f µs", took/1000), bar: "≤ 100 µs", ok: err == nil && took <= 100_000})
	return err
}

// timed returns the nanoseconds that fn takes for an address: the median of runs over
// parts of them.
func timed(ctx context.Context, addrs []netip.Addr, fn func(netip.Addr)) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all []float64
	for part := len(addrs) / 100; len(addrs) >= part; addrs = addrs[part:] {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		var from, to unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from)
		for _, addr := range addrs[:part] {
			fn(addr)
		}
		if err == nil {
			err = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to)
		}
		if err != nil {
			return 0, err
		}
		all = append(all, float64(time.Duration(to.Nano()-from.Nano()))/float64(part))
	}
	return median(all), nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what a first one finds to be ended is gone after a second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
