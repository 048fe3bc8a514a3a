package listing_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// testifying has the configuration's reporters belong to as many organisations, but
// for one's sister, and a rule by which nothing is listed.
func testifying() listing.Settings {
	s := scoring()
	s.Policy.Score = 100
	s.Reporters = append(s.Reporters, listing.Reporter{Name: "sister", Organisation: "other"}, listing.Reporter{Name: "office", Organisation: "novice"})
	return s
}

// sources are as many as it takes.
var sources = []string{"192.0.2.66", "192.0.2.67", "198.51.100.68"}

// Two other organisations that are past their own probation end it by three sources;
// less does not, nor do those that are suspended, or on probation themselves.
func TestAgreementEndsProbation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		others  []string
		sources []string
		before  func(s *running)
		between func(s *running) // theirs and its own
		want    float64
	}{
		{name: "two others", others: []string{"local", "other"}, sources: sources, want: 1},
		{name: "one other", others: []string{"local", "local"}, sources: sources, want: 0.25},
		{name: "sisters", others: []string{"other", "sister"}, sources: sources, want: 0.25},
		{name: "one of its own organisation", others: []string{"local", "office"}, sources: sources, want: 0.25},
		{name: "one source", others: []string{"local", "other"}, sources: sources[:1], want: 0.25},
		{name: "two sources", others: []string{"local", "other"}, sources: sources[:2], want: 0.25},
		{name: "one of them on probation", others: []string{"local", "fresh"}, sources: sources, want: 0.25},
		{name: "unknown ones", others: []string{"nobody", "else"}, sources: sources, want: 0.25},
		{name: "one of them suspended", others: []string{"local", "other"}, sources: sources, want: 0.25, before: func(s *running) {
			s.reporter(listing.ActionSuspend, "other", 0)
		}},
		{name: "itself suspended", others: []string{"local", "other"}, sources: sources, want: 0, before: func(s *running) {
			s.reporter(listing.ActionSuspend, "novice", 0)
		}},
		{name: "too long ago", others: []string{"local", "other"}, sources: sources, want: 0.25, between: func(*running) {
			time.Sleep(8 * day)
		}},
		{name: "listed before it told", others: []string{"local", "other"}, sources: sources, want: 0.25, between: func(s *running) {
			s.list(time.Time{}, sources...)
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), testifying())
				s.reporter(listing.ActionEnrol, "novice", 0)
				s.reporter(listing.ActionEnrol, "fresh", 0)
				if c.before != nil {
					c.before(s)
				}
				n := 0
				tell := func(who, source string) {
					s.observe(reportedBy(who, n, source))
					n++
				}
				for _, source := range c.sources {
					for _, who := range c.others {
						tell(who, source)
					}
				}
				if c.between != nil {
					c.between(s)
				}
				for range 2 { // twice is no more than once
					for _, source := range c.sources {
						tell("novice", source)
					}
				}
				s = s.reopen(testifying())
				if e := s.enrolment("novice"); e.Effective != c.want || (c.want == 1) == e.Agreed.IsZero() {
					t.Errorf("%+v", e)
				}
				s.verify()
			})
		})
	}
}

// Others may tell of a source later than it did; but what they tell is withdrawn, and
// so is what it confirmed.
func TestRevokedAgreement(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), testifying())
		s.reporter(listing.ActionEnrol, "novice", 0)
		for n, source := range sources {
			s.observe(reportedBy("novice", n, source))
		}
		time.Sleep(time.Hour)
		for n, source := range sources {
			s.observe(reportedBy("local", 10+n, source))
			s.observe(reportedBy("other", 20+n, source))
		}
		want := func(when string, confirmed int, effective float64) {
			t.Helper()
			if e := s.enrolment("novice"); len(e.Confirmed) != confirmed || e.Effective != effective {
				t.Errorf("%s: %+v", when, e)
			}
		}
		want("confirmed", 3, 1)
		s.revoke(listing.Revocation{Event: id(0)})
		want("its own is withdrawn", 2, 0.25)
		s.revoke(listing.Revocation{Reporter: "other", Since: time.Now()})
		want("theirs is withdrawn", 0, 0.25)
		for n, source := range sources {
			s.observe(reportedBy("third", 30+n, source))
		}
		want("a third agrees", 2, 0.25) // of the first there is nothing left of its own
		s.observe(reportedBy("novice", 40, sources[0]))
		want("told again", 3, 1)
		if n := s.actions()[listing.ActionAgree]; n != 3 {
			t.Errorf("%d entries of the audit tell of it", n)
		}
		s.verify()
	})
}

// Who was suspended is suspended still when he is enrolled by command.
func TestEnrolledSuspended(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.reporter(listing.ActionSuspend, "other", 0)
	settings := eager()
	settings.Reporters = settings.Reporters[:1]
	s = s.reopen(settings)
	if e := s.reporter(listing.ActionEnrol, "other", 2); e.Suspended.IsZero() || e.Effective != 0 || e.SuspendedWhy != operator.Reason {
		t.Errorf("%+v", e)
	}
	if e := s.reporter(listing.ActionReinstate, "other", 0); e.Effective != 0.5 {
		t.Errorf("reinstated: %+v", e)
	}
}

func TestProbationValidate(t *testing.T) {
	t.Parallel()
	good := listing.DefaultProbation()
	for _, change := range []func(*listing.Probation){
		func(p *listing.Probation) { p.Factor = 1.1 }, func(p *listing.Probation) { p.For = -1 },
		func(p *listing.Probation) { p.Organisations = 0 }, func(p *listing.Probation) { p.Sources = 10_001 },
	} {
		bad := good
		if change(&bad); bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(fmt.Errorf("the default: %w", err))
	}
}
