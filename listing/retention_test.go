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
		reg := prometheus.NewRegistry()
		store, err := listing.Open(path, listing.Options{Settings: eager(), Metrics: reg})
		if err != nil {
			t.Fatal(err)
		}
		s := run(t, path, store)
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
		time.Sleep(300 * day)
		s.observe(bounce(2, "192.0.2.67", time.Now())) // listed again: all of it stays
		if got := status().Observations; got != 22 {
			t.Fatalf("%d observations after 300 days", got)
		}
		time.Sleep(66 * day)
		if got := status().Observations; got != 22 {
			t.Errorf("%d observations 366 days after they came: their listing ended later", got)
		}
		time.Sleep(7 * day)
		s.verify()
		if got := status().Observations; got != 21 {
			t.Errorf("%d observations, a year after the end of the listing of one: want 21", got)
		}
		time.Sleep(320 * day)
		s.verify()
		if got := status().Observations; got != 0 {
			t.Errorf("%d observations are left", got)
		}
		before := status().Audit
		time.Sleep(60 * day)
		s.verify()
		audit, err := s.Audit(listing.AuditFilter{})
		if err != nil || status().Audit < before {
			t.Fatal(status().Audit, err)
		}
		for _, a := range audit {
			if time.Since(a.Time) > 731*day {
				t.Errorf("audit %d of %s is left", a.Number, a.Time)
			}
		}
		s.want("198.51.100.0/24")
		if n, err := testutil.GatherAndCount(reg, "backscatter_store_pruned_total"); err != nil || n != 3 {
			t.Errorf("%d series of what was dropped, %v", n, err)
		}
		s.reopen(eager()).verify()
	})
}
