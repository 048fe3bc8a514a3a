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

func (n task) order() listing.Order {
	return listing.Order{By: operator.By, Reason: n.String()}
}

// do does the task until it is done.
func (n task) do(t *testing.T, s *listing.Store, now time.Time) {
	t.Helper()
	try := func(fn func() error) {
		deadline := time.Now().Add(20 * time.Second)
		for {
			err := fn()
			if err == nil {
				return
			}
			if !errors.Is(err, listing.ErrUnavailable) || time.Now().After(deadline) {
				t.Fatalf("%s: %v", n, err)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
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
		return state.reasons[n.key(tb)] == n.String()
	case 1:
		_, listed := state.reasons[n.key(tb)]
		x, err := s.ExplainKey(n.key(tb))
		return err == nil && !listed && len(x.History) == 1 && x.History[0].Why == n.String()
	case 2:
		return slices.Contains(state.exempt, n.String())
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

// TestTortureChild is the child.
func TestTortureChild(t *testing.T) {
	path := os.Getenv(tortureStore)
	if path == "" {
		t.Skip("it is a part of other tests")
	}
	s, err := listing.Open(path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	acks, err := os.OpenFile(os.Getenv(tortureAcks), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer acks.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // strace counts system calls by thread
		defer runtime.UnlockOSThread()
		done <- s.Run(ctx)
	}()
	queue := make(chan task)
	var workers sync.WaitGroup
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
		queue <- n
	}
	close(queue)
	workers.Wait()
	cancel()
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Error(err)
	}
}

// victim is a store for children, with something in it already.
type victim struct {
	dir, store, acks string
	before           *listing.Snapshot
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{dir: dir, store: filepath.Join(dir, "listing.db"), acks: filepath.Join(dir, "acks")}
	s := open(t, v.store, eager())
	for n := range 30 {
		s.observe(bounce(1000+n, fmt.Sprintf("192.0.2.%d", 100+n), time.Now()))
	}
	v.before = s.Snapshot()
	s.stop()
	return v
}

// fresh copies the store to a place of its own.
func (v *victim) fresh(t *testing.T) *victim {
	t.Helper()
	dir := t.TempDir()
	c := &victim{dir: dir, store: filepath.Join(dir, "listing.db"), acks: filepath.Join(dir, "acks"), before: v.before}
	copyFile(t, v.store, c.store)
	copyFile(t, v.store+".made", c.store+".made")
	if err := os.WriteFile(c.acks, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// acked reads what a child was told.
func (v *victim) acked(t *testing.T) []task {
	t.Helper()
	text, err := os.ReadFile(v.acks)
	if err != nil {
		t.Fatal(err)
	}
	return parseAcks(t, string(text))
}

func parseAcks(t *testing.T, text string) (out []task) {
	t.Helper()
	for line := range strings.Lines(text) {
		var n task
		if _, err := fmt.Sscanf(line, "%d\n", (*int)(&n)); err != nil {
			t.Fatalf("acknowledged is %q", line)
		}
		out = append(out, n)
	}
	return out
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
