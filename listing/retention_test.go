package listing_test

import (
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
			reg = prometheus.NewRegistry()
			store, err := listing.Open(path, listing.Options{Settings: eager(), Metrics: reg})
			if err != nil {
				t.Fatal(err)
			}
			s = run(t, path, store)
			s.resume() // the clock is right
			time.Sleep(day / 2)
		}
		later(day)
		status := func() listing.Status {
			t.Helper()
			st, err := s.Status()
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		s.observe(bounce(1, "192.0.2.66", time.Now())) // listed, until 7 days from now
		for i := range 20 {
			s.observe(bounce(100+i, "192.0.2.67", time.Now()))
		}
		s.delist(0, "192.0.2.67")
		s.list(time.Time{}, "198.51.100.0/24")
		later(9 * day) // the listing of one ends
		later(291 * day)
		s.observe(bounce(2, "192.0.2.67", time.Now())) // listed again: all of it stays
		if got := status().Observations; got != 22 {
			t.Fatalf("%d observations after 300 days", got)
		}
		later(66 * day)
		if got := status().Observations; got != 22 {
			t.Errorf("%d observations 366 days after they came: their listing ended later", got)
		}
		later(8 * day)
		s.verify()
		if got := status().Observations; got != 21 {
			t.Errorf("%d observations, a year after the end of the listing of one: want 21", got)
		}
		later(360 * day)
		s.verify()
		if got := status().Observations; got != 0 {
			t.Errorf("%d observations are left", got)
		}
		before := status().Audit
		later(60 * day)
		s.verify()
		audit, err := s.Audit(listing.AuditFilter{})
		if err != nil || status().Audit < before {
			t.Fatal(status().Audit, err)
		}
		if audit[0].Number == 1 {
			t.Error("the audit begins where it began")
		}
		for _, a := range audit {
			if time.Since(a.Time) > 731*day {
				t.Errorf("audit %d of %s is left", a.Number, a.Time)
			}
		}
		s.want("198.51.100.0/24")
		if n, err := testutil.GatherAndCount(reg, "backscatter_store_pruned_total"); err != nil || n != 4 {
			t.Errorf("%d series of what was dropped, %v", n, err)
		}
		s.reopen(eager()).verify()
	})
}
