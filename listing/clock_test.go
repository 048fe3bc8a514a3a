package listing_test

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"backscatter/listing"
)

// kept is what a store has that goes with age.
func (r *running) kept() [3]uint64 {
	r.t.Helper()
	st := r.status()
	return [3]uint64{st.Observations, st.Headers, st.Journal}
}

// aged returns a store with an observation of a key that is not listed, its header,
// and a journal.
func aged(t *testing.T, path string) (s *running, set func(ahead time.Duration)) {
	t.Helper()
	settings := braked()
	settings.Policy.Score = 3
	settings.Headers = listing.KeepHeaders{For: 30 * day, Bytes: 1 << 20}
	s, shift := jumpy(t, path, settings)
	o := bounce(1, "192.0.2.66", time.Now())
	o.Headers = "From: MAILER-DAEMON@mx.example\n"
	s.observe(o)
	s.list(time.Time{}, "192.0.2.1")
	time.Sleep(time.Hour)
	return s, func(ahead time.Duration) { shift.Store(int64(ahead)) }
}

// A clock that jumps a year ahead has nothing dropped for a week: set right within
// it, restarted or not, nothing is lost, though nothing ends that a brake would hold.
func TestClockAheadDropsNothing(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "listing.db")
			s, set := aged(t, path)
			before := s.kept()
			set(2 * year)
			time.Sleep(day)
			st := s.status()
			if got := s.kept(); got != before || !st.Brakes.Stalled.IsZero() {
				t.Errorf("kept %v, had %v; brakes %+v", got, before, st.Brakes)
			}
			if on := st.Brakes; on.Jumped.Sub(on.JumpedFrom) < 2*year || !on.Believed.Equal(on.Jumped.Add(7*day)) {
				t.Errorf("status tells of %+v", on)
			}
			set(0)
			if restarted {
				s = s.reopen(s.Settings())
			}
			time.Sleep(time.Hour)
			s.resume()
			time.Sleep(time.Hour)
			if got := s.kept(); got != before || s.status().Brakes != (listing.BrakeStatus{}) {
				t.Errorf("set right, restarted %t: kept %v, had %v; brakes %+v", restarted, got, before, s.status().Brakes)
			}
			if n := s.actions()[listing.ActionBrake]; n != 2 {
				t.Errorf("%d entries of the audit tell of it, want one a jump", n)
			}
			s.verify()
		})
	}
}

// A store that did not run for long goes on without an operator: it serves, lists and
// ends as ever, and drops after a week what grew old; or at once, on an order.
func TestStoreThatDidNotRun(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "listing.db")
			s, _ := aged(t, path)
			s.list(time.Now().Add(day), "192.0.2.2")
			settings := s.Settings()
			s.stop()
			time.Sleep(2 * year)
			reg := prometheus.NewRegistry()
			store, err := listing.Open(path, listing.Options{Settings: settings, Metrics: reg})
			if err != nil {
				t.Fatal(err)
			}
			var ahead atomic.Int64
			store.SetClock(func() time.Time { return time.Now().UTC().Add(time.Duration(ahead.Load())) })
			s = run(t, path, store)
			time.Sleep(time.Minute)
			s.want("192.0.2.1/32") // the other is over
			tell := func(jumped string) {
				t.Helper()
				want := "# HELP backscatter_clock_jumped 1 while nothing is dropped for its age, since the clock jumped or the store did not run for long.\n" +
					"# TYPE backscatter_clock_jumped gauge\nbackscatter_clock_jumped " + jumped + "\n"
				if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "backscatter_clock_jumped"); err != nil {
					t.Error(err)
				}
			}
			tell("1")
			if st := s.status(); st.Observations != 1 || st.Headers != 1 {
				t.Errorf("dropped at once: %+v", st)
			}
			if ordered {
				s.resume()
			} else {
				for range 9 { // a week in a few leaps, none of which is a jump
					ahead.Add(int64(20 * time.Hour))
					time.Sleep(2 * time.Minute)
				}
			}
			time.Sleep(time.Hour)
			tell("0")
			if st := s.status(); st.Observations != 0 || st.Headers != 0 {
				t.Errorf("ordered %t: %d observations and %d headers are left", ordered, st.Observations, st.Headers)
			}
			s.verify()
		})
	}
}

// A restart is no jump, however quiet the store was; nor is time that goes by.
func TestQuietStoreIsNoJump(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := aged(t, filepath.Join(t.TempDir(), "listing.db"))
		settings := s.Settings()
		time.Sleep(30 * time.Hour)
		for _, quiet := range []time.Duration{11 * time.Hour, time.Minute} {
			s = s.reopen(settings)
			time.Sleep(quiet)
			s.stop()
			time.Sleep(11 * time.Hour)
			s = open(t, s.path, settings)
			if on := s.status().Brakes; on != (listing.BrakeStatus{}) {
				t.Fatalf("%+v", on)
			}
		}
		s.verify()
	})
}
