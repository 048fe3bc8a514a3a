package listing_test

import (
	"errors"
	"fmt"
	"net/netip"
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

// braked is the rule that lists at the first bounce, however old, with brakes.
func braked() listing.Settings {
	s := eager()
	s.Policy.AgedTo = 1
	s.Brakes = listing.DefaultBrakes()
	return s
}

// host is the nth of many addresses.
func host(n int) string { return fmt.Sprintf("%d.%d.%d.9", 20+n/62500, n/250%250, n%250) }

func (r *running) status() listing.Status {
	r.t.Helper()
	st, err := r.Status()
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

func (r *running) resume() listing.Result {
	r.t.Helper()
	result, err := r.Resume(r.t.Context(), operator)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// listMany lists n addresses by hand until a moment.
func (r *running) listMany(n int, until time.Time) {
	r.t.Helper()
	keys := make([]listing.Manual, n)
	for i := range keys {
		keys[i] = listing.Manual{Key: key(r.t, host(i)), Until: until}
	}
	if _, err := r.List(r.t.Context(), operator, keys); err != nil {
		r.t.Fatal(err)
	}
}

// The 51st listing in an hour is held back, and so is every further one, until
// an operator says otherwise; reports are taken in and listings renewed.
func TestListingIsFrozen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
		for n := range 50 {
			if out := s.observe(bounce(n, host(n), time.Now())); !out.Listed {
				t.Fatalf("listing %d: %+v", n, out)
			}
		}
		if st := s.status(); !st.Brakes.Frozen.IsZero() {
			t.Fatalf("frozen after 50: %+v", st.Brakes)
		}
		for n := range 3 {
			out := s.observe(bounce(50+n, host(50+n), time.Now()))
			if out.Listed || out.Duplicate || !out.Decision.List {
				t.Fatalf("listing %d: %+v", 50+n, out)
			}
		}
		s.observe(bounce(60, host(52), time.Now())) // once more: held back once
		if st := s.status(); !st.Brakes.Frozen.Equal(time.Now()) || st.Brakes.Limit != 50 || st.Brakes.Held != 3 || !st.Writable {
			t.Fatalf("brakes %+v", st.Brakes)
		}
		s = s.reopen(braked())
		time.Sleep(25 * time.Hour)
		until := s.explain(host(0)).Until
		s.observe(bounce(61, host(0), time.Now()))
		if x := s.explain(host(0)); !x.Until.After(until) {
			t.Error("a listing is not renewed while new ones are held back")
		}
		if x := s.explain(host(51)); x.Listed || !x.HeldBack {
			t.Errorf("held back: %+v", x)
		}
		// What an operator says counts at once.
		s.list(time.Time{}, host(53))
		if n := s.Snapshot().Len(); n != 51 {
			t.Errorf("%d are listed, want 51", n)
		}
		// One of them is withdrawn meanwhile: evidence says nothing of it now.
		s.revoke(listing.Revocation{Event: id(51)})

		would, err := s.Resume(t.Context(), dryRun)
		if err != nil || len(would.Added) != 2 || s.Snapshot().Len() != 51 || s.status().Brakes.Held != 3 {
			t.Fatalf("dry run %+v: %v, %+v", would, err, s.status().Brakes)
		}
		done := s.resume()
		if len(done.Added) != 2 || len(done.Removed) != 0 || s.status().Brakes != (listing.BrakeStatus{}) {
			t.Errorf("resumed: %+v, %+v", done, s.status().Brakes)
		}
		s.observe(bounce(70, host(70), time.Now()))
		for _, n := range []int{50, 52, 70} {
			if x := s.explain(host(n)); !x.Listed || x.HeldBack {
				t.Errorf("%s is listed %t, held back %t", host(n), x.Listed, x.HeldBack)
			}
		}
		actions := s.actions()
		if actions[listing.ActionBrake] != 1 || actions[listing.ActionResume] != 1 {
			t.Errorf("audit %v", actions)
		}
		s.verify()
	})
}

// actions counts what the audit has.
func (r *running) actions() map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for after := uint64(0); ; {
		page, err := r.Audit(listing.AuditFilter{After: after})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(page) == 0 {
			return out
		}
		for _, a := range page {
			out[a.Action]++
		}
		after = page[len(page)-1].Number
	}
}

// An hour is any hour, restarts or not; and a long list may grow by a hundredth.
func TestListingsInAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
		n := 0
		more := func(count int) {
			t.Helper()
			for range count {
				if out := s.observe(bounce(n, host(n), time.Now())); !out.Listed {
					t.Fatalf("listing %d is held back: %+v", n, s.status().Brakes)
				}
				n++
			}
		}
		more(30)
		time.Sleep(40 * time.Minute)
		more(20)
		s = s.reopen(braked())
		time.Sleep(21 * time.Minute)
		more(30)
		if out := s.observe(bounce(n, host(n), time.Now())); out.Listed {
			t.Error("20 and 31 within an hour are 51")
		}
		n++
		s.resume()
		keys := make([]listing.Manual, 9000)
		for i := range keys {
			keys[i] = listing.Manual{Key: key(t, host(10_000+i))}
		}
		if _, err := s.List(t.Context(), operator, keys); err != nil {
			t.Fatal(err)
		}
		more(91)
		if out := s.observe(bounce(n, host(n), time.Now())); out.Listed || s.status().Brakes.Limit != 91 {
			t.Errorf("a hundredth of 9171 is 91: %+v", s.status().Brakes)
		}
		s.verify()
	})
}

// Many are decided on in several transactions.
func TestResumeInSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
		var all []listing.Observation
		for n := range 400 {
			all = append(all, bounce(n, host(n), time.Now()))
		}
		s.observeAll(all)
		if would, err := s.Resume(t.Context(), dryRun); err != nil || len(would.Added) != 350 {
			t.Fatalf("%d would be listed: %v", len(would.Added), err)
		}
		before := s.Snapshot().Sequence()
		if done := s.resume(); len(done.Added) != 350 || done.Sequence != before+4 || s.Snapshot().Len() != 400 {
			t.Errorf("%d came in %d steps", len(done.Added), done.Sequence-before)
		}
		if again := s.resume(); len(again.Added) != 0 || s.actions()[listing.ActionResume] != 1 {
			t.Errorf("resumed twice: %+v", again)
		}
		if _, err := s.Resume(t.Context(), listing.Order{}); !errors.Is(err, listing.ErrNoReason) {
			t.Errorf("without a reason: %v", err)
		}
		s.verify()
	})
}

// jumpy opens a store whose clock can be set.
func jumpy(t *testing.T, path string, settings listing.Settings) (*running, *atomic.Int64) {
	t.Helper()
	s, err := listing.Open(path, listing.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	shift := new(atomic.Int64)
	s.SetClock(func() time.Time { return time.Now().UTC().Add(time.Duration(shift.Load())) })
	return run(t, path, s), shift
}

const year = 365 * 24 * time.Hour

// A clock that jumps a year ahead ends nothing before an operator was asked, and
// answers stay. Set right again, and resumed, nothing is lost.
func TestClockJumpsAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "listing.db")
		s, shift := jumpy(t, path, braked())
		s.listMany(2500, time.Now().Add(30*time.Hour)) // more than one step of the survey
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		before := s.Snapshot()
		shift.Store(int64(year))
		time.Sleep(5 * time.Minute)
		st := s.status()
		if s.Snapshot().Sequence() != before.Sequence() || st.Listings != 2501 {
			t.Fatalf("%d are left at %d, were %d at %d", st.Listings, st.Sequence, before.Len(), before.Sequence())
		}
		if st.Brakes.Stalled.IsZero() || st.Brakes.Due < 1251 || st.Brakes.List != 2501 || !st.Writable {
			t.Fatalf("brakes %+v", st.Brakes)
		}
		if until, ok := s.Snapshot().Until(netip.MustParseAddr(host(0))); ok {
			t.Errorf("answers are cut to what was to end at %s", until)
		}
		// Nothing ends, restarted or not, and reports are taken in.
		s = s.reopen(braked()) // by the right clock
		time.Sleep(time.Hour)
		if out := s.observe(bounce(2, "192.0.2.67", time.Now())); !out.Listed || s.Snapshot().Len() != 2502 {
			t.Errorf("while the brake is on: %+v", out)
		}
		s.list(time.Now().Add(time.Minute), "192.0.2.68")
		time.Sleep(time.Hour)
		if s.Snapshot().Len() != 2503 {
			t.Error("something ended while the brake was on")
		}
		s.resume()
		time.Sleep(time.Minute)
		if s.Snapshot().Len() != 2502 || s.status().Brakes != (listing.BrakeStatus{}) {
			t.Errorf("after resume %d are left, brakes %+v", s.Snapshot().Len(), s.status().Brakes)
		}
		// In their time they end all the same, once an operator agrees.
		time.Sleep(31 * time.Hour)
		if s.status().Brakes.Stalled.IsZero() {
			t.Fatal("all of the list went at once")
		}
		s.resume()
		s = s.reopen(braked()) // in the middle of it
		time.Sleep(time.Minute)
		s.want("192.0.2.66/32", "192.0.2.67/32")
		s.verify()
	})
}

// Half the list may go, and so may a hundred; what was renewed does not end at
// the moment that the index has for it.
func TestExpiryWithinBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		ending, staying    int
		renewed, wantStall bool
	}{
		{"half", 300, 300, false, false},
		{"more than half", 301, 299, false, true},
		{"a hundred of a hundred", 100, 0, false, false},
		{"one more", 101, 0, false, true},
		{"all renewed", 3000, 0, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
				s.listMany(c.ending+c.staying, time.Now().Add(48*time.Hour))
				s.listMany(c.ending, time.Now().Add(24*time.Hour))
				left := c.staying
				if c.renewed {
					s.listMany(c.ending, time.Now().Add(48*time.Hour))
					left = c.ending
				}
				time.Sleep(24*time.Hour + 10*time.Second)
				if stalled := !s.status().Brakes.Stalled.IsZero(); stalled != c.wantStall {
					t.Fatalf("brakes %+v", s.status().Brakes)
				}
				if c.wantStall {
					left = c.ending + c.staying
				}
				if got := s.Snapshot().Len(); got != left {
					t.Errorf("%d are left, want %d", got, left)
				}
				s.verify()
			})
		})
	}
}

// A clock that is set back, or stands still, ends nothing, and the serial goes
// on all the same.
func TestClockJumpsBackOrStands(t *testing.T) {
	t.Parallel()
	for _, stands := range []bool{false, true} {
		t.Run(fmt.Sprintf("stands %t", stands), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { clockJumpsBackOrStands(t, stands) })
		})
	}
}

// wrongClock opens a store whose clock stands, or is a year late, while it is wrong.
func wrongClock(t *testing.T, stands bool) (s *running, clock func() time.Time, wrong *atomic.Bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "listing.db")
	began := time.Now()
	raw, err := listing.Open(path, listing.Options{Settings: braked()})
	if err != nil {
		t.Fatal(err)
	}
	wrong = new(atomic.Bool)
	clock = func() time.Time {
		switch {
		case wrong.Load() && stands:
			return began.UTC()
		case wrong.Load():
			return time.Now().UTC().Add(-year)
		}
		return time.Now().UTC()
	}
	raw.SetClock(clock)
	return run(t, path, raw), clock, wrong
}

func clockJumpsBackOrStands(t *testing.T, stands bool) {
	t.Helper()
	s, clock, wrong := wrongClock(t, stands)
	s.listMany(500, time.Now().Add(24*time.Hour))
	for n := range 40 {
		s.observe(bounce(n, fmt.Sprintf("192.0.2.%d", n), time.Now()))
	}
	serial := s.Snapshot().Sequence()
	wrong.Store(true)
	for n := range 40 {
		time.Sleep(2 * time.Hour)
		s.observe(bounce(100+n, fmt.Sprintf("192.0.2.%d", n), clock()))
		s.list(time.Time{}, fmt.Sprintf("198.51.100.%d", n))
		if next := s.Snapshot().Sequence(); next <= serial {
			t.Fatalf("serial %d after %d", next, serial)
		} else {
			serial = next
		}
	}
	if n := s.Snapshot().Len(); n != 580 {
		t.Errorf("%d are listed, want 580", n)
	}
	// New listings count within an hour of whatever clock.
	s.observe(bounce(200, "192.0.2.200", clock()))
	if _, ok := s.Snapshot().Lookup(netip.MustParseAddr("192.0.2.200")); !ok {
		t.Errorf("41 new listings are too many: %+v", s.status().Brakes)
	}
	for n := range 20 {
		s.observe(bounce(201+n, fmt.Sprintf("192.0.2.%d", 201+n), clock()))
	}
	if s.status().Brakes.Held != 11 {
		t.Errorf("brakes %+v", s.status().Brakes)
	}
	s.verify()
	wrong.Store(false)
	s.resume()
	time.Sleep(5 * time.Minute)
	want := 590 // what came a year ago is too old to list now
	if stands {
		want = 601
	}
	if s.status().Brakes.Stalled.IsZero() || s.Snapshot().Len() != want {
		t.Errorf("set right again: %d are listed, %+v", s.Snapshot().Len(), s.status().Brakes)
	}
	if next := s.Snapshot().Sequence(); next < serial {
		t.Errorf("serial %d after %d", next, serial)
	}
}

func TestBrakeMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	path := filepath.Join(t.TempDir(), "listing.db")
	settings := braked()
	settings.Brakes.Listings, settings.Brakes.ListingsShare = 1, 0
	raw, err := listing.Open(path, listing.Options{Settings: settings, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, path, raw)
	tell := func(frozen, held int) {
		t.Helper()
		want := fmt.Sprintf(`# HELP backscatter_brake 1 while the brake is on and waits for an operator.
# TYPE backscatter_brake gauge
backscatter_brake{brake="expiry"} 0
backscatter_brake{brake="listing"} %d
backscatter_brake{brake="publication"} 0
# HELP backscatter_held_back Keys that evidence would list, and a brake keeps off the list.
# TYPE backscatter_held_back gauge
backscatter_held_back %d
`, frozen, held)
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "backscatter_brake", "backscatter_held_back"); err != nil {
			t.Error(err)
		}
	}
	tell(0, 0)
	s.observe(bounce(1, "192.0.2.1", time.Now()))
	s.observe(bounce(2, "192.0.2.2", time.Now()))
	tell(1, 1)
	s.resume()
	tell(0, 0)
}

func TestBrakesValidate(t *testing.T) {
	t.Parallel()
	for _, b := range []listing.Brakes{{Listings: -1}, {Endings: -1}, {ListingsShare: 1.1}, {EndingsShare: -0.1}} {
		if b.Validate() == nil {
			t.Errorf("%+v is taken", b)
		}
	}
	if err := listing.DefaultBrakes().Validate(); err != nil {
		t.Error(err)
	}
}

// What may end by a clock that is ahead may not later, when it was set right and
// jumps again.
func TestClockJumpsTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, shift := jumpy(t, filepath.Join(t.TempDir(), "listing.db"), braked())
		s.listMany(10, time.Now().Add(24*time.Hour))
		shift.Store(int64(year))
		time.Sleep(5 * time.Minute)
		s.want() // so few may go
		shift.Store(0)
		time.Sleep(5 * time.Minute)
		s.listMany(300, time.Now().Add(24*time.Hour))
		shift.Store(int64(year))
		time.Sleep(5 * time.Minute)
		if s.Snapshot().Len() != 300 || s.status().Brakes.Stalled.IsZero() {
			t.Errorf("%d are left, brakes %+v", s.Snapshot().Len(), s.status().Brakes)
		}
		s.verify()
	})
}
