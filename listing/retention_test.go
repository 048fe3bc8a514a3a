package listing_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"backscatter/listing"
)

// What is old goes, in its time and not before, and the store is whole at every
// step.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir() + "/listing.db"
		var s *running
		var reg *prometheus.Registry
		// later lets time pass while the store is closed, which costs nothing, and
		// then half a day while it runs.
		later := func(d time.Duration) {
			t.Helper()
			if s != nil {
				s.stop()
			}
			time.Sleep(d - day/2)
			s, reg = metered(t, path, eager())
			s.resume() // the clock is right
			time.Sleep(day / 2)
		}
		later(day)
		s.observe(bounce(1, "192.0.2.66", time.Now())) // listed, until 7 days from now
		for i := range 20 {
			s.observe(bounce(100+i, "192.0.2.67", time.Now()))
		}
		s.delist(0, "192.0.2.67")
		s.list(time.Time{}, "198.51.100.0/24")
		later(9 * day) // the listing of one ends
		later(291 * day)
		s.observe(bounce(2, "192.0.2.67", time.Now())) // listed again: all of it stays
		if got := s.status().Observations; got != 22 {
			t.Fatalf("%d observations after 300 days", got)
		}
		later(66 * day)
		if got := s.status().Observations; got != 22 {
			t.Errorf("%d observations 366 days after they came: their listing ended later", got)
		}
		later(8 * day)
		s.verify()
		if got := s.status().Observations; got != 21 {
			t.Errorf("%d observations, a year after the end of the listing of one: want 21", got)
		}
		later(360 * day)
		s.verify()
		if got := s.status().Observations; got != 0 {
			t.Errorf("%d observations are left", got)
		}
		before := s.status().Audit
		later(60 * day)
		s.verify()
		if s.status().Audit < before {
			t.Error("the audit counts anew")
		}
		s.auditPruned()
		s.want("198.51.100.0/24")
		if n, err := testutil.GatherAndCount(reg, "backscatter_store_pruned_total"); err != nil || n != 4 {
			t.Errorf("%d series of what was dropped, %v", n, err)
		}
		s.reopen(eager()).verify()
	})
}

// auditPruned wants no entry that is older than two years, and that some were.
func (r *running) auditPruned() {
	r.t.Helper()
	audit, err := r.Audit(listing.AuditFilter{})
	if err != nil {
		r.t.Fatal(err)
	}
	if audit[0].Number == 1 {
		r.t.Error("the audit begins where it began")
	}
	for _, a := range audit {
		if time.Since(a.Time) > 731*day {
			r.t.Errorf("audit %d of %s is left", a.Number, a.Time)
		}
	}
}

// What is on hold is remembered, however old, until the hold is over: else nothing would
// keep it from being listed.
func TestRetentionOfAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		later := func(d time.Duration) {
			t.Helper()
			s.stop()
			time.Sleep(d)
			s = open(t, s.path, eager())
			s.resume() // the clock is right
			time.Sleep(time.Hour)
			s.verify()
		}
		for i, source := range []string{"192.0.2.66", "192.0.2.67"} {
			s.observe(bounce(i, source, time.Now()))
		}
		s.delist(800*day, "192.0.2.66")
		s.delist(0, "192.0.2.67")
		later(400 * day)
		if v, err := s.Examine(); err != nil || v.Records != 1 || v.Observations != 1 {
			t.Errorf("%d records and %d observations after 400 days, %v", v.Records, v.Observations, err)
		}
		if out := s.observe(bounce(10, "192.0.2.66", time.Now())); out.Listed {
			t.Error("what is on hold is listed")
		}
		later(399 * day)
		if v, err := s.Examine(); err != nil || v.Records != 1 {
			t.Errorf("%d records as long as the hold lasts, %v", v.Records, err)
		}
		later(400 * day)
		if v, err := s.Examine(); err != nil || v.Records != 0 || v.Observations != 0 {
			t.Errorf("%d records and %d observations long after the hold, %v", v.Records, v.Observations, err)
		}
	})
}

// However much is too old at once, it goes in small steps, between which reports are
// taken in.
func TestRetentionInSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const hosts, each = 2500, 2
		s := start(t)
		now := time.Now()
		var senders sync.WaitGroup
		for sender := range 50 {
			senders.Go(func() {
				for n := sender; n < hosts*each; n += 50 {
					o := bounce(n, fmt.Sprintf("11.0.%d.%d", n%hosts/250, n%hosts%250), now)
					o.Level = listing.LevelC // counts for nothing, so that all goes at once
					s.observe(o)
				}
			})
		}
		senders.Wait()
		s.stop()
		time.Sleep(366 * day)
		s = open(t, s.path, eager())
		s.resume() // the clock is right
		left := uint64(hosts * each)
		for seconds := 0; left > 0; seconds++ {
			time.Sleep(time.Second)
			st, err := s.Status()
			if err != nil || seconds > 7200 {
				t.Fatalf("%d left after %d s, %v", st.Observations, seconds, err)
			}
			if gone := left - st.Observations; gone > 2*1100 { // of two steps, at most
				t.Errorf("%d observations went in a second", gone)
			}
			left = st.Observations
		}
		if v, err := s.Examine(); err != nil || v.Records != 0 {
			t.Errorf("%d records are left, %v", v.Records, err)
		}
		s.observe(bounce(hosts*each, "192.0.2.1", time.Now()))
		s.want("192.0.2.1/32")
		s.verify()
	})
}
