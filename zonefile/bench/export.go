package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

// settings are those of the zone that is written.
func settings() *zonefile.Zone {
	return &zonefile.Zone{
		Name: zone + ".", NS: []string{"ns1.example.net"}, Hostmaster: "hostmaster.example.net",
		Classes: listing.AllClasses, URL: "https://bl.example/",
	}
}

// scattered yields n addresses of space that can be listed, in order and evenly
// over it, the same at every run.
func scattered(n int) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		rnd := rand.New(rand.NewPCG(1, 2))
		step := uint32(89<<24) / uint32(n)
		for i := range uint32(n) {
			v := 11<<24 + i*step + rnd.Uint32N(step)
			if !yield(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})) {
				return
			}
		}
	}
}

// proven makes snapshots of listings by evidence, which end on the days of a week.
func proven(n int, at time.Time) *listing.Snapshot {
	rnd := rand.New(rand.NewPCG(3, 4))
	return listing.NewSnapshot(listing.Build{Sequence: uint64(at.Unix()), Time: at, Entries: func(yield func(listing.Entry) bool) {
		for addr := range scattered(n) {
			last := at.AddDate(0, 0, -rnd.IntN(7))
			e := listing.Entry{
				Prefix: netip.PrefixFrom(addr, 32), Class: listing.ClassBounce, Classes: listing.ClassSetOf(listing.ClassBounce),
				Summary: listing.Summary{Events: uint16(3 + rnd.IntN(7)), Since: listing.DateOf(last), Last: listing.DateOf(last), Until: listing.DateOf(last.AddDate(0, 0, 7))},
			}
			if !yield(e) {
				return
			}
		}
	}})
}

// export measures a whole publication, guards and all, of a list that changed,
// beside a copy of the finished file.
func (b *bench) export(ctx context.Context) error {
	for _, n := range []int{b.entries / 5, b.entries} {
		now := time.Now().Truncate(time.Second)
		s := proven(n, now)
		dir := b.path(fmt.Sprintf("export-%d", n))
		p, err := zonefile.NewPublisher(zonefile.PublisherOptions{
			Dir: dir, Zone: func() *zonefile.Zone { return z }, Formats: []zonefile.Format{zonefile.IP4Set}, Every: time.Second, Brake: 0.5,
			Snapshots: func() *listing.Snapshot { return s },
		})
		if err != nil {
			return err
		}
		file := dir + "/" + zonefile.IP4Set.File(z)
		var ours, theirs costs
		for i := range b.rounds {
			s = s.Next(listing.Next{Sequence: s.Sequence() + 1, Time: now.Add(time.Duration(i) * time.Second)})
			if err := ours.add(func() error { _, err := p.Publish(time.Now()); return err }); err != nil {
				return err
			}
			p.Tidy()
			if err := theirs.add(func() error { return copyFile(ctx, file, file+".copy") }); err != nil {
				return err
			}
			if err := os.Remove(file + ".copy"); err != nil {
				return err
			}
		}
		ratio := median(ours.wall) / median(theirs.wall)
		b.row(row{
			what: fmt.Sprintf("export of %d as ip4set", n), figure: fmt.Sprintf("%.3f s", median(ours.wall)),
			beside: fmt.Sprintf("cp and fsync %.3f s", median(theirs.wall)), ratio: ratio, bar: "2 × cp", holds: ratio <= 2,
		})
		b.row(row{
			what: "the same, time of the processors", figure: fmt.Sprintf("%.3f s", median(ours.cpu)),
			beside: fmt.Sprintf("cp and fsync %.3f s", median(theirs.cpu)), ratio: median(ours.cpu) / median(theirs.cpu),
		})
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

var z = settings()

// costs is what something took, each time: from begin to end, and of the processors,
// by this process and those that it waited for.
type costs struct{ wall, cpu []float64 }

func (c *costs) add(do func() error) error {
	begun, spent := time.Now(), processors()
	err := do()
	c.wall = append(c.wall, time.Since(begun).Seconds())
	c.cpu = append(c.cpu, (processors() - spent).Seconds())
	return err
}

func processors() (spent time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil { // it cannot fail
			spent += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return spent
}

// copyFile copies with cp, and syncs.
func copyFile(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	f, err := os.Open(to)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// memory measures what exports add to the most memory that a daemon takes while its
// list changes: to that of the same changes where nothing is exported.
func (b *bench) memory(ctx context.Context) error {
	dir := b.path("memory")
	d, err := b.serve(ctx, "memory", "")
	if err != nil {
		return err
	}
	if err := errors.Join(d.importList(ctx, scattered(b.entries)), d.stop()); err != nil {
		return err
	}
	without, err := b.peaks(ctx, "", "")
	if err != nil {
		return err
	}
	with, err := b.peaks(ctx, dir, fmt.Sprintf("exports: [{zone: %s, dir: %s, formats: [ip4set], every: 1s, brake: 0}]", zone, dir))
	if err != nil {
		return err
	}
	most, base := median(with), median(without)
	more := float64(most-base) / (1 << 20)
	b.row(row{
		what: fmt.Sprintf("memory while exporting %d", b.entries), figure: fmt.Sprintf("+ %.1f MiB", more),
		beside: fmt.Sprintf("the same without %.1f MiB", float64(base)/(1<<20)), bar: "+ 32 MiB", holds: more <= 32,
	})
	return nil
}

// peaks starts a daemon with the list, changes that, each round, and returns the most
// memory from then until it was exported to the folder, or for as long where none is.
func (b *bench) peaks(ctx context.Context, dir, exports string) (all []int64, err error) {
	d, err := b.serve(ctx, "memory", exports)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	for i := range b.rounds {
		if _, err := d.settled(ctx); err != nil {
			return nil, err
		}
		most, err := d.most(ctx, func() error {
			if err := d.command(ctx, "list", fmt.Sprintf("101.0.0.%d", i+1), "--reason", "bench", "--permanent", "--yes"); err != nil {
				return err
			}
			defer time.Sleep(2 * time.Second) // longer than an export
			if dir == "" {
				return nil
			}
			return d.exported(ctx, dir)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, most)
		if err := d.command(ctx, "delist", fmt.Sprintf("101.0.0.%d", i+1), "--reason", "bench", "--yes"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// text returns addresses, one a line.
func text(addrs iter.Seq[netip.Addr]) string {
	var b strings.Builder
	for a := range addrs {
		b.Write(a.AppendTo(nil))
		b.WriteByte('\n')
	}
	return b.String()
}
