package listing_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// However soon observations are dropped, the listing rule knows of listings that ended as
// long as it says, and no longer; and to know costs no writing.
func TestRetentionKeepsTheRule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Retention.Observations = 8 * day // memory is 90 days, relapse 30
		s := start(t)
		later := func(d time.Duration) {
			t.Helper()
			s.stop()
			time.Sleep(d)
			s = open(t, s.path, settings)
			s.resume() // the clock is right
			time.Sleep(time.Hour)
			s.verify()
		}
		list := func(n int, lifetime time.Duration, relapse bool) {
			t.Helper()
			d := s.observe(bounce(n, "192.0.2.66", time.Now())).Decision
			if d.Lifetime() != lifetime || d.Relapse != relapse {
				t.Errorf("listing %d lasts %s, want %s; relapse %t", n, d.Lifetime(), lifetime, d.Relapse)
			}
			s.want("192.0.2.66/32")
		}
		list(1, 7*day, false)
		later(7 * day) // it ends
		later(20 * day)
		if v, err := s.Examine(); err != nil || v.Observations != 0 || v.Records != 1 {
			t.Errorf("%d observations and %d records, %v", v.Observations, v.Records, err)
		}
		commits := s.status().Commits
		time.Sleep(time.Hour)
		if n := s.status().Commits; n != commits {
			t.Errorf("%d commits for nothing", n-commits)
		}
		list(2, 14*day, true)
		later(14 * day) // it ends
		later(89 * day)
		if v, err := s.Examine(); err != nil || v.Records != 1 {
			t.Errorf("%d records after 89 days, %v", v.Records, err)
		}
		later(2 * day)
		if v, err := s.Examine(); err != nil || v.Records != 0 {
			t.Errorf("%d records after 91 days, %v", v.Records, err)
		}
		list(3, 7*day, false)
	})
}
