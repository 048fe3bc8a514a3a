package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"backscatter/listing"
)

// opened is what it took to open a store in a process of its own.
type opened struct {
	took   time.Duration
	memory int64 // without what is the page cache's
}

// open opens the store in another process, from exec until it is ready.
func open(ctx context.Context, path string) (opened, error) {
	var out opened
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	cmd := exec.CommandContext(ctx, self, "open", path)
	cmd.Stderr = os.Stderr
	out.took, err = until(cmd, func(line string) bool {
		_, err := fmt.Sscanf(line, "ready %d", &out.memory)
		return err == nil
	})
	return out, err
}

// openStore is the other process.
func openStore(path string) error {
	s, err := start(path, lazy())
	if err != nil {
		return err
	}
	if _, ok := s.Snapshot().Lookup(host(0)); !ok {
		return errors.New("the list is empty")
	}
	fmt.Println("opened") // it answers; what follows is not part of the time
	memory, err := anonymous()
	if err != nil {
		return err
	}
	fmt.Printf("ready %d\n", memory)
	return s.stop()
}

// anonymous is the memory of this process that no file stands behind.
func anonymous() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("/proc/self/status has no RssAnon")
}

// until runs a command, and returns the time to the first line that it prints and
// that seen takes; then the command is to end.
func until(cmd *exec.Cmd, seen func(line string) bool) (took time.Duration, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	found := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if took == 0 && (lines.Text() == "opened" || seen(lines.Text())) {
			took = time.Since(begun)
		}
		if !found && seen(lines.Text()) {
			found = true
			_ = cmd.Process.Signal(os.Interrupt) // a server; ours has ended by itself, or does
		}
	}
	err = cmd.Wait()
	if found {
		return took, nil
	}
	return 0, errors.Join(fmt.Errorf("%s was never ready", cmd.Args), err)
}

// rbldnsd returns how long rbldnsd takes from exec until it has read the same
// list; 0 when it is not installed.
func (b *bench) rbldnsd(ctx context.Context, n int) (time.Duration, error) {
	program, err := exec.LookPath("rbldnsd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/rbldnsd"); err != nil {
			return 0, nil //nolint:nilerr // the table says that it is not there
		}
	}
	list := b.path(fmt.Sprintf("list%d.ip4set", n))
	if _, err := os.Stat(list); err != nil {
		if err := writeList(list, n); err != nil {
			return 0, err
		}
	}
	l, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.LocalAddr().(*net.UDPAddr).Port
	if err := l.Close(); err != nil {
		return 0, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // it gives up root before it reads
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program, "-n", "-b", fmt.Sprintf("127.0.0.1/%d", port), "bl.example:ip4set:"+list)
	return until(cmd, func(line string) bool { return strings.Contains(line, "zones reloaded") })
}

func writeList(path string, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, ":127.0.0.%d:listed: $\n", listing.ClassManual)
	for i := range n {
		fmt.Fprintln(w, host(i))
	}
	return errors.Join(w.Flush(), f.Close())
}

// holds reads from the metrics how many transactions there were, how many of them
// kept the writer longer than a time that bounds a bucket, and a bound of the
// longest.
func (s *running) holds(longer time.Duration) (all, over uint64, longest time.Duration, err error) {
	families, err := s.registry.Gather()
	if err != nil {
		return 0, 0, 0, err
	}
	for _, f := range families {
		if f.GetName() != "backscatter_store_hold_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		all, longest = h.GetSampleCount(), math.MaxInt64
		for _, bucket := range h.GetBucket() {
			bound := time.Duration(bucket.GetUpperBound() * float64(time.Second))
			if bound == longer {
				over = all - bucket.GetCumulativeCount()
			}
			if bucket.GetCumulativeCount() == all {
				longest = min(longest, bound)
			}
		}
	}
	return all, over, longest, nil
}
