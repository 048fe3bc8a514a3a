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
	var ours, theirs starts
	for i := range b.rounds {
		c, err := b.mirrorAnswers(ctx, fmt.Sprint("mirror", i), dir)
		if err != nil {
			return err
		}
		ours.add(c)
		if c, err = b.rbldnsdAnswers(ctx, dir); err != nil {
			return err
		}
		theirs.add(c)
	}
	us, they := ours.median(), theirs.median()
	b.row(row{
		what: fmt.Sprintf("mirror of %d to its first answer", b.entries), figure: fmt.Sprintf("%.2f s", us.wall),
		beside: fmt.Sprintf("rbldnsd %.2f s", they.wall), ratio: us.wall / they.wall, bar: "rbldnsd's", holds: us.wall <= they.wall,
	})
	b.row(row{
		what: "the same, time of the processors", figure: fmt.Sprintf("%.2f s", us.cpu),
		beside: fmt.Sprintf("rbldnsd %.2f s", they.cpu), ratio: us.cpu / they.cpu,
	})
	b.row(row{
		what: "the same, the most memory, with the program", figure: fmt.Sprintf("%.0f MiB", us.memory),
		beside: fmt.Sprintf("rbldnsd %.0f MiB", they.memory), ratio: us.memory / they.memory,
	})
	return nil
}

// started is what a server takes to its first answer.
type started struct {
	wall, cpu float64 // seconds
	memory    float64 // MiB that it had of the machine's at most
}

// starts are those of all rounds.
type starts struct{ wall, cpu, memory []float64 }

func (c *starts) add(one started) {
	c.wall, c.cpu, c.memory = append(c.wall, one.wall), append(c.cpu, one.cpu), append(c.memory, one.memory)
}

func (c *starts) median() started { return started{median(c.wall), median(c.cpu), median(c.memory)} }

func (b *bench) mirrorAnswers(ctx context.Context, name, dir string) (started, error) {
	port, err := freePort(ctx)
	if err != nil {
		return started{}, err
	}
	config := b.path(name + ".yaml")
	text := fmt.Sprintf("state: %s\ndns: {listen: [\"127.0.0.1:%d\"]}\nhttp: {listen: \"\"}\nlog: {level: warn}\nmirror: {unsigned: true}\n", b.path(name), port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return started{}, err
	}
	return timed(ctx, port, b.program, "serve", "--config", config, "--mirror", dir)
}

func (b *bench) rbldnsdAnswers(ctx context.Context, dir string) (started, error) {
	port, err := freePort(ctx)
	if err != nil {
		return started{}, err
	}
	return timed(ctx, port, "rbldnsd", "-n", "-c", "0", "-b", fmt.Sprintf("127.0.0.1/%d", port),
		zone+":ip4set:"+strings.TrimSuffix(dir, "/")+"/"+zonefile.IP4Set.File(z))
}

// timed runs a server to its first answer, and returns how long that took, and what
// it took of the processors and of memory in all.
func timed(ctx context.Context, port int, name string, args ...string) (started, error) {
	s, first, err := start(ctx, port, name, args...)
	if err != nil {
		return started{}, err
	}
	most, err := s.memory("VmHWM")
	if err := errors.Join(err, s.stop()); err != nil {
		return started{}, err
	}
	state := s.cmd.ProcessState
	if state == nil {
		return started{}, errors.New("it has not ended")
	}
	return started{first.Seconds(), (state.UserTime() + state.SystemTime()).Seconds(), float64(most) / (1 << 20)}, nil
}
