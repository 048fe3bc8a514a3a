package listing_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

func TestOrdersNeedAReason(t *testing.T) {
	t.Parallel()
	s := start(t)
	k, p := key(t, "192.0.2.1"), netip.MustParsePrefix("192.0.2.0/24")
	for _, reason := range []string{"", " \t"} {
		o := listing.Order{By: operator.By, Reason: reason}
		for name, do := range map[string]func() error{
			"list":     func() error { _, err := s.List(t.Context(), o, []listing.Manual{{Key: k}}); return err },
			"delist":   func() error { _, err := s.Delist(t.Context(), o, []listing.Key{k}, time.Hour); return err },
			"exempt":   func() error { _, err := s.Exempt(t.Context(), o, []listing.Exemption{{Prefix: p}}); return err },
			"unexempt": func() error { _, err := s.Unexempt(t.Context(), o, []netip.Prefix{p}); return err },
			"apply":    func() error { _, err := s.Apply(t.Context(), o, eager()); return err },
		} {
			if err := do(); !errors.Is(err, listing.ErrNoReason) {
				t.Errorf("%s with reason %q: %v", name, reason, err)
			}
		}
	}
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.0/25", "198.51.100.1", "2001:db8:1::/56")
	for _, c := range []struct {
		name string
		keys []string
		want error
	}{
		{"host in a listed prefix", []string{"192.0.2.7"}, listing.ErrOverlap},
		{"prefix round a listed prefix", []string{"192.0.2.0/24"}, listing.ErrOverlap},
		{"prefix round a listed host", []string{"198.51.100.0/24"}, listing.ErrOverlap},
		{"/64 in a listed prefix", []string{"2001:db8:1:1::1"}, listing.ErrOverlap},
		{"overlap within the order", []string{"203.0.113.0/28", "203.0.113.3"}, listing.ErrOverlap},
		{"special-purpose space", []string{"10.0.0.1"}, listing.ErrExempt},
		{"one of many", []string{"203.0.113.1", "127.0.0.1", "203.0.113.2"}, listing.ErrExempt},
	} {
		var keys []listing.Manual
		for _, text := range c.keys {
			keys = append(keys, listing.Manual{Key: key(t, text)})
		}
		_, err := s.List(t.Context(), operator, keys)
		var refused *listing.RefusedError
		if !errors.Is(err, c.want) || !errors.As(err, &refused) || len(refused.Problems) == 0 {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := s.List(t.Context(), operator, []listing.Manual{{Key: key(t, "203.0.113.9"), Until: time.Now().Add(-time.Hour)}})
	if err == nil {
		t.Error("listed until the past")
	}
	s.want("192.0.2.0/25", "198.51.100.1/32", "2001:db8:1::/56")
	s.verify()
}

func TestDryRunLeavesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1")
	before := s.Snapshot()
	audit, err := s.Audit(listing.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() (listing.Result, error){
		"list": func() (listing.Result, error) {
			return s.List(t.Context(), dryRun, []listing.Manual{{Key: key(t, "192.0.2.0/24")}})
		},
		"delist": func() (listing.Result, error) {
			return s.Delist(t.Context(), dryRun, []listing.Key{key(t, "192.0.2.1")}, 0)
		},
		"exempt": func() (listing.Result, error) {
			return s.Exempt(t.Context(), dryRun, []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}})
		},
	} {
		r, err := do()
		if name == "list" {
			if !errors.Is(err, listing.ErrOverlap) {
				t.Errorf("list: %v", err)
			}
			continue
		}
		if err != nil || !r.DryRun || len(r.Removed) != 1 || r.Sequence != before.Sequence()+1 {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
	after, err := s.Audit(listing.AuditFilter{})
	if err != nil || len(after) != len(audit) || s.Snapshot() != before {
		t.Errorf("a dry run left something: %d entries, were %d: %v", len(after), len(audit), err)
	}
	s.verify()
}

func TestDelist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.list(time.Now().Add(48*time.Hour), "192.0.2.66", "198.51.100.0/24")
		if _, err := s.Delist(t.Context(), operator, []listing.Key{key(t, "203.0.113.1")}, 0); !errors.Is(err, listing.ErrNotListed) {
			t.Errorf("delist what is not listed: %v", err)
		}
		if _, err := s.Delist(t.Context(), operator, []listing.Key{key(t, "198.51.100.7")}, 0); !errors.Is(err, listing.ErrNotListed) {
			t.Errorf("delist a part of a prefix: %v", err)
		}
		if r := s.delist(2*time.Hour, "192.0.2.66", "203.0.113.1"); len(r.Removed) != 1 || len(r.Skipped) != 1 {
			t.Errorf("%+v", r)
		}
		s.want("198.51.100.0/24")

		// What was seen before never counts again; what comes during the hold
		// does not list until it is over.
		if out := s.observe(bounce(2, "192.0.2.66", time.Now().Add(-time.Minute))); out.Listed || out.Decision.Events != 0 {
			t.Errorf("evidence from before the delist: %+v", out)
		}
		time.Sleep(time.Hour)
		for _, source := range []string{"192.0.2.66", "203.0.113.1"} {
			n := int(netip.MustParseAddr(source).As4()[0])
			if out := s.observe(bounce(n, source, time.Now())); out.Listed || !out.Decision.List {
				t.Errorf("evidence during the hold: %+v", out)
			}
		}
		time.Sleep(time.Hour + time.Minute)
		s.want("192.0.2.66/32", "198.51.100.0/24", "203.0.113.1/32")
		x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		if err != nil || len(x.History) != 1 || x.History[0].By != listing.ByEvidence|listing.ByOperator || x.History[0].How != listing.Delisted {
			t.Errorf("history %+v: %v", x.History, err)
		}
		s.verify()
	})
}

func TestCoveredHostComesBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.list(time.Time{}, "192.0.2.0/24")
	s.want("192.0.2.0/24")
	s.observe(bounce(2, "192.0.2.67", time.Now()))
	s.want("192.0.2.0/24")
	x, err := s.Explain(netip.MustParseAddr("192.0.2.67"))
	if err != nil || !x.Listed || x.CoveredBy == nil || x.CoveredBy.String() != "192.0.2.0/24" || x.Class != listing.ClassManual || x.By != listing.ByEvidence {
		t.Errorf("%+v %v", x, err)
	}
	s.delist(0, "192.0.2.0/24")
	s.want("192.0.2.66/32", "192.0.2.67/32")
	s.verify()
}

func TestExemption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.list(time.Time{}, "192.0.2.0/24")
		s.observe(bounce(1, "2001:db8::1", time.Now()))
		exempt := func(text string, d time.Duration) {
			t.Helper()
			x := listing.Exemption{Prefix: netip.MustParsePrefix(text)}
			if d > 0 {
				x.Until = time.Now().Add(d)
			}
			if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{x}); err != nil {
				t.Fatal(err)
			}
		}
		exempt("192.0.2.0/25", time.Hour)
		exempt("2001:db8::/33", 0)
		s.want("192.0.2.128/25")
		s = s.reopen(eager())
		s.want("192.0.2.128/25")
		s.verify()
		time.Sleep(time.Hour + time.Second)
		s.want("192.0.2.0/24")
		if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{netip.MustParsePrefix("2001:db8::/33")}); err != nil {
			t.Fatal(err)
		}
		s.want("192.0.2.0/24", "2001:db8::/64")
		for _, text := range []string{"203.0.113.0/24", "127.0.0.0/8"} {
			if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{netip.MustParsePrefix(text)}); !errors.Is(err, listing.ErrNotExempt) {
				t.Errorf("unexempt %s: %v", text, err)
			}
		}
		if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}); err == nil {
			t.Error("exempted the whole Internet")
		}
		s.verify()
	})
}

func TestApply(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.observe(bounce(2, "198.51.100.7", time.Now()))
	from := s.Snapshot().Sequence()

	next := eager()
	next.Policy = listing.Community()
	next.Listable = next.Listable[:1]
	next.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Reason: "this server"}}
	if _, err := s.Apply(t.Context(), operator, next); err != nil {
		t.Fatal(err)
	}
	s.want("192.0.2.66/32") // the policy is stricter, and what is listed stays so
	changes, err := collected(s.Journal(from))
	if err != nil || len(changes) != 1 || len(changes[0].Removed) != 1 || changes[0].Removed[0].Prefix.String() != "198.51.100.7/32" {
		t.Errorf("journal: %+v %v", changes, err)
	}
	if out := s.observe(bounce(3, "192.0.2.1", time.Now())); !out.Exempt {
		t.Errorf("%+v", out)
	}

	next.Published = [32]byte{2}
	from = s.Snapshot().Sequence()
	if r, err := s.Apply(t.Context(), operator, next); err != nil || r.Sequence != from+1 {
		t.Errorf("other published settings: %+v %v", r, err)
	}
	if _, err := collected(s.Journal(from)); !errors.Is(err, listing.ErrCut) {
		t.Errorf("journal across other published settings: %v", err)
	}
	s = s.reopen(next)
	if s.Snapshot().Sequence() != from+1 {
		t.Error("the same settings moved the serial")
	}
	s = s.reopen(eager())
	s.want("192.0.2.66/32", "198.51.100.7/32")
	s.verify()
}
