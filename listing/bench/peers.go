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
	took      time.Duration
	processor time.Duration // of all of the process's life
	resident  int64         // what it has in memory, without the page cache's
	memory    int64         // the same, as it says itself
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
	memory := int64(0)
	out, err = until(cmd, func(line string) bool {
		_, err := fmt.Sscanf(line, "ready %d", &memory)
		return err == nil
	})
	out.memory = memory
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
	memory, err := memoryOf(os.Getpid(), "RssAnon")
	if err != nil {
		return err
	}
	fmt.Printf("ready %d\n", memory)
	return s.stop()
}

// memoryOf is a figure of a process's memory: RssAnon is what no file stands behind.
func memoryOf(pid int, figure string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, figure+":"); ok {
			var kib int64
			_, err := fmt.Sscanf(rest, "%d kB", &kib)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("the process's status has no %s", figure)
}

// until runs a command, and measures it up to the first line that it prints and
// that seen takes; then the command is to end.
func until(cmd *exec.Cmd, seen func(line string) bool) (out opened, err error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return out, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return out, err
	}
	found := false
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		ready := seen(lines.Text())
		if out.took == 0 && (lines.Text() == "opened" || ready) {
			out.took = time.Since(begun)
		}
		if !found && ready {
			found = true
			out.resident, err = memoryOf(cmd.Process.Pid, "RssAnon")
			_ = cmd.Process.Signal(os.Interrupt) // a server; ours has ended by itself, or does
		}
	}
	err = errors.Join(err, cmd.Wait())
	if found {
		out.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		return out, nil
	}
	return out, errors.Join(fmt.Errorf("%s was never ready", cmd.Args), err)
}

// rbldnsd measures rbldnsd from exec until it has read the same list; nothing when it
// is not installed.
func (b *bench) rbldnsd(ctx context.Context, n int) (none opened, err error) {
	program, err := exec.LookPath("rbldnsd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/rbldnsd"); err != nil {
			return none, nil //nolint:nilerr // the table says that it is not there
		}
	}
	list := b.path(fmt.Sprintf("list%d.ip4set", n))
	if _, err := os.Stat(list); err != nil {
		if err := writeList(list, n); err != nil {
			return none, err
		}
	}
	l, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return none, err
	}
	port := l.LocalAddr().(*net.UDPAddr).Port
	if err := l.Close(); err != nil {
		return none, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // it gives up root before it reads
		return none, err
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

// times is what a histogram of the metrics tells.
type times struct {
	all, over     uint64
	longest, mean time.Duration // the longest is at most so long
}

// histogram reads one, with what was longer than a time that bounds a bucket.
func (s *running) histogram(name string, longer time.Duration) (t times, err error) {
	families, err := s.registry.Gather()
	if err != nil {
		return t, err
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		t.all, t.longest = h.GetSampleCount(), math.MaxInt64
		t.mean = time.Duration(h.GetSampleSum() / float64(max(t.all, 1)) * float64(time.Second)).Round(10 * time.Microsecond)
		for _, bucket := range h.GetBucket() {
			bound := time.Duration(bucket.GetUpperBound() * float64(time.Second))
			if bound == longer {
				t.over = t.all - bucket.GetCumulativeCount()
			}
			if bucket.GetCumulativeCount() == t.all {
				t.longest = min(t.longest, bound)
			}
		}
		return t, nil
	}
	return t, fmt.Errorf("there is no metric %s", name)
}
