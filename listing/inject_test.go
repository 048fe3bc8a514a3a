package listing_test

import (
	"fmt"
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
func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	calls := v.record(t)
	positions := map[string]int{
		"pwrite64": count(calls, "pwrite64"), "write": count(calls, "ack") / tortureWorkers,
		"fdatasync": count(calls, "sync"), "ftruncate": count(calls, "ftruncate"), "fsync": count(calls, "ftruncate"),
	}
	most := 1 // positions of each injection
	if long(t, 1) >= 10 {
		most = len(calls) // every one
	}
	r := randomOf(t)
	tried, struck := 0, 0
	for _, one := range injections {
		n := positions[one.call]
		for _, at := range r.Perm(n)[:min(n, most)] {
			tried++
			if v.inject(t, one, at+1) {
				struck++
			}
			if t.Failed() {
				t.Fatalf("with %s", one.argument(at+1))
			}
		}
	}
	if struck == 0 {
		t.Error("no fault was injected")
	}
	t.Logf("%d of %d faults struck, at %v", struck, tried, positions)
}

// inject reports whether the fault was met.
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
	return !whole || logHas(t, log, "INJECTED")
}
