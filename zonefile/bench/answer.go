package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

const reread = syscall.SIGHUP

// answer measures how soon a mirror of ours answers from a folder, beside rbldnsd
// from the same file.
func (b *bench) answer(ctx context.Context) error {
	dir := b.path("mirrored")
	s := proven(b.entries, time.Now().Truncate(time.Second))
	p, err := zonefile.NewPublisher(zonefile.PublisherOptions{
		Dir: dir, Zone: func() *zonefile.Zone { return z }, Formats: []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie}, Every: time.Second,
		Snapshots: func() *listing.Snapshot { return s },
	})
	if err != nil {
		return err
	}
	if _, err := p.Publish(time.Now()); err != nil {
		return err
	}
	var ours, theirs, oursCPU, theirsCPU []float64
	for i := range b.rounds {
		wall, cpu, err := b.mirrorAnswers(ctx, fmt.Sprint("mirror", i), dir)
		if err != nil {
			return err
		}
		ours, oursCPU = append(ours, wall), append(oursCPU, cpu)
		if wall, cpu, err = b.rbldnsdAnswers(ctx, dir); err != nil {
			return err
		}
		theirs, theirsCPU = append(theirs, wall), append(theirsCPU, cpu)
	}
	ratio := median(ours) / median(theirs)
	b.row(row{
		what: fmt.Sprintf("mirror of %d to its first answer", b.entries), figure: fmt.Sprintf("%.2f s", median(ours)),
		beside: fmt.Sprintf("rbldnsd %.2f s", median(theirs)), ratio: ratio, bar: "rbldnsd's", holds: ratio <= 1,
	})
	b.row(row{
		what: "the same, time of the processors", figure: fmt.Sprintf("%.2f s", median(oursCPU)),
		beside: fmt.Sprintf("rbldnsd %.2f s", median(theirsCPU)), ratio: median(oursCPU) / median(theirsCPU),
	})
	return nil
}

func (b *bench) mirrorAnswers(ctx context.Context, name, dir string) (wall, cpu float64, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return 0, 0, err
	}
	config := b.path(name + ".yaml")
	text := fmt.Sprintf("state: %s\ndns: {listen: [\"127.0.0.1:%d\"]}\nhttp: {listen: \"\"}\nlog: {level: warn}\nmirror: {unsigned: true}\n", b.path(name), port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return 0, 0, err
	}
	return timed(ctx, port, b.program, "serve", "--config", config, "--mirror", dir)
}

func (b *bench) rbldnsdAnswers(ctx context.Context, dir string) (wall, cpu float64, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return 0, 0, err
	}
	return timed(ctx, port, "rbldnsd", "-n", "-c", "0", "-b", fmt.Sprintf("127.0.0.1/%d", port),
		zone+":ip4set:"+strings.TrimSuffix(dir, "/")+"/"+zonefile.IP4Set.File(z))
}

// timed runs a server to its first answer, and returns how long that took, and what
// it took of the processors in all.
func timed(ctx context.Context, port int, name string, args ...string) (wall, cpu float64, err error) {
	s, first, err := start(ctx, port, name, args...)
	if err != nil {
		return 0, 0, err
	}
	if err := s.stop(); err != nil {
		return 0, 0, err
	}
	state := s.cmd.ProcessState
	if state == nil {
		return 0, 0, errors.New("it has not ended")
	}
	return first.Seconds(), (state.UserTime() + state.SystemTime()).Seconds(), nil
}
