package listing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// injection is what strace does to one system call of a child: an error in its
// place, or the end of the process.
type injection struct {
	scope scope
	call  string
	what  string
	times int // in a row; 0: once
}

// scope is a child, and which of its files are looked at.
type scope string

const (
	onStore  scope = "the store"           // while the tasks are done
	onCopy   scope = "a compaction's copy" // until it has the name of the store
	onFolder scope = "the folder"          // that both are in
	onMaking scope = "a new store"         // whatever its name is
)

func (s scope) work() work {
	switch s {
	case onStore:
		return workTasks
	case onMaking:
		return workMake
	}
	return workCompact
}

// paths are arguments of strace: calls that have nothing to do with these are not
// counted.
func (i injection) paths(v *victim) []string {
	switch {
	case i.call == "write":
		return []string{"-P", v.acks}
	case i.scope == onStore:
		return []string{"-P", v.store}
	case i.scope == onCopy:
		return []string{"-P", v.store + ".compacting"}
	case i.scope == onFolder:
		return []string{"-P", v.dir}
	}
	return nil
}

const (
	diskError = "error=EIO"
	diskFull  = "error=ENOSPC"
	noMemory  = "error=ENOMEM"
	death     = "signal=KILL"
)

var injections = slices.Concat(
	// Of those of the disk being full two or three in a row, for then there is room again.
	each(onStore, diskError, 0, "pwrite64", "fdatasync", "fsync", "ftruncate", "openat"),
	each(onStore, diskFull, 3, "pwrite64"),
	each(onStore, diskFull, 2, "fdatasync", "ftruncate"),
	each(onStore, noMemory, 0, "mmap"),
	each(onStore, death, 0, "pwrite64", "fdatasync", "fsync", "ftruncate", "write"), // by the last all is done but to say so

	each(onCopy, diskError, 0, "pwrite64", "fdatasync", "openat", "renameat", "unlinkat"),
	each(onCopy, diskFull, 3, "pwrite64"),
	each(onCopy, diskFull, 0, "renameat"),
	each(onCopy, noMemory, 0, "mmap"),
	each(onCopy, death, 0, "pwrite64", "fdatasync", "renameat"),

	each(onFolder, diskError, 0, "openat", "fsync"),
	each(onFolder, death, 0, "fsync"),

	each(onMaking, diskError, 0, "pwrite64", "fdatasync", "fsync", "linkat", "unlinkat"),
	each(onMaking, diskFull, 2, "pwrite64"),
	each(onMaking, diskFull, 0, "ftruncate"),
	each(onMaking, death, 0, "pwrite64", "fdatasync", "fsync", "ftruncate", "linkat", "unlinkat"),
)

// each does the same to several calls.
func each(s scope, what string, times int, calls ...string) (out []injection) {
	for _, call := range calls {
		out = append(out, injection{s, call, what, times})
	}
	return out
}

func (i injection) String() string { return fmt.Sprintf("%s of %s on %s", i.what, i.call, i.scope) }

// arguments are those of strace that count the calls, and strike the one at a
// position; at 0 none.
func (i injection) arguments(v *victim, at int) []string {
	out := append(i.paths(v), "-e", "trace="+i.call)
	switch {
	case at == 0:
		return out
	case i.times > 1:
		return append(out, "-e", fmt.Sprintf("inject=%s:%s:when=%d..%d", i.call, i.what, at, at+i.times-1))
	}
	return append(out, "-e", fmt.Sprintf("inject=%s:%s:when=%d", i.call, i.what, at))
}

// attempt is one position of one kind.
type attempt struct {
	injection
	at int
}

// tally counts what was tried of each kind.
type tally struct {
	mu            sync.Mutex
	tried, struck map[injection]int
}

const faultWorkers = 4 // most of their time they wait for a disk that fails

// Every write, sync, change of size, and whatever else matters, of a store that is
// worked on, that is compacted meanwhile, and that is made, fails once or is the
// last thing that the process does. A child that lives goes on and does all its
// tasks in the end; and then everything acknowledged is there, and nothing by half.
//
// strace counts the calls of each thread, so that one position is that of several
// calls: the writer's, and that of who opens the file and closes it.
func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	victims := map[work]*victim{}
	for _, work := range []work{workMake, workTasks, workCompact} {
		victims[work] = newVictim(t, work)
	}
	every := long(t, 1) >= 10
	r := randomOf(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	queue := make(chan attempt)
	sum := tally{tried: map[injection]int{}, struck: map[injection]int{}}
	var workers sync.WaitGroup
	for range faultWorkers {
		workers.Go(func() {
			for one := range queue {
				if err := sum.strike(ctx, t, victims[one.scope.work()], one); err != nil && ctx.Err() == nil {
					t.Errorf("%s, position %d: %v", one.injection, one.at, err)
					cancel()
				}
			}
		})
	}
	for _, one := range injections {
		most, err := victims[one.scope.work()].strike(ctx, t, attempt{one, 0})
		if err != nil || most.calls == 0 {
			t.Errorf("%s: nothing to strike, %v", one, err)
			break
		}
		all := r.Perm(most.calls)
		if !every {
			all = all[:1]
		}
		for _, at := range all {
			queue <- attempt{one, at + 1}
		}
	}
	close(queue)
	workers.Wait()
	sum.report(t, every)
}

func (s *tally) strike(ctx context.Context, t *testing.T, v *victim, one attempt) error {
	t.Helper()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	got, err := v.strike(ctx, t, one)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried[one.injection]++
	if got.struck {
		s.struck[one.injection]++
	}
	return nil
}

func (s *tally) report(t *testing.T, every bool) {
	t.Helper()
	tried, struck, never := 0, 0, 0
	for _, one := range injections {
		tried, struck = tried+s.tried[one], struck+s.struck[one]
		if s.struck[one] == 0 {
			never++
		}
		if every {
			t.Logf("%s: %d positions, %d struck", one, s.tried[one], s.struck[one])
		}
	}
	if struck == 0 || every && never > 0 {
		t.Errorf("%d faults struck, and %d kinds of them not once", struck, never)
	}
	t.Logf("torture: faults of the disk: %d of %d positions struck, of %d kinds; the others lie beyond the last call of a thread", struck, tried, len(injections))
}

// outcome is what came of a child: whether it was struck, and the calls of the
// thread that made most.
type outcome struct {
	struck bool
	calls  int
}

// strike runs one child, and looks at what it leaves.
func (v *victim) strike(ctx context.Context, t *testing.T, one attempt) (out outcome, err error) {
	t.Helper()
	dir, err := os.MkdirTemp(v.dir, "f")
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := v.fresh(dir)
	if err != nil {
		return out, err
	}
	end, err := c.strace(ctx, one.arguments(c, one.at)...)
	if err != nil {
		return out, err
	}
	if out, err = readOutcome(end, one.call); err != nil {
		return out, err
	}
	if !out.struck && one.at > 0 && out.calls >= one.at {
		return out, fmt.Errorf("a thread made %d calls, and this one was not struck", out.calls)
	}
	acked, err := c.acked()
	switch {
	case err != nil:
		return out, err
	case end.whole && c.work != workMake && len(acked) != tortureTasks:
		return out, fmt.Errorf("the child ended with %d of %d tasks done", len(acked), tortureTasks)
	}
	if err := examine(t, c.store, c.before, acked); err != nil {
		return out, err
	}
	if _, err := os.Stat(c.store + ".compacting"); !errors.Is(err, fs.ErrNotExist) {
		return out, fmt.Errorf("what a compaction left is still there: %w", err)
	}
	return out, nil
}

// readOutcome reads a log of strace.
func readOutcome(end ended, call string) (out outcome, err error) {
	text, err := os.ReadFile(end.log)
	if err != nil {
		return out, err
	}
	out.struck = !end.whole || bytes.Contains(text, []byte("INJECTED"))
	byThread := map[string]int{}
	for line := range strings.Lines(string(text)) {
		thread, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(strings.TrimSpace(rest), call+"(") {
			byThread[thread]++
			out.calls = max(out.calls, byThread[thread])
		}
	}
	return out, nil
}
