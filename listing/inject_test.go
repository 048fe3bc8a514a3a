package listing_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What strace does to one system call of a child: an error in its place, or the
// end of the process.
type injection struct {
	call, what string
	times      int // in a row; 0: once
}

func (i injection) argument(when int) string {
	last := ""
	if i.times > 1 {
		last = fmt.Sprintf("..%d", when+i.times-1)
	}
	return fmt.Sprintf("inject=%s:%s:when=%d%s", i.call, i.what, when, last)
}

var injections = []injection{
	{call: "pwrite64", what: "error=EIO"},
	{call: "pwrite64", what: "error=ENOSPC", times: 7}, // the disk is full, then there is room again
	{call: "fdatasync", what: "error=EIO"},
	{call: "fsync", what: "error=EIO"},
	{call: "ftruncate", what: "error=ENOSPC", times: 2},
	{call: "pwrite64", what: "signal=KILL"},
	{call: "fdatasync", what: "signal=KILL"},
	{call: "ftruncate", what: "signal=KILL"},
	{call: "fsync", what: "signal=KILL"},
	{call: "write", what: "signal=KILL"}, // all is done but to say so
}

// Every write, fsync and ftruncate fails once, or is the last thing that the
// process does. A child that lives goes on and does all its tasks in the end.
//
// strace counts the calls of each thread, so that one position is that of several
// calls: the writer's, and that of who opens the file and closes it. As many
// positions are tried as there were calls in all.
func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	calls := v.record(t)
	positions := map[string]int{
		"pwrite64": count(calls, "pwrite64"), "write": count(calls, "ack"),
		"fdatasync": count(calls, "sync"), "ftruncate": count(calls, "ftruncate"), "fsync": count(calls, "ftruncate"),
	}
	every := long(t, 1) >= 10
	r := randomOf(t)
	tried, total, none := 0, 0, 0
	for _, one := range injections {
		all := r.Perm(positions[one.call])
		if !every {
			all = all[:min(len(all), 1)]
		}
		struck := 0
		for _, at := range all {
			if v.inject(t, one, at+1) {
				struck++
			}
			if t.Failed() {
				t.Fatalf("with %s", one.argument(at+1))
			}
		}
		if struck == 0 {
			none++
		}
		tried, total = tried+len(all), total+struck
		t.Logf("%s %s: of %d calls %d were tried, and %d of them struck", one.call, one.what, positions[one.call], len(all), struck)
	}
	if total == 0 || every && none > 0 {
		t.Errorf("%d faults struck, and %d kinds of them not once", total, none)
	}
	t.Logf("%d of %d faults struck; the others lie beyond the last call of a thread", total, tried)
}

// inject reports whether the fault was met. If not, the child must have made fewer
// calls.
func (v *victim) inject(t *testing.T, one injection, when int) bool {
	t.Helper()
	c := v.fresh(t)
	log, whole := c.strace(t, "-P", c.acks, "-e", "trace=pwrite64,write,ftruncate,fdatasync,fsync", "-e", one.argument(when))
	acked := c.acked(t)
	if whole && len(acked) != tortureTasks {
		t.Errorf("the child ended with %d of %d tasks done", len(acked), tortureTasks)
	}
	if err := examine(t, c.store, c.before, acked); err != nil {
		t.Error(err)
	}
	struck := !whole || logHas(t, log, "INJECTED")
	if most := mostCalls(t, log, one.call); !struck && most >= when {
		t.Errorf("a thread made %d calls of %s, and the %dth was not struck", most, one.call, when)
	}
	return struck
}

// mostCalls counts the calls that one thread made, of that which made most.
func mostCalls(t *testing.T, log, name string) (most int) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	byThread := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if m := callBegun.FindStringSubmatch(line); m != nil && m[1] == name {
			thread, _, _ := strings.Cut(line, " ")
			byThread[thread]++
			most = max(most, byThread[thread])
		}
	}
	return most
}
