package listing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

func (r *running) revoke(v listing.Revocation) listing.Withdrawal {
	r.t.Helper()
	w, err := r.Revoke(r.t.Context(), operator, v)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

func (r *running) explain(addr string) listing.Explanation {
	r.t.Helper()
	x, err := r.Explain(netip.MustParseAddr(addr))
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// What leaned on the withdrawn alone ends, what had enough beside it stays, and
// what was withdrawn never counts again, handed in anew or not.
func TestRevokeReporter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), scoring())
		for n, reporter := range []string{"local", "local", "other"} {
			s.observe(reportedBy(reporter, n, "192.0.2.66"))
			s.observe(reportedBy("other", 10+n, "192.0.2.67"))
			s.observe(reportedBy("local", 20+n, "192.0.2.68"))
		}
		time.Sleep(time.Hour)
		s.observe(reportedBy("local", 30, "192.0.2.67"))
		s.want("192.0.2.66/32", "192.0.2.67/32", "192.0.2.68/32")

		before := s.Snapshot().Sequence()
		would, err := s.Revoke(t.Context(), dryRun, listing.Revocation{Reporter: "local"})
		if err != nil || would.Observations != 6 || would.Keys != 3 || would.Ended != 2 || !would.DryRun {
			t.Fatalf("dry run %+v, %v", would, err)
		}
		if s.Snapshot().Sequence() != before || s.explain("192.0.2.66").Events[0].Revoked != 0 {
			t.Fatal("a dry run changed something")
		}
		done := s.revoke(listing.Revocation{Reporter: "local"})
		if done.Observations != 6 || done.Ended != 2 || len(done.Removed) != len(would.Removed) {
			t.Fatalf("%+v, the dry run said %+v", done, would)
		}
		s.want("192.0.2.67/32")
		if x := s.explain("192.0.2.67"); !x.Until.Equal(time.Now().Add(-time.Hour).Add(7*24*time.Hour)) || x.Current.Events != 3 {
			t.Errorf("until %s with %d events: the withdrawn put it off still", x.Until, x.Current.Events)
		}
		x := s.explain("192.0.2.66")
		if len(x.History) != 1 || x.History[0].How != listing.Revoked || x.History[0].Why != operator.Reason {
			t.Errorf("history %+v", x.History)
		}
		if x.Observations != 3 || x.Events[2].Revoked == 0 || x.Events[0].Revoked != 0 || x.Decision.Events != 1 {
			t.Errorf("events %+v", x.Events)
		}
		audit, err := s.Audit(listing.AuditFilter{After: x.Events[2].Revoked - 1, Limit: 1})
		var detail struct {
			Reporter     string
			Observations int
			Ended        []netip.Prefix
		}
		if err != nil || json.Unmarshal(audit[0].Detail, &detail) != nil || audit[0].Action != listing.ActionRevoke ||
			detail.Reporter != "local" || detail.Observations != 6 || len(detail.Ended) != 2 || len(audit[0].Prefixes) != 3 {
			t.Errorf("audit %+v %+v %v", audit, detail, err)
		}
		if out := s.observe(reportedBy("local", 0, "192.0.2.66")); !out.Duplicate {
			t.Errorf("handed in again: %+v", out)
		}
		if _, err := s.Revoke(t.Context(), operator, listing.Revocation{Reporter: "local"}); !errors.Is(err, listing.ErrNoObservation) {
			t.Errorf("the second time: %v", err)
		}
		// A wrong listing makes the next one neither longer nor easier.
		s.observe(reportedBy("third", 40, "192.0.2.66"))
		if x := s.explain("192.0.2.66"); !x.Listed || x.Decision.Relapse || x.Decision.Lifetime() != 7*24*time.Hour {
			t.Errorf("listed again %t: %+v", x.Listed, x.Decision)
		}
		s = s.reopen(scoring())
		s.verify()
	})
}

// A listing lives by each renewal. Without one in the middle it would have
// ended, and begun anew later, or not at all.
func TestRevokeFromTheMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		days    []int // when it bounced
		revoke  int
		stands  bool
		sinceAt int // index of the bounce that lists it
	}{
		{"the first of a dense row", []int{0, 1, 2}, 0, true, 1},
		{"the last", []int{0, 5, 6}, 2, true, 0},
		{"a link of the chain", []int{0, 5, 10, 11}, 1, true, 2},
		{"all that lasts", []int{0, 5, 10}, 2, true, 0},
		{"the one that was needed", []int{0}, 0, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				began := time.Now()
				at := func(i int) time.Time { return began.Add(time.Duration(c.days[i]) * 24 * time.Hour) }
				for i := range c.days {
					time.Sleep(time.Until(at(i)))
					s.observe(bounce(i, "192.0.2.66", time.Now()))
				}
				s.revoke(listing.Revocation{Event: id(c.revoke)})
				x := s.explain("192.0.2.66")
				if x.Listed != c.stands {
					t.Fatalf("listed %t", x.Listed)
				}
				last := len(c.days) - 1
				if c.revoke == last {
					last--
				}
				if c.stands && (!x.Since.Equal(at(c.sinceAt)) || !x.Until.Equal(at(last).Add(7*24*time.Hour))) {
					t.Errorf("%s to %s, want %s to 7 days after %s", x.Since, x.Until, at(c.sinceAt), at(last))
				}
				s.verify()
			})
		})
	}
}

func TestRevokeChooses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		began := time.Now()
		for n := range 8 {
			o := bounce(n, fmt.Sprintf("192.0.2.%d", n), time.Now())
			if n%2 == 1 {
				o.Sensor = "report"
			}
			if n >= 4 {
				o.Reporter = "other"
			}
			s.observe(o)
			time.Sleep(time.Hour)
		}
		for _, c := range []struct {
			name string
			v    listing.Revocation
			want int
		}{
			{"sensor", listing.Revocation{Sensor: "report"}, 4},
			{"reporter and sensor", listing.Revocation{Sensor: "report", Reporter: "other"}, 2},
			{"since", listing.Revocation{Since: began.Add(5 * time.Hour)}, 3},
			{"since a moment later", listing.Revocation{Since: began.Add(5*time.Hour + time.Millisecond)}, 2},
			{"event", listing.Revocation{Event: id(3)}, 1},
			{"event of another", listing.Revocation{Event: id(3), Reporter: "other"}, 0},
		} {
			w, err := s.Revoke(t.Context(), dryRun, c.v)
			if w.Observations != c.want || w.Ended != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("%s: %+v %v, want %d", c.name, w, err, c.want)
			}
		}
		if _, err := s.Revoke(t.Context(), operator, listing.Revocation{}); err == nil {
			t.Error("all of it was withdrawn for no choice")
		}
		if _, err := s.Revoke(t.Context(), listing.Order{}, listing.Revocation{Sensor: "report"}); !errors.Is(err, listing.ErrNoReason) {
			t.Errorf("without a reason: %v", err)
		}
		// What an operator lists too stays, by the operator's word.
		s.list(time.Time{}, "192.0.2.1")
		s.revoke(listing.Revocation{Sensor: "report"})
		s.want("192.0.2.0/32", "192.0.2.1/32", "192.0.2.2/32", "192.0.2.4/32", "192.0.2.6/32")
		if x := s.explain("192.0.2.1"); x.By != listing.ByOperator {
			t.Errorf("by %s", x.By)
		}
		s.verify()
	})
}

// Many are withdrawn step by step, each with its own entry in the audit.
func TestRevokeInSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		const hosts, each = 60, 120
		var all []listing.Observation
		for h := range hosts {
			for n := range each {
				all = append(all, bounce(h*each+n, fmt.Sprintf("192.0.2.%d", h), time.Now()))
			}
		}
		s.observeAll(all)
		before := s.Snapshot().Sequence()
		w := s.revoke(listing.Revocation{Reporter: "local"})
		if w.Observations != hosts*each || w.Ended != hosts || len(w.Removed) != hosts {
			t.Fatalf("%d observations, %d ended, %d removed", w.Observations, w.Ended, len(w.Removed))
		}
		if steps := w.Sequence - before; steps < 2 || steps > 3 {
			t.Errorf("%d steps", steps)
		}
		s.want()
		s.verify()
	})
}

// What came while the key was exempt renewed nothing then, and does not because
// something else is withdrawn.
func TestRevokeExtendsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		for n := range 2 {
			s.observe(bounce(n, "192.0.2.66", time.Now()))
			time.Sleep(time.Hour)
		}
		before := s.explain("192.0.2.66")
		prefix := netip.MustParsePrefix("192.0.2.66/32")
		if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: prefix}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		s.observe(bounce(2, "192.0.2.66", time.Now()))
		if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{prefix}); err != nil {
			t.Fatal(err)
		}
		s.revoke(listing.Revocation{Event: id(0)})
		if x := s.explain("192.0.2.66"); !x.Listed || !x.Until.Equal(before.Until) {
			t.Errorf("listed %t until %s, was until %s", x.Listed, x.Until, before.Until)
		}
		s.verify()
	})
}
