package listing_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// deed is one thing that a store does, and whether it has.
type deed struct {
	do   func(t *testing.T, s *listing.Store) error
	done func(t *testing.T, s *listing.Store) bool
	// regular is what time alone asks for: nobody is told of an error.
	regular bool
}

func lists(addr string) func(*testing.T, *listing.Store) bool {
	return func(_ *testing.T, s *listing.Store) bool {
		_, listed := s.Snapshot().Lookup(netip.MustParseAddr(addr))
		return listed
	}
}

func listsNot(addr string) func(*testing.T, *listing.Store) bool {
	return func(t *testing.T, s *listing.Store) bool { t.Helper(); return !lists(addr)(t, s) }
}

// deeds are all kinds of writing, on a store that lists 192.0.2.1 by evidence,
// 192.0.2.8 and .9 for an hour.
var deeds = map[string]deed{
	"evidence": {
		do: func(t *testing.T, s *listing.Store) error {
			t.Helper()
			_, err := s.Observe(t.Context(), bounce(2, "192.0.2.2", time.Now()))
			return err
		},
		done: lists("192.0.2.2"),
	},
	"list": {
		do: func(t *testing.T, s *listing.Store) error {
			t.Helper()
			_, err := s.List(t.Context(), operator, []listing.Manual{{Key: key(t, "198.51.100.0/24")}})
			return err
		},
		done: lists("198.51.100.7"),
	},
	"delist": {
		do: func(t *testing.T, s *listing.Store) error {
			t.Helper()
			_, err := s.Delist(t.Context(), operator, []listing.Key{key(t, "192.0.2.1")}, time.Hour)
			return err
		},
		done: listsNot("192.0.2.1"),
	},
	"exempt": {
		do: func(t *testing.T, s *listing.Store) error {
			t.Helper()
			_, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.0/29")}})
			return err
		},
		done: listsNot("192.0.2.1"),
	},
	"revoke": {
		do: func(t *testing.T, s *listing.Store) error {
			t.Helper()
			_, err := s.Revoke(t.Context(), operator, listing.Revocation{Event: id(1)})
			return err
		},
		done: listsNot("192.0.2.1"),
	},
	"suspend": {
		do: func(t *testing.T, s *listing.Store) error {
			t.Helper()
			_, err := s.Reporter(t.Context(), listing.ReporterOrder{Order: operator, Action: listing.ActionSuspend, Name: "other"})
			return err
		},
		done: func(_ *testing.T, s *listing.Store) bool {
			all, err := s.Reporters()
			return err == nil && slices.ContainsFunc(all, func(r listing.Enrolment) bool { return r.Name == "other" && !r.Suspended.IsZero() })
		},
	},
	"expiry": {
		do:      func(*testing.T, *listing.Store) error { time.Sleep(2 * time.Hour); return nil },
		done:    listsNot("192.0.2.9"),
		regular: true,
	},
	"prune": {
		do: func(*testing.T, *listing.Store) error { time.Sleep(2 * 24 * time.Hour); return nil },
		done: func(t *testing.T, s *listing.Store) bool {
			t.Helper()
			_, err := s.Since(firstSequence)
			return errors.Is(err, listing.ErrCut)
		},
		regular: true,
	},
}

// firstSequence is that of a store that was opened for the first time when the clock
// of a bubble starts: the settings are its first change.
var firstSequence = uint64(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) + 1

// forgetful keeps the journal for a day.
func forgetful() listing.Settings {
	s := eager()
	s.Journal.For = 24 * time.Hour
	return s
}

// staged is a store at whose stages things go wrong.
type staged struct {
	*running
	before *listing.Snapshot
	hook   atomic.Pointer[func(string) error] // nil: nothing goes wrong
}

func newStaged(t *testing.T) *staged {
	t.Helper()
	path := filepath.Join(t.TempDir(), "listing.db")
	s, err := listing.Open(path, listing.Options{Settings: forgetful()})
	if err != nil {
		t.Fatal(err)
	}
	out := &staged{}
	s.OnStage(func(stage string) error {
		if hook := out.hook.Load(); hook != nil {
			return (*hook)(stage)
		}
		return nil
	})
	out.running = run(t, path, s)
	out.observe(bounce(1, "192.0.2.1", time.Now()))
	out.list(time.Now().Add(time.Hour), "192.0.2.8", "192.0.2.9")
	synctest.Wait()
	out.before = s.Snapshot()
	return out
}

func (s *staged) on(hook func(stage string) error) { s.hook.Store(&hook) }

// whole wants a store with which nothing is wrong, and a journal that leads there.
func (s *staged) whole(t *testing.T, now *running) {
	t.Helper()
	now.verify()
	d, err := now.Since(s.before.Sequence())
	if errors.Is(err, listing.ErrCut) {
		return // pruned
	}
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(everything(apply(s.before, d)), everything(now.Snapshot())) {
		t.Error("the journal does not lead to what is published")
	}
}

// A commit fails at each of its stages, or the code there does; who asked is told,
// what is served stays as it was, and once the fault has gone the same works,
// unless it turns out to have been done.
func TestFaultsAtEveryStage(t *testing.T) {
	t.Parallel()
	for name, deed := range deeds {
		for _, stage := range []string{"begin", "changed", "finished", "committed", "reopened"} {
			for _, panics := range []bool{false, true} {
				if panics && stage == "reopened" {
					continue // that is all in guard's hands
				}
				t.Run(name+" "+stage+map[bool]string{true: " panics"}[panics], func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { faultAt(t, deed, stage, panics) })
				})
			}
		}
	}
}

func faultAt(t *testing.T, deed deed, stage string, panics bool) {
	t.Helper()
	s := newStaged(t)
	if deed.done(t, s.Store) {
		t.Fatal("it is done before it began")
	}
	struck := 0
	s.on(func(at string) error {
		meant := at == stage || stage == "reopened" && at == "finished"
		if !meant || deed.regular && struck == 20 {
			return nil
		}
		struck++
		if panics {
			panic("a fault")
		}
		return syscall.EIO
	})
	err := deed.do(t, s.Store)
	switch {
	case deed.regular:
	case stage != "changed" && !errors.Is(err, listing.ErrUnavailable),
		stage == "changed" && !panics && !errors.Is(err, syscall.EIO),
		stage == "changed" && panics && !errors.Is(err, listing.ErrDamaged):
		t.Errorf("it is told that %v", err)
	}
	synctest.Wait()
	if got := s.Snapshot(); !deed.regular && !slices.Equal(everything(got), everything(s.before)) {
		t.Errorf("published is %v at %d, and was %v at %d", s.published(), got.Sequence(), everything(s.before), s.before.Sequence())
	}
	s.hook.Store(nil)
	if struck == 0 {
		t.Fatal("nothing was struck")
	}
	time.Sleep(2 * time.Minute) // it opens the file anew, and finds out
	synctest.Wait()
	if st, err := s.Status(); err != nil || !st.Writable {
		t.Errorf("status: %+v %v", st, err)
	}
	if got := deed.done(t, s.Store); !deed.regular && got != (stage == "committed") {
		t.Errorf("after the fault: done is %t", got)
	}
	if !deed.done(t, s.Store) {
		if err := deed.do(t, s.Store); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	}
	if !deed.done(t, s.Store) {
		t.Error("it is not done")
	}
	s.whole(t, s.running)
	again := s.reopen(forgetful())
	if !deed.done(t, again.Store) {
		t.Error("after it was opened again it is not done")
	}
	s.whole(t, again)
}

// The process ends at each stage: the file as it is then has all of what was done,
// from when it is on the disk, and before nothing of it.
func TestCrashesAtEveryStage(t *testing.T) {
	t.Parallel()
	stages := []string{"begin", "changed", "finished", "committed", "state", "swapped", "published"}
	for name, deed := range deeds {
		for n, stage := range stages {
			if name == "suspend" && stage == "swapped" || name == "prune" {
				continue // nothing is published; and many are pruned at the same time
			}
			t.Run(name+" "+stage, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { crashAt(t, deed, stage, n >= slices.Index(stages, "committed")) })
			})
		}
	}
}

func crashAt(t *testing.T, deed deed, stage string, done bool) {
	t.Helper()
	s := newStaged(t)
	left := filepath.Join(t.TempDir(), "listing.db")
	struck := false
	s.on(func(at string) error {
		if at != stage || struck {
			return nil
		}
		if got := s.Snapshot(); deed.regular && (at == "swapped" || at == "published") && got.Sequence() == s.before.Sequence() {
			return nil // what ends soon was found anew
		}
		struck = true
		copyFile(t, s.path, left)
		if !deed.regular {
			s.wantSeen(t, at)
		}
		return nil
	})
	if err := deed.do(t, s.Store); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	s.hook.Store(nil)
	if !struck {
		t.Fatal("nothing was struck")
	}
	again := &staged{running: openAt(t, left), before: s.before}
	if got := deed.done(t, again.Store); got != done {
		t.Errorf("done is %t, want %t", got, done)
	}
	again.whole(t, again.running)
}

// openAt opens a store that no writer changes.
func openAt(t *testing.T, path string) *running {
	t.Helper()
	s, err := listing.Open(path, listing.Options{Settings: forgetful()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &running{Store: s, t: t, path: path}
}

// wantSeen looks at what the world sees in the middle of a change.
func (s *staged) wantSeen(t *testing.T, at string) {
	t.Helper()
	told := false
	select {
	case <-s.before.Superseded():
		told = true
	default:
	}
	next := s.Snapshot().Sequence() != s.before.Sequence()
	switch at {
	case "published": // or, of what publishes nothing, nothing to see
		if next != told {
			t.Errorf("at %s the next snapshot is there: %t, and who waits for it was told: %t", at, next, told)
		}
	case "swapped":
		if !next || told {
			t.Errorf("at %s the next snapshot is there: %t, and who waits for it was told: %t", at, next, told)
		}
	default:
		if next {
			t.Errorf("at %s the next snapshot is there", at)
		}
	}
}

// An image that cannot be written costs the next start its time, and nothing else.
func TestImageThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "listing.db")
	s, err := listing.Open(path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	s.ImageAlways()
	struck := false
	s.OnStage(func(stage string) error {
		if stage == "image" {
			struck = true
			return syscall.ENOSPC
		}
		return nil
	})
	r := run(t, path, s)
	r.list(time.Time{}, "192.0.2.1")
	r = r.reopen(eager())
	if !struck || r.FromImage() {
		t.Errorf("struck %t", struck)
	}
	r.want("192.0.2.1/32")
	r.ImageAlways()
	r.WriteImage()
	if !r.FromImage() {
		t.Error("with room again there is no image")
	}
}
