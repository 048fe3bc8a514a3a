package listing_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

// noon is the moment at which tests decide.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// seen returns a bounce of so long ago, which hit trap.example of organisation
// one; its original and its recipient are its own.
func seen(ago time.Duration, change ...func(*listing.Evidence)) listing.Evidence {
	e := listing.Evidence{
		At: noon.Add(-ago), Class: listing.ClassBounce, Level: listing.LevelB,
		Original: listing.ID{1, byte(ago >> 30), byte(ago >> 38)}, Recipient: listing.ID{2, byte(ago >> 30), byte(ago >> 38)},
		TrapDomain: "trap.example", Organisation: "one", Weight: 1,
	}
	for _, f := range change {
		f(&e)
	}
	return e
}

type change = func(*listing.Evidence)

func class(c listing.Class) change { return func(e *listing.Evidence) { e.Class = c } }
func level(l listing.Level) change { return func(e *listing.Evidence) { e.Level = l } }
func by(organisation string) change {
	return func(e *listing.Evidence) { e.Organisation = organisation }
}
func on(trap string) change  { return func(e *listing.Evidence) { e.TrapDomain = trap } }
func original(n byte) change { return func(e *listing.Evidence) { e.Original = listing.ID{n} } }

func recipient(n byte) change        { return func(e *listing.Evidence) { e.Recipient = listing.ID{n} } }
func weighing(weight float64) change { return func(e *listing.Evidence) { e.Weight = weight } }
func spf(e *listing.Evidence)        { e.SPFFailed = true }
func delivered(e *listing.Evidence)  { e.Delivered = true }

// enough is evidence of two organisations that just lists under the community
// rule.
func enough() []listing.Evidence {
	return []listing.Evidence{
		seen(0),
		seen(2*time.Minute, by("two"), on("trap.test.example")),
		seen(8*time.Minute, by("two"), on("trap.test.example")),
		seen(10 * time.Minute),
	}
}

// direct is evidence of one organisation that just lists under the community
// rule.
func direct() []listing.Evidence {
	return []listing.Evidence{
		seen(0, level(listing.LevelA)),
		seen(5 * time.Minute),
		seen(10*time.Minute, level(listing.LevelA), on("trap.test.example")),
	}
}

// alone is evidence that just lists under the solo rule but for the score,
// which it has and more.
func alone() []listing.Evidence {
	return []listing.Evidence{
		seen(0, recipient(1)), seen(15*time.Minute, recipient(2)), seen(30*time.Minute, recipient(3)),
		seen(45*time.Minute, recipient(1)), seen(60*time.Minute, recipient(2)),
	}
}

func with(evidence []listing.Evidence, i int, change ...func(*listing.Evidence)) []listing.Evidence {
	for _, f := range change {
		f(&evidence[i])
	}
	return evidence
}

func threshold(t interface {
	Helper()
	Fatalf(string, ...any)
}, d listing.Decision, name string,
) listing.Threshold {
	t.Helper()
	i := slices.IndexFunc(d.Thresholds, func(x listing.Threshold) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no threshold %q in %+v", name, d.Thresholds)
	}
	return d.Thresholds[i]
}

// TestDecideThresholds holds each condition at its edge: what just lists, and
// what just does not, and for want of what.
func TestDecideThresholds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		policy   listing.Policy
		evidence []listing.Evidence
		missing  []string // thresholds not met; none: listed
	}{
		{"nothing", listing.Community(), nil, []string{"score", "originals", "trap domains", "organisations", "span"}},
		{"two organisations", listing.Community(), enough(), nil},
		{"one organisation, level A on two traps", listing.Community(), direct(), nil},
		{"one alone", listing.Solo(), alone(), nil},

		{"score: two originals of two", listing.Community(), enough()[:2], []string{"score", "originals", "span"}},
		{"score: faded in 16 hours", listing.Community(), with(direct(), 2, func(e *listing.Evidence) { e.At = noon.Add(-16 * time.Hour) }), nil},
		{"score: faded in 17 hours", listing.Community(), with(direct(), 2, func(e *listing.Evidence) { e.At = noon.Add(-17 * time.Hour) }), []string{"score"}},
		{"score: auto-replies weigh half", listing.Community(), with(direct(), 1, class(listing.ClassAutoreply)), []string{"score"}},
		{"score: SPF could have told", listing.Community(), with(with(with(direct(), 1, class(listing.ClassAutoreply)), 0, spf), 2, spf), nil},
		{"score: new reporter", listing.Community(), with(direct(), 1, weighing(0.25)), []string{"score"}},
		{
			"share: much of one, little of the other", listing.Community(),
			append(enough()[:2], seen(20*time.Minute), seen(30*time.Minute), seen(40*time.Minute)),
			[]string{"score"},
		},
		{
			"share: a notice is half of what is needed", listing.Community(),
			append(with(enough()[:2], 1, class(listing.ClassNotice)), seen(20*time.Minute), seen(30*time.Minute)), nil,
		},

		{"originals: one twice", listing.Community(), with(with(direct(), 0, original(9)), 1, original(9)), []string{"originals"}},
		{"originals: two twice", listing.Community(), with(with(enough(), 0, original(9)), 1, original(9)), nil},
		{"originals: solo wants five", listing.Solo(), with(with(alone(), 0, original(9)), 1, original(9)), []string{"originals"}},

		{"trap domains: one", listing.Community(), with(with(enough(), 1, on("trap.example")), 2, on("trap.example")), []string{"trap domains"}},
		{"trap domains: none is none", listing.Community(), with(with(enough(), 1, on("")), 2, on("")), []string{"trap domains"}},
		{"recipients: solo wants three", listing.Solo(), with(alone(), 2, recipient(1)), []string{"recipients"}},

		{"organisations: level A on one trap", listing.Community(), with(direct(), 0, level(listing.LevelB)), []string{"score", "organisations"}},
		{
			"organisations: level A of two on a trap each", listing.Community(),
			with(direct(), 2, by("two")),
			[]string{"score"},
		},

		{"span: a second short", listing.Community(), with(enough(), 3, func(e *listing.Evidence) { e.At = e.At.Add(time.Second) }), []string{"span"}},
		{"span: solo wants an hour", listing.Solo(), with(alone(), 4, func(e *listing.Evidence) { e.At = e.At.Add(time.Second) }), []string{"span"}},

		{"level C never counts", listing.Community(), with(direct(), 1, level(listing.LevelC)), []string{"score", "originals"}},
		{"no level never counts", listing.Community(), with(direct(), 1, level(0)), []string{"score", "originals"}},
		{"suspended reporter never counts", listing.Community(), with(direct(), 1, weighing(0)), []string{"score", "originals"}},
		{"damaged weight never counts", listing.Community(), with(direct(), 1, weighing(math.NaN())), []string{"score", "originals"}},
		{"callouts never count", listing.Community(), with(direct(), 1, class(listing.ClassCallout)), []string{"score", "originals"}},
		{"callouts count when configured", calloutPolicy(), with(direct(), 1, class(listing.ClassCallout)), nil},
		{"no backscatter never counts", listing.Community(), with(direct(), 1, class(listing.ClassOther)), []string{"score", "originals"}},
		{"an operator's word is no evidence", listing.Community(), with(direct(), 1, class(listing.ClassManual)), []string{"score", "originals"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := tt.policy.Decide(listing.History{Evidence: tt.evidence}, noon)
			var missing []string
			for _, x := range d.Thresholds {
				if !x.Met {
					missing = append(missing, x.Name)
				}
			}
			if !slices.Equal(missing, tt.missing) || d.List != (len(tt.missing) == 0) {
				t.Errorf("listed %v, missing %v, want %v: %+v", d.List, missing, tt.missing, d.Thresholds)
			}
		})
	}
}

func calloutPolicy() listing.Policy {
	p := listing.Community()
	p.Weights.Callout = 1
	return p
}

func TestDecideScore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		evidence []listing.Evidence
		want     string
	}{
		{"each class", []listing.Evidence{
			seen(0, class(listing.ClassNotice)), seen(0, class(listing.ClassBounce)), seen(0, class(listing.ClassChallenge)),
			seen(0, class(listing.ClassAutoreply)), seen(0, class(listing.ClassCallout)),
		}, "4.0"},
		{"as old as the window", []listing.Evidence{seen(7 * day)}, "0.5"},
		{"older", []listing.Evidence{seen(7*day + time.Second)}, "0.0"},
		{"half as old", []listing.Evidence{seen(84 * time.Hour), seen(84 * time.Hour)}, "1.5"},
		{"SPF", []listing.Evidence{seen(0, spf), seen(0, spf)}, "2.5"},
		{"reports of success", []listing.Evidence{seen(0, delivered), seen(0, delivered), seen(0)}, "2.0"},
		{"reporters", []listing.Evidence{seen(0, weighing(0.25)), seen(0, weighing(2)), seen(0, weighing(1))}, "3.3"},
		{"a reporter beyond bounds", []listing.Evidence{seen(0, weighing(math.Inf(1)))}, "10.0"},
		{"rounds up", []listing.Evidence{seen(0, weighing(0.05))}, "0.1"},
		{"rounds down", []listing.Evidence{seen(0, weighing(0.0499))}, "0.0"},
	} {
		p := listing.Solo()
		if got := threshold(t, p.Decide(listing.History{Evidence: tt.evidence}, noon), "score").Found; got != tt.want {
			t.Errorf("%s: score %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestDecideSharesAreOfTheNeededScore has one organisation send ever more: it
// gives half of the needed score and no more.
func TestDecideSharesAreOfTheNeededScore(t *testing.T) {
	t.Parallel()
	evidence := []listing.Evidence{seen(0, by("two"))}
	for n, want := range []string{"1.0", "2.0", "2.5", "2.5", "2.5"} {
		p := listing.Community()
		if got := threshold(t, p.Decide(listing.History{Evidence: evidence}, noon), "score").Found; got != want {
			t.Errorf("with %d of the other: score %s, want %s", n, got, want)
		}
		evidence = append(evidence, seen(time.Duration(n+1)*time.Second))
	}
}

func TestDecideAfterRemoval(t *testing.T) {
	t.Parallel()
	// Half of what is needed: a score of 1.5, two originals.
	half := []listing.Evidence{
		seen(0, level(listing.LevelA)),
		seen(10*time.Minute, level(listing.LevelA), on("trap.test.example"), class(listing.ClassAutoreply)),
	}
	long := 40 * day
	for _, tt := range []struct {
		name    string
		history listing.History
		want    bool
		events  int
	}{
		{"no removal", listing.History{Evidence: half}, false, 2},
		{"delisted within 30 days", listing.History{Evidence: half, Delisted: noon.Add(-30*day + time.Second)}, true, 2},
		{"delisted 30 days ago", listing.History{Evidence: half, Delisted: noon.Add(-30 * day)}, false, 2},
		{"expired within 30 days", listing.History{Evidence: half, Expired: noon.Add(-30*day + time.Second)}, true, 2},
		{"expired 30 days ago", listing.History{Evidence: half, Expired: noon.Add(-30 * day)}, false, 2},
		{"delisted long ago, expired lately", listing.History{Evidence: half, Delisted: noon.Add(-long), Expired: noon.Add(-day)}, true, 2},
		{"one original is less than half of three", listing.History{Evidence: with(half[:1:1], 0, class(listing.ClassNotice)), Expired: noon.Add(-day)}, false, 1},

		{"older than the delist", listing.History{Evidence: direct(), Delisted: noon.Add(-time.Minute)}, false, 1},
		{"of the second of the delist", listing.History{Evidence: direct(), Delisted: noon.Add(-10 * time.Minute)}, false, 2},
		{"a second newer than the delist", listing.History{Evidence: direct(), Delisted: noon.Add(-10*time.Minute - time.Second)}, true, 3},
		{"all older than the delist", listing.History{Evidence: direct(), Delisted: noon}, false, 0},

		{"all older than the expiry", listing.History{Evidence: direct(), Expired: noon}, false, 3},
		{"held, and never listed", listing.History{Evidence: half, CountFrom: noon.Add(-day)}, false, 2},
		{"older than the hold", listing.History{Evidence: direct(), CountFrom: noon.Add(-time.Minute)}, false, 1},
		{"expired in the future", listing.History{Evidence: direct(), Expired: noon.Add(long)}, true, 3},
		{"half, expired in the future", listing.History{Evidence: half, Expired: noon.Add(long)}, false, 2},
		{"one newer than the expiry", listing.History{Evidence: direct(), Expired: noon.Add(-time.Second)}, true, 3},
	} {
		p := listing.Community()
		d := p.Decide(tt.history, noon)
		if d.List != tt.want || d.Events != tt.events {
			t.Errorf("%s: listed %v by %d, want %v by %d: %+v", tt.name, d.List, d.Events, tt.want, tt.events, d.Thresholds)
		}
	}
}

func TestDecideHalvesRoundedUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		policy           listing.Policy
		score, originals string
	}{
		{listing.Community(), "1.5", "2"},
		{listing.Solo(), "1.5", "3"},
	} {
		d := tt.policy.Decide(listing.History{Expired: noon.Add(-day)}, noon)
		if got := threshold(t, d, "score").Wanted; got != tt.score {
			t.Errorf("%s: score wanted %s, want %s", tt.policy.Profile, got, tt.score)
		}
		if got := threshold(t, d, "originals").Wanted; got != tt.originals {
			t.Errorf("%s: originals wanted %s, want %s", tt.policy.Profile, got, tt.originals)
		}
		if !d.Relapse {
			t.Errorf("%s: no relapse", tt.policy.Profile)
		}
	}
}

func TestDecideExpiry(t *testing.T) {
	t.Parallel()
	ended := func(ago ...time.Duration) (out []time.Time) {
		for _, d := range ago {
			out = append(out, noon.Add(-d))
		}
		return out
	}
	newest := noon.Add(-time.Hour)
	for _, tt := range []struct {
		name    string
		earlier []time.Time
		want    time.Duration
	}{
		{"first", nil, 7 * day},
		{"second", ended(day), 14 * day},
		{"third", ended(day, 30*day), 28 * day},
		{"fourth", ended(day, 30*day, 60*day), 28 * day},
		{"hundredth", ended(make([]time.Duration, 99)...), 28 * day},
		{"90 days ago", ended(90 * day), 14 * day},
		{"longer ago", ended(90*day + time.Second), 7 * day},
	} {
		evidence := append(enough(), seen(30*day))
		for i := range evidence {
			evidence[i].At = evidence[i].At.Add(-time.Hour)
		}
		p := listing.Community()
		d := p.Decide(listing.History{Evidence: evidence, Earlier: tt.earlier}, noon)
		if !d.Last.Equal(newest) || !d.First.Equal(newest.Add(-10*time.Minute)) || d.Events != 4 {
			t.Errorf("%s: %d from %v to %v", tt.name, d.Events, d.First, d.Last)
		}
		if !d.Until.Equal(newest.Add(tt.want)) || d.Lifetime() != tt.want {
			t.Errorf("%s: until %v after %s, want %s", tt.name, d.Until, d.Lifetime(), tt.want)
		}
	}
	p := listing.Community()
	p.LifetimeMax = 10 * day
	if d := p.Decide(listing.History{Evidence: enough(), Earlier: ended(day)}, noon); d.Lifetime() != 10*day {
		t.Errorf("doubled beyond the greatest lifetime: %s", d.Lifetime())
	}
	p.Lifetime = time.Second
	if d := p.Decide(listing.History{Evidence: enough()}, noon.Add(time.Second)); d.List {
		t.Errorf("listed until %v, which is not after now", d.Until)
	}
}

// TestDecideClockSetBack has evidence from a year ahead: it counts as new, and
// promises nothing beyond what new evidence does.
func TestDecideClockSetBack(t *testing.T) {
	t.Parallel()
	evidence := enough()
	evidence[0].At = noon.Add(365 * day)
	p := listing.Community()
	d := p.Decide(listing.History{Evidence: evidence}, noon)
	if !d.List || !d.Last.Equal(noon) || !d.Until.Equal(noon.Add(7*day)) {
		t.Errorf("listed %v, last %v, until %v", d.List, d.Last, d.Until)
	}
	if span := threshold(t, d, "span"); span.Found != "10 minutes" {
		t.Errorf("span %s", span.Found)
	}
}

func TestDecideClass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		evidence []listing.Evidence
		want     listing.Class
		classes  listing.ClassSet
	}{
		{"none", nil, listing.ClassOther, 0},
		{
			"the heaviest",
			[]listing.Evidence{seen(0), seen(day, class(listing.ClassNotice)), seen(0, class(listing.ClassAutoreply))},
			listing.ClassNotice, listing.ClassSetOf(listing.ClassBounce, listing.ClassNotice, listing.ClassAutoreply),
		},
		{
			"of one weight the newest: challenge",
			[]listing.Evidence{seen(0, class(listing.ClassChallenge)), seen(time.Second)},
			listing.ClassChallenge, listing.ClassSetOf(listing.ClassBounce, listing.ClassChallenge),
		},
		{
			"of one weight the newest: bounce",
			[]listing.Evidence{seen(time.Second, class(listing.ClassChallenge)), seen(0), seen(time.Hour)},
			listing.ClassBounce, listing.ClassSetOf(listing.ClassBounce, listing.ClassChallenge),
		},
		{
			"of one second the lower code",
			[]listing.Evidence{seen(0, class(listing.ClassChallenge)), seen(0)},
			listing.ClassBounce, listing.ClassSetOf(listing.ClassBounce, listing.ClassChallenge),
		},
		{
			"not what does not count",
			[]listing.Evidence{seen(0), seen(8*day, class(listing.ClassNotice)), seen(0, class(listing.ClassCallout))},
			listing.ClassBounce, listing.ClassSetOf(listing.ClassBounce),
		},
	} {
		p := listing.Community()
		d := p.Decide(listing.History{Evidence: tt.evidence}, noon)
		if d.Class != tt.want || d.Classes != tt.classes {
			t.Errorf("%s: %s of %s, want %s of %s", tt.name, d.Class, d.Classes, tt.want, tt.classes)
		}
	}
}

func TestDecideWords(t *testing.T) {
	t.Parallel()
	p := listing.Community()
	got := p.Decide(listing.History{Evidence: direct(), Expired: noon.Add(-day)}, noon).Thresholds
	want := []listing.Threshold{
		{Name: "score", Wanted: "1.5", Found: "3.0", Met: true},
		{Name: "originals", Wanted: "2", Found: "3", Met: true},
		{Name: "trap domains", Wanted: "2", Found: "2", Met: true},
		{Name: "organisations", Wanted: "2, or direct on 2 domains", Found: "1, direct on 2", Met: true},
		{Name: "span", Wanted: "10 minutes", Found: "10 minutes", Met: true},
		{Name: "newer than the last expiry", Wanted: "yes", Found: "yes", Met: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("thresholds (-want +got):\n%s", diff)
	}
}
