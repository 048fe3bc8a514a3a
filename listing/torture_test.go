package listing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"backscatter/listing"
)

// The torture of a store: a child, this test binary again, works on it and says
// what was acknowledged; something is done to the child or to its disk; and then
// the store is opened and held against what had been said.
//
// BACKSCATTER_TORTURE makes it longer, by that factor; `make torture` does.

// Variables by which a child knows what to do.
const (
	tortureStore = "BACKSCATTER_TORTURE_STORE" // path of the store
	tortureAcks  = "BACKSCATTER_TORTURE_ACKS"  // path of the file for what was acknowledged
	tortureWork  = "BACKSCATTER_TORTURE_WORK"  // one of the following
)

// work is what a child does, and a victim is made for.
type work string

const (
	workMake    work = "make"    // it makes the store, and no more
	workTasks   work = "tasks"   // it does its tasks
	workCompact work = "compact" // it does them while the store is compacted
)

const (
	tortureTasks   = 48 // of a child
	tortureWorkers = 4
)

// long returns a count that BACKSCATTER_TORTURE multiplies.
func long(tb testing.TB, n int) int {
	tb.Helper()
	return n * envCount(tb, "BACKSCATTER_TORTURE", 1)
}

// A task is one thing that a child does. It is told by its number alone.
type task int

func (n task) String() string { return fmt.Sprintf("task %d", int(n)) }

func (n task) source() string {
	if n%4 == 0 {
		return fmt.Sprintf("2001:db8:%x::1", int(n%20))
	}
	return fmt.Sprintf("192.0.2.%d", n%20)
}

func (n task) key(tb testing.TB) listing.Key {
	tb.Helper()
	return key(tb, fmt.Sprintf("198.51.100.%d", n%250))
}

// reason is so long that the file has to grow while the tasks are done.
func (n task) reason() string { return n.String() + strings.Repeat(", and nobody answers", 12) }

func (n task) order() listing.Order {
	return listing.Order{By: operator.By, Reason: n.reason()}
}

// insist tries again until it works, for as long as the error is one that goes by.
func insist(t *testing.T, what fmt.Stringer, goesBy func(error) bool, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		err := fn()
		if err == nil {
			return
		}
		if !goesBy(err) || time.Now().After(deadline) {
			t.Errorf("%s: %v", what, err)
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

// do does the task until it is done.
func (n task) do(t *testing.T, s *listing.Store, now time.Time) {
	t.Helper()
	unavailable := func(err error) bool { return errors.Is(err, listing.ErrUnavailable) }
	try := func(fn func() error) { insist(t, n, unavailable, fn) }
	list := func() error {
		_, err := s.List(t.Context(), n.order(), []listing.Manual{{Key: n.key(t)}})
		return err
	}
	switch n % 6 {
	case 0:
		try(list)
	case 1:
		try(list)
		try(func() error {
			_, err := s.Delist(t.Context(), n.order(), []listing.Key{n.key(t)}, 0)
			if errors.Is(err, listing.ErrNotListed) { // a commit that failed was one after all
				return nil
			}
			return err
		})
	case 2:
		try(func() error {
			_, err := s.Exempt(t.Context(), n.order(), []listing.Exemption{{Prefix: netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", n))}})
			return err
		})
	default:
		try(func() error {
			_, err := s.Observe(t.Context(), bounce(int(n), n.source(), now))
			return err
		})
	}
}

// done reports whether the store shows all of the task.
func (n task) done(tb testing.TB, s *listing.Store, state *told) bool {
	tb.Helper()
	switch n % 6 {
	case 0:
		return state.reasons[n.key(tb)] == n.reason()
	case 1:
		_, listed := state.reasons[n.key(tb)]
		x, err := s.ExplainKey(n.key(tb))
		return err == nil && !listed && len(x.History) == 1 && x.History[0].Why == n.reason()
	case 2:
		return slices.Contains(state.exempt, n.reason())
	default:
		x, err := s.Explain(netip.MustParseAddr(n.source()))
		return err == nil && slices.ContainsFunc(x.Events, func(e listing.Event) bool { return e.ID == id(int(n)) })
	}
}

// told is what a store tells of itself in one go.
type told struct {
	reasons map[listing.Key]string
	exempt  []string
}

func tell(s *listing.Store) (*told, error) {
	out := &told{reasons: map[listing.Key]string{}}
	all, err := s.Listings(listing.Filter{By: listing.ByOperator})
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		out.reasons[l.Key] = l.Reason
	}
	exempt, err := s.Exemptions()
	for _, x := range exempt {
		out.exempt = append(out.exempt, x.Reason)
	}
	return out, err
}

func (w work) String() string { return "work " + string(w) }

// anything goes by: a fault is there for some calls only.
func anything(error) bool { return true }

// TestTortureChild is the child. Whoever speaks to the disk stays in a thread of
// its own, since strace counts system calls by thread.
func TestTortureChild(t *testing.T) {
	path, work := os.Getenv(tortureStore), work(os.Getenv(tortureWork))
	if path == "" {
		t.Skip("it is a part of other tests")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var s *listing.Store
	insist(t, work, anything, func() (err error) {
		s, err = listing.Open(path, listing.Options{Settings: eager()})
		return err
	})
	if s == nil {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- s.Run(ctx)
	}()
	if work != workMake {
		labour(t, s, work)
	}
	cancel()
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Error(err)
	}
}

// labour does all tasks, and says of each that it is done.
func labour(t *testing.T, s *listing.Store, work work) {
	t.Helper()
	acks, err := os.OpenFile(os.Getenv(tortureAcks), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer acks.Close()
	queue := make(chan task)
	var workers sync.WaitGroup
	compacted := make(chan struct{})
	if work == workCompact {
		workers.Go(func() {
			defer close(compacted)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			insist(t, work, anything, func() error {
				_, err := s.Compact(t.Context(), operator, silent)
				return err
			})
		})
	}
	for range tortureWorkers {
		workers.Go(func() {
			for n := range queue {
				n.do(t, s, time.Now())
				if _, err := fmt.Fprintf(acks, "%d\n", n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := range task(tortureTasks) {
		if work == workCompact && n == tortureTasks/2 { // the rest comes after it
			<-compacted
		}
		queue <- n
	}
	close(queue)
	workers.Wait()
}

// victim is a store for children, with something in it already, unless they are to
// make it.
type victim struct {
	tool             string // strace
	work             work
	dir, store, acks string
	data             []byte // of the store
	before           *listing.Snapshot
}

func newVictim(t *testing.T, work work) *victim {
	t.Helper()
	v := &victim{tool: straceTool(t), work: work}
	v.place(t.TempDir())
	if work == workMake {
		return v
	}
	s := open(t, v.store, eager())
	for n := range 30 {
		s.observe(bounce(1000+n, fmt.Sprintf("192.0.2.%d", 100+n), time.Now()))
	}
	v.before = s.Snapshot()
	s.stop()
	v.data = read(t, v.store)
	return v
}

func (v *victim) place(dir string) {
	v.dir, v.store, v.acks = dir, filepath.Join(dir, "listing.db"), filepath.Join(dir, "acks")
}

// fresh copies the store to an empty folder.
func (v *victim) fresh(dir string) (*victim, error) {
	c := *v
	c.place(dir)
	if err := os.WriteFile(c.acks, nil, 0o600); err != nil || v.data == nil {
		return &c, err
	}
	return &c, errors.Join(os.WriteFile(c.store, v.data, 0o600), os.WriteFile(c.store+".made", nil, 0o600))
}

// acked reads what a child was told.
func (v *victim) acked() ([]task, error) {
	text, err := os.ReadFile(v.acks)
	if err != nil {
		return nil, err
	}
	return parseAcks(string(text))
}

func parseAcks(text string) (out []task, err error) {
	for line := range strings.Lines(text) {
		var n task
		if _, err := fmt.Sscanf(line, "%d\n", (*int)(&n)); err != nil {
			return nil, fmt.Errorf("acknowledged is %q", line)
		}
		out = append(out, n)
	}
	return out, nil
}

// examine opens a store and says what is wrong with it: everything acknowledged
// must be there, nothing by half, and the journal must lead from what was there
// before, if that is known, to what is there now.
func examine(t *testing.T, path string, before *listing.Snapshot, acked []task) error {
	t.Helper()
	s, err := listing.Open(path, listing.Options{Settings: eager()})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Verify(); err != nil {
		return err
	}
	state, err := tell(s)
	if err != nil {
		return err
	}
	for _, n := range acked {
		if !n.done(t, s, state) {
			return fmt.Errorf("%s was acknowledged and is not there", n)
		}
	}
	if before == nil {
		return nil
	}
	d, err := s.Since(before.Sequence())
	if err != nil {
		return err
	}
	if !slices.Equal(everything(apply(before, d)), everything(s.Snapshot())) {
		return errors.New("the journal does not lead to what is published")
	}
	return nil
}

func randomOf(t *testing.T) *rand.Rand {
	t.Helper()
	seed := envCount(t, "BACKSCATTER_SEED", int(time.Now().UnixNano()))
	t.Logf("seed %d; repeat it with BACKSCATTER_SEED=%[1]d", seed)
	return rand.New(rand.NewPCG(uint64(seed), 0))
}
