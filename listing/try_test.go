package listing_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// try gathers all fates.
func (r *running) try(settings listing.Settings) (map[string]listing.Trial, listing.TrialSummary) {
	r.t.Helper()
	out := map[string]listing.Trial{}
	last := ""
	sum, err := r.Try(r.t.Context(), settings, func(one listing.Trial) error {
		if out[one.Key.String()].Fate != "" {
			r.t.Errorf("%s comes twice, last %s", one.Key, last)
		}
		last = one.Key.String()
		out[last] = one
		return nil
	}, func(done, total uint64) {
		if done > total {
			r.t.Errorf("%d done of %d", done, total)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out, sum
}

// steady is a rule that takes two bounces within an hour, of which both weigh
// the same however old they are.
func steady() listing.Settings {
	settings := eager()
	settings.Policy.Score, settings.Policy.Originals = 2, 2
	settings.Policy.Lifetime = 2 * 24 * time.Hour
	settings.Policy.Window = 24 * time.Hour
	return settings
}

// The rule in force, replayed, lists what is listed, until when it is.
func TestTrySameRule(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 4))
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), steady())
				listed := 0
				for n := range 300 {
					time.Sleep(time.Duration(1+r.IntN(9000)) * time.Second)
					text := fmt.Sprintf("192.0.2.%d", r.IntN(12))
					switch r.IntN(30) {
					case 0:
						s.list(time.Now().Add(time.Duration(1+r.IntN(100))*time.Hour), text)
					case 1:
						if _, ok := s.Snapshot().Lookup(netip.MustParseAddr(text)); ok {
							s.delist(0, text)
						}
					default:
						s.observe(bounce(n, text, time.Now()))
					}
					synctest.Wait()
					if n%20 != 0 {
						continue
					}
					fates, sum := s.try(steady())
					if sum.Come+sum.Go != 0 || sum.Stay != uint64(s.Snapshot().Len()) {
						t.Fatalf("step %d: %+v of %d: %+v", n, sum, s.Snapshot().Len(), fates)
					}
					for name, one := range fates {
						listed++
						if one.Fate != listing.Stays || !one.Instead.Equal(one.Until) {
							t.Fatalf("step %d: %s: %+v", n, name, one)
						}
					}
				}
				if listed < 20 {
					t.Errorf("only %d were listed", listed)
				}
			})
		})
	}
}

func TestTryFates(t *testing.T) {
	t.Parallel()
	change := func(fn func(*listing.Settings)) listing.Settings {
		s := steady()
		fn(&s)
		return s
	}
	for _, tt := range []struct {
		name     string
		settings listing.Settings
		want     map[string]string // fate and part of the reason
	}{
		{"the same", steady(), map[string]string{
			"192.0.2.1": "stay the rule is met", "192.0.2.3": "stay an operator lists it", "2001:db8::/64": "stay the rule is met",
		}},
		{"more originals", change(func(s *listing.Settings) { s.Policy.Originals = 3 }), map[string]string{
			"192.0.2.1": "go the rule is not met: originals wanted 3, found 2", "192.0.2.3": "stay", "2001:db8::/64": "stay the rule is met",
		}},
		{"fewer", change(func(s *listing.Settings) { s.Policy.Score, s.Policy.Originals = 1, 1 }), map[string]string{
			"192.0.2.1": "stay", "192.0.2.2": "come the rule is met: score wanted 1.0, found 1.0", "192.0.2.3": "stay", "2001:db8::/64": "stay",
			"192.0.2.4": "come",
		}},
		{"a reporter is not believed", change(func(s *listing.Settings) { s.Reporters[0].Weight = 0.1 }), map[string]string{
			"192.0.2.1": "go the rule is not met: score wanted 2.0, found 0.2", "192.0.2.3": "stay", "2001:db8::/64": "go",
		}},
		{"not a reporter", change(func(s *listing.Settings) { s.Reporters = s.Reporters[1:] }), map[string]string{
			"192.0.2.1": "go the rule is not met: score wanted 2.0, found 0.0", "192.0.2.3": "stay", "2001:db8::/64": "go",
		}},
		{"an exemption", change(func(s *listing.Settings) {
			s.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Reason: "a friend"}}
		}), map[string]string{
			"192.0.2.1": "go exempt with 192.0.2.0/24: a friend", "192.0.2.3": "go exempt", "2001:db8::/64": "stay",
		}},
		{"no lab", change(func(s *listing.Settings) { s.Listable = s.Listable[:3] }), map[string]string{
			"192.0.2.1": "stay", "192.0.2.3": "stay", "2001:db8::/64": "go exempt with 2001:db8::/32",
		}},
		{"a larger lab", change(func(s *listing.Settings) { s.Listable = append(s.Listable, netip.MustParsePrefix("198.18.0.0/15")) }), map[string]string{
			"192.0.2.1": "stay", "192.0.2.3": "stay", "2001:db8::/64": "stay", "198.18.0.1": "come the rule is met",
		}},
		{"a short life", change(func(s *listing.Settings) { s.Policy.Lifetime = time.Hour }), map[string]string{
			"192.0.2.1": "go would have ended at ", "192.0.2.3": "stay", "2001:db8::/64": "go would have ended",
		}},
		{"a longer life", change(func(s *listing.Settings) { s.Policy.Lifetime = 9 * 24 * time.Hour }), map[string]string{
			"192.0.2.1": "stay the rule is met, until 20", "192.0.2.3": "stay", "2001:db8::/64": "stay", "192.0.2.5": "come the rule is met",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), steady())
				n := 0
				see := func(times int, source string) {
					for range times {
						n++
						s.observe(bounce(n, source, time.Now()))
						time.Sleep(time.Minute)
					}
				}
				see(2, "192.0.2.5") // expired long ago
				time.Sleep(3 * 24 * time.Hour)
				see(2, "192.0.2.1")
				see(1, "192.0.2.2")
				see(3, "2001:db8::1")
				see(2, "198.18.0.1") // special
				s.list(time.Time{}, "192.0.2.3")
				see(2, "192.0.2.4")
				s.delist(0, "192.0.2.4")
				time.Sleep(time.Second)
				see(1, "192.0.2.4") // one after the delist, which is half of what was asked
				s.delist(0, "192.0.2.4")
				time.Sleep(time.Second)
				weak := bounce(999, "192.0.2.4", time.Now())
				weak.Class = listing.ClassAutoreply
				s.observe(weak)
				time.Sleep(2 * time.Hour)
				before, err := s.Status()
				if err != nil {
					t.Fatal(err)
				}
				fates, sum := s.try(tt.settings)
				for name, one := range fates {
					if got := string(one.Fate) + " " + one.Why; tt.want[name] == "" || !strings.HasPrefix(got, tt.want[name]) {
						t.Errorf("%s: %s, want %q", name, got, tt.want[name])
					}
				}
				if len(fates) != len(tt.want) || sum.Come+sum.Go+sum.Stay != uint64(len(fates)) || sum.Observations != before.Observations {
					t.Errorf("%d fates, want %d: %+v", len(fates), len(tt.want), sum)
				}
				if after, err := s.Status(); err != nil || after.Commits != before.Commits {
					t.Errorf("%d commits, were %d: %v", after.Commits, before.Commits, err)
				}
			})
		})
	}
}

// A trial of a large list goes page by page, tells of each key once, and keeps no
// report waiting.
func TestTryPages(t *testing.T) {
	t.Parallel()
	s := start(t)
	const n = 45_000
	if _, err := s.List(t.Context(), operator, hosts(t, n)); err != nil {
		t.Fatal(err)
	}
	pages := 0
	seen := map[listing.Key]bool{}
	strict := eager()
	strict.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix("11.0.0.0/16"), Reason: "one of four"}}
	sum, err := s.Try(t.Context(), strict, func(one listing.Trial) error {
		if seen[one.Key] {
			t.Errorf("%s comes twice", one.Key)
		}
		seen[one.Key] = true
		return nil
	}, func(uint64, uint64) {
		pages++
		s.observe(bounce(pages, "192.0.2.66", time.Now()))
	})
	if err != nil {
		t.Fatal(err)
	}
	// 7 apart: every seventh address of the /16.
	if want := uint64(1<<16/7 + 1); pages < 3 || sum.Keys < n || sum.Go != want || sum.Stay+sum.Go < n {
		t.Errorf("%d pages: %+v, want %d to go", pages, sum, want)
	}
}
