package listing_test

import (
	"errors"
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

func (r *running) explainAt(address string, at time.Time) listing.Explanation {
	r.t.Helper()
	x, err := r.ExplainAt(netip.MustParseAddr(address), at)
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// found is what a threshold of a decision found.
func found(d *listing.Decision, name string) string {
	if d == nil {
		return "no decision"
	}
	for _, t := range d.Thresholds {
		if t.Name == name {
			return t.Found
		}
	}
	return "no " + name
}

// What is told of a moment is what was so at that moment, by the rule of then.
func TestExplainAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const address = "192.0.2.66"
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), steady())
		pass := func(d time.Duration) time.Time {
			time.Sleep(d - time.Second)
			synctest.Wait()
			defer time.Sleep(time.Second)
			return time.Now()
		}
		pass(time.Hour)
		s.observe(bounce(1, address, time.Now()))
		one := pass(time.Hour)
		s.observe(bounce(2, address, time.Now()))
		s.list(time.Now().Add(time.Hour), "198.51.100.0/24")
		two := pass(time.Minute)
		s.observe(bounce(3, address, time.Now()))
		three := pass(time.Hour)
		s.delist(0, address)
		gone := pass(time.Hour)
		strict := steady()
		strict.Policy.Originals = 9
		s = s.reopen(strict)
		pass(time.Hour)
		for n := range 4 {
			s.observe(bounce(10+n, address, time.Now()))
			pass(time.Minute)
		}
		strictly := pass(time.Minute)

		x := s.explainAt(address, one)
		if x.Listed || x.Observations != 1 || found(x.Decision, "originals") != "1" || len(x.Unsure) != 0 || !x.At.Equal(one) {
			t.Errorf("after one: %+v", x)
		}
		x = s.explainAt(address, two)
		if !x.Listed || x.By != listing.ByEvidence || x.Code != "127.0.0.2" || x.Observations != 2 || len(x.Events) != 2 ||
			found(x.Decision, "originals") != "2" || found(x.Current, "originals") != "2" || !x.Since.Equal(two.Add(time.Second-time.Minute)) || len(x.Unsure) != 0 {
			t.Errorf("after two: %+v", x)
		}
		if want := two.Add(48*time.Hour - time.Minute + time.Second); !x.Until.Equal(want) {
			t.Errorf("until %s, want %s", x.Until, want)
		}
		x = s.explainAt(address, three)
		if !x.Listed || found(x.Decision, "originals") != "2" || found(x.Current, "originals") != "3" {
			t.Errorf("after three: %+v", x)
		}
		x = s.explainAt(address, gone)
		if x.Listed || len(x.History) != 1 || x.Delisted.IsZero() || found(x.Decision, "originals") != "0" || x.Decision.Events != 0 {
			t.Errorf("gone: %+v", x)
		}
		x = s.explainAt(address, strictly)
		if x.Listed || found(x.Decision, "originals") != "4" || x.Decision.Thresholds[1].Wanted != "5" {
			t.Errorf("under the strict rule: %+v", x.Decision)
		}
		x = s.explainAt("198.51.100.9", two)
		if !x.Listed || x.CoveredBy == nil || x.CoveredBy.String() != "198.51.100.0/24" {
			t.Errorf("below a prefix: %+v", x)
		}
		wide, err := s.ExplainKeyAt(key(t, "198.51.100.0/24"), two)
		if err != nil || !wide.Listed || wide.By != listing.ByOperator || wide.Reason != operator.Reason || wide.Class != listing.ClassManual {
			t.Errorf("the prefix: %+v, %v", wide, err)
		}
		if wide, err = s.ExplainKeyAt(key(t, "198.51.100.0/24"), strictly); err != nil || wide.Listed || len(wide.History) != 1 {
			t.Errorf("the prefix, later: %+v, %v", wide, err)
		}
		if _, err := s.ExplainAt(netip.MustParseAddr(address), time.Now().Add(time.Hour)); !errors.Is(err, listing.ErrFuture) {
			t.Errorf("in an hour: %v", err)
		}
	})
}

// What is not kept is said to be so.
func TestExplainAtUnsure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const address = "192.0.2.66"
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), steady())
		s.observe(bounce(1, address, time.Now()))
		s.observe(bounce(2, address, time.Now()))
		then := time.Now()
		time.Sleep(40 * 24 * time.Hour)
		synctest.Wait()
		x := s.explainAt(address, then)
		if !x.Listed || x.Class != listing.ClassBounce || x.Code != "127.0.0.2" || !strings.Contains(strings.Join(x.Unsure, "\n"), "not in the journal any more") {
			t.Errorf("beyond the journal: %+v", x)
		}
		x = s.explainAt("192.0.2.67", then.Add(-time.Hour))
		if x.Listed || !strings.Contains(strings.Join(x.Unsure, "\n"), "the rule that was in force is not in the audit") {
			t.Errorf("before all: %+v", x)
		}
	})
}

// Random histories: what Explain said at each moment is what ExplainAt says of it
// later.
func TestExplainAtAgainstThen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 9))
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), steady())
				time.Sleep(time.Hour)
				type moment struct {
					at   time.Time
					text string
					x    listing.Explanation
				}
				var moments []moment
				for n := range 120 {
					text := fmt.Sprintf("192.0.2.%d", r.IntN(4))
					switch r.IntN(20) {
					case 0:
						s.list(time.Now().Add(time.Duration(1+r.IntN(100))*time.Hour), text)
					case 1:
						if _, ok := s.Snapshot().Lookup(netip.MustParseAddr(text)); ok {
							s.delist(0, text)
						}
					case 2:
						s = s.reopen(steady())
					default:
						s.observe(bounce(n, text, time.Now()))
					}
					time.Sleep(time.Duration(1+r.IntN(9000)) * time.Second)
					synctest.Wait()
					x, err := s.Explain(netip.MustParseAddr(text))
					if err != nil {
						t.Fatal(err)
					}
					moments = append(moments, moment{time.Now(), text, x})
					time.Sleep(time.Second)
				}
				listed := 0
				for _, m := range moments {
					x := s.explainAt(m.text, m.at)
					if m.x.Listed {
						listed++
					}
					if x.Listed != m.x.Listed || x.By != m.x.By || x.Class != m.x.Class || x.Code != m.x.Code || x.Sequence != m.x.Sequence ||
						!x.Since.Equal(m.x.Since) || x.Observations != m.x.Observations || len(x.Events) != len(m.x.Events) ||
						len(x.History) != len(m.x.History) || !x.Delisted.Equal(m.x.Delisted) || len(x.Unsure) != 0 {
						t.Fatalf("%s at %s:\n%+v\nthen:\n%+v", m.text, m.at, x, m.x)
					}
					if m.x.By == listing.ByEvidence && !x.Until.Equal(m.x.Until) {
						t.Errorf("%s at %s ends at %s, then %s", m.text, m.at, x.Until, m.x.Until)
					}
					if (x.Decision == nil) != (m.x.Decision == nil) || x.Decision != nil && found(x.Decision, "score") != found(m.x.Decision, "score") {
						t.Errorf("%s at %s: %+v, then %+v", m.text, m.at, x.Decision, m.x.Decision)
					}
				}
				if listed < 10 {
					t.Errorf("listed only %d times", listed)
				}
			})
		})
	}
}
