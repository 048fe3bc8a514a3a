package listing_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// scoring asks for a score of 2 and nothing else, so that what a reporter
// counts for is what decides.
func scoring() listing.Settings {
	s := eager()
	s.Policy.Score, s.Policy.AgedTo = 2, 1
	s.Reporters = append(s.Reporters, listing.Reporter{Name: "third", Organisation: "third"})
	return s
}

func (r *running) reporter(action, name string, weight float64) listing.Enrolment {
	r.t.Helper()
	e, err := r.Reporter(r.t.Context(), listing.ReporterOrder{Order: operator, Action: action, Name: name, Weight: weight})
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *running) enrolment(name string) listing.Enrolment {
	r.t.Helper()
	all, err := r.Reporters()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range all {
		if e.Name == name {
			return e
		}
	}
	r.t.Fatalf("no reporter %s among %+v", name, all)
	return listing.Enrolment{}
}

// reportedBy is a bounce that a given reporter saw.
func reportedBy(reporter string, n int, source string) listing.Observation {
	o := bounce(n, source, time.Now())
	o.Reporter, o.Organisation = reporter, reporter
	return o
}

func TestProbation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), scoring())
		e := s.reporter(listing.ActionEnrol, "novice", 0)
		if e.Weight != 1 || e.Effective != 0.25 || e.Configured || !e.Probation.Equal(time.Now().Add(30*24*time.Hour)) {
			t.Fatalf("enrolled %+v", e)
		}
		for n := range 7 {
			s.observe(reportedBy("novice", n, "192.0.2.66"))
		}
		s.want()
		s.observe(reportedBy("novice", 7, "192.0.2.66")) // eight quarters
		s.want("192.0.2.66/32")

		s = s.reopen(scoring())
		time.Sleep(30*24*time.Hour - time.Second)
		if e := s.enrolment("novice"); e.Effective != 0.25 {
			t.Errorf("a second too early: %+v", e)
		}
		time.Sleep(time.Second)
		if e := s.enrolment("novice"); e.Effective != 1 || !e.Probation.IsZero() {
			t.Errorf("after probation: %+v", e)
		}
		s.observe(reportedBy("novice", 10, "192.0.2.67"))
		s.observe(reportedBy("novice", 11, "192.0.2.67"))
		if out := s.observe(reportedBy("novice", 12, "192.0.2.67")); !out.Listed {
			t.Errorf("after probation: %+v", out.Decision)
		}
		s.verify()
	})
}

// What is suspended counts for nothing from then on, and what is listed stays
// until its time; the configuration's reporters can be suspended too.
func TestSuspension(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), scoring())
		s.observe(reportedBy("local", 1, "192.0.2.66"))
		s.observe(reportedBy("local", 2, "192.0.2.66"))
		s.observe(reportedBy("local", 3, "192.0.2.67"))
		s.want("192.0.2.66/32")
		before, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		if err != nil {
			t.Fatal(err)
		}
		if e := s.reporter(listing.ActionSuspend, "local", 0); e.Effective != 0 || !e.Configured || e.SuspendedWhy != operator.Reason {
			t.Fatalf("suspended %+v", e)
		}
		s = s.reopen(scoring())
		time.Sleep(time.Hour)
		if out := s.observe(reportedBy("local", 4, "192.0.2.66")); out.Decision.Events != 0 {
			t.Errorf("counts still: %+v", out.Decision)
		}
		if out := s.observe(reportedBy("other", 5, "192.0.2.67")); out.Listed || out.Decision.Events != 1 {
			t.Errorf("what it saw before counts still: %+v", out.Decision)
		}
		after, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		if err != nil || !after.Until.Equal(before.Until) {
			t.Errorf("until %s, was %s: %v", after.Until, before.Until, err)
		}
		s.want("192.0.2.66/32")
		s.reporter(listing.ActionReinstate, "local", 0)
		if out := s.observe(reportedBy("other", 6, "192.0.2.67")); !out.Listed || out.Decision.Events != 3 {
			t.Errorf("reinstated: %+v", out.Decision)
		}
		s.verify()
	})
}

func TestReporterOrdersRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.reporter(listing.ActionEnrol, "novice", 2)
	for _, c := range []struct {
		order listing.ReporterOrder
		want  error
	}{
		{listing.ReporterOrder{Order: operator, Action: listing.ActionEnrol, Name: "novice"}, listing.ErrReporterKnown},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionEnrol, Name: "local"}, listing.ErrReporterKnown},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionEnrol, Name: "No Name"}, nil},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionEnrol, Name: "heavy", Weight: 11}, nil},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionSuspend, Name: "nobody"}, listing.ErrReporter},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionReinstate, Name: "novice"}, nil},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionWeigh, Name: "local", Weight: 2}, nil},
		{listing.ReporterOrder{Order: operator, Action: listing.ActionWeigh, Name: "novice", Weight: 0}, nil},
		{listing.ReporterOrder{Order: operator, Action: "sell", Name: "novice"}, nil},
		{listing.ReporterOrder{Action: listing.ActionSuspend, Name: "novice"}, listing.ErrNoReason},
	} {
		if _, err := s.Reporter(t.Context(), c.order); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.order.Action, c.order.Name, err, c.want)
		}
	}
	if _, err := s.Reporter(t.Context(), listing.ReporterOrder{Order: dryRun, Action: listing.ActionSuspend, Name: "novice"}); err != nil {
		t.Fatal(err)
	}
	if e := s.enrolment("novice"); !e.Suspended.IsZero() || e.Weight != 2 || e.Effective != 0.5 {
		t.Errorf("%+v", e)
	}
	if e := s.reporter(listing.ActionWeigh, "novice", 0.4); e.Weight != 0.4 || e.Effective != 0.1 {
		t.Errorf("weighed: %+v", e)
	}
	s.verify()
}

// Two operators at once: what each orders is done, or refused, and never lost.
func TestOrdersAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := start(t)
	const operators, orders = 8, 25
	var wg sync.WaitGroup
	for a := range operators {
		wg.Go(func() {
			who := listing.Order{By: listing.Actor{UID: a, Name: fmt.Sprintf("op%d", a)}, Reason: "at the same time"}
			for n := range orders {
				host := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(a*orders + n)}), 32)
				k, err := listing.PrefixKey(host)
				if err == nil {
					_, err = s.List(t.Context(), who, []listing.Manual{{Key: k}})
				}
				if err == nil {
					_, err = s.Exempt(t.Context(), who, []listing.Exemption{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(113 + a), byte(n)}), 32)}})
				}
				if err == nil {
					_, err = s.Reporter(t.Context(), listing.ReporterOrder{Order: who, Action: listing.ActionEnrol, Name: fmt.Sprintf("r%d-%d", a, n)})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s = s.reopen(eager())
	reporters, err := s.Reporters()
	if err != nil || len(reporters) != operators*orders+2 {
		t.Errorf("%d reporters: %v", len(reporters), err)
	}
	if n := s.Snapshot().Len(); n != operators*orders {
		t.Errorf("%d are listed", n)
	}
	done := map[string]int{}
	for after := uint64(0); ; {
		page, err := s.Audit(listing.AuditFilter{After: after})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			done[a.By.Name+" "+a.Action]++
		}
		after = page[len(page)-1].Number
	}
	for a := range operators {
		for _, action := range []string{listing.ActionList, listing.ActionExempt, listing.ActionEnrol} {
			if who := fmt.Sprintf("op%d %s", a, action); done[who] != orders {
				t.Errorf("%s: %d times in the audit, want %d", who, done[who], orders)
			}
		}
	}
	s.verify()
}
