package listing_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// What the published rule says of one organisation alone, of what suffices after a
// removal and of reports of success is as the policy says.
func TestPolicyIsNoConstant(t *testing.T) {
	t.Parallel()
	after := func(h listing.History) listing.History { h.Expired = noon.Add(-day); return h }
	two := listing.History{Evidence: enough()}
	two.Evidence = two.Evidence[:2] // two originals, a score of 2.0
	for name, c := range map[string]struct {
		change func(*listing.Policy)
		h      listing.History
		list   bool
	}{
		"direct on two":                {nil, listing.History{Evidence: direct()}, true},
		"direct on two, wanted three":  {func(p *listing.Policy) { p.Direct = 3 }, listing.History{Evidence: direct()}, false},
		"direct on two, wanted one":    {func(p *listing.Policy) { p.Direct = 1 }, listing.History{Evidence: direct()}, true},
		"direct never stands for two":  {func(p *listing.Policy) { p.Direct = 0 }, listing.History{Evidence: direct()}, false},
		"after a removal, half":        {func(p *listing.Policy) { p.Span = 0 }, after(two), true},
		"after a removal, two thirds":  {func(p *listing.Policy) { p.Span, p.RelapseFactor = 0, 0.67 }, after(two), false},
		"after a removal, all":         {func(p *listing.Policy) { p.Span, p.RelapseFactor = 0, 1 }, after(two), false},
		"after a removal, a third":     {func(p *listing.Policy) { p.Span, p.RelapseFactor = 0, 1.0/3 }, after(two), true},
		"not after a removal, a third": {func(p *listing.Policy) { p.Span, p.RelapseFactor = 0, 1.0/3 }, two, false},
	} {
		p := listing.Community()
		if c.change != nil {
			c.change(&p)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := p.Decide(c.h, noon); d.List != c.list {
			t.Errorf("%s: listed %t, want %t: %+v", name, d.List, c.list, d.Thresholds)
		}
	}
}

// What is asked for after a removal is the part, in whole originals and tenths of a
// score, whatever the part is.
func TestEasedThresholds(t *testing.T) {
	t.Parallel()
	for factor, want := range map[float64][2]string{
		0.5: {"1.5", "15"}, 0.1: {"0.3", "3"}, 1: {"3.0", "30"}, 0.34: {"1.0", "11"}, 0.01: {"0.0", "1"},
	} {
		p := listing.Community()
		p.Originals, p.RelapseFactor = 30, factor
		d := p.Decide(listing.History{Expired: noon.Add(-day)}, noon)
		if got := [2]string{d.Thresholds[0].Wanted, d.Thresholds[1].Wanted}; got != want || !d.Relapse {
			t.Errorf("%v of 3 and 30 is %v, want %v", factor, got, want)
		}
	}
}

// Observations and the audit go when the settings say, and not before.
func TestRetentionAsSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Retention = listing.Retention{Observations: 10 * day, Audit: 20 * day}
		path := t.TempDir() + "/listing.db"
		s := open(t, path, settings)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.delist(0, "192.0.2.66")
		at := func(d time.Duration) string { // so long later; it is the daemon that did not run
			s.stop()
			time.Sleep(d - time.Hour)
			s = open(t, path, settings)
			s.resume() // the clock is right
			time.Sleep(time.Hour)
			audit, err := s.Audit(listing.AuditFilter{})
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%d observations, audit from %d", s.status().Observations, audit[0].Number)
		}
		for _, step := range []struct {
			d    time.Duration
			want string
		}{
			{9 * day, "1 observations, audit from 1"}, {2 * day, "0 observations, audit from 1"}, {10 * day, "0 observations, audit from 4"},
		} {
			if got := at(step.d); got != step.want {
				t.Errorf("%s, want %s", got, step.want)
			}
		}
		s.verify()
	})
	for _, r := range []listing.Retention{{Observations: -1}, {Audit: -1}, {Observations: 4000 * day}} {
		if r.Validate() == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}
