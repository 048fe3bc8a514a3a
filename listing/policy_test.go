package listing_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"community", "solo"} {
		p, err := listing.Profile(name)
		if err != nil || p.Profile != name {
			t.Errorf("Profile(%q) = %q, %v", name, p.Profile, err)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := listing.Profile("strict"); err == nil {
		t.Error("Profile(strict): no error")
	}
}

func TestPolicyText(t *testing.T) {
	t.Parallel()
	p := listing.Community()
	want := []string{
		"Profile: community.",
		"Evidence: automatic messages (bounces, notices, auto-replies, challenges) that answer mail which their recipient never sent, proven one by one, and attributed to the host that handed them to a mail server of the reporter.",
		"Window: evidence counts for 7 days; its weight falls evenly from 1 to 0.5 in that time.",
		"Weights: notice 1.5, bounce 1, challenge 1, autoreply 0.5, callout 0; times the reporter's own weight; times 1.25 when SPF would have told the host that the sender was forged, times 0.5 for a bounce that says that the message was delivered.",
		"Score: at least 3 in all, compared and shown to one decimal.",
		"Originals: at least 3 different messages were answered.",
		"Trap domains: at least 2 different ones were hit.",
		"Organisations: at least 2 reported it, none of them giving more than 50 % of the needed score; or one saw it itself on 2 or more of its trap domains.",
		"Span: at least 10 minutes from the first to the last.",
		"Expiry: 7 days after the last counted observation, doubled for each listing that ended in the 90 days before, 28 days at most; each further observation renews it.",
		"After an expiry or a removal: half the score and half the originals suffice for 30 days. Evidence older than a removal never counts again.",
		"Ranges: evidence lists single IPv4 addresses and IPv6 /64 networks, never more.",
		"Use: for mail with a null sender (MAIL FROM:<>) only.",
	}
	if diff := cmp.Diff(want, p.Text()); diff != "" {
		t.Errorf("community (-want +got):\n%s", diff)
	}
	p = listing.Solo()
	p.Originals = 1
	p.Span = 0
	p.Window = 36 * time.Hour
	p.Memory, p.Relapse = 0, 0
	solo := strings.Join(p.Text(), "\n")
	for _, line := range []string{
		"Profile: solo.",
		"Window: evidence counts for 36 hours;",
		"Originals: at least 1 different message was answered.",
		"Recipients: at least 3 different ones were hit.",
		"Organisations: the reports of one suffice.",
		"Span: none is asked.",
		"Expiry: 7 days after the last counted observation; each further observation renews it.",
		"\nEvidence older than a removal never counts again.",
	} {
		if !strings.Contains(solo, line) {
			t.Errorf("solo does not say %q:\n%s", line, solo)
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		harm func(p *listing.Policy)
		want []string // in the error; none: valid
	}{
		{"as it is", func(*listing.Policy) {}, nil},
		{"no span", func(p *listing.Policy) { p.Span = 0 }, nil},
		{"no profile", func(p *listing.Policy) { p.Profile = "" }, []string{"profile"}},
		{"score", func(p *listing.Policy) { p.Score = 0.9 }, []string{"score 0.9"}},
		{"score that is no number", func(p *listing.Policy) { p.Score = math.NaN() }, []string{"score"}},
		{"originals", func(p *listing.Policy) { p.Originals = 0 }, []string{"originals 0"}},
		{"trap domains", func(p *listing.Policy) { p.TrapDomains = -1 }, []string{"trap_domains -1"}},
		{"recipients", func(p *listing.Policy) { p.Recipients = -1 }, []string{"recipients -1"}},
		{"organisations", func(p *listing.Policy) { p.Organisations = 0 }, []string{"organisations 0"}},
		{"share of nothing", func(p *listing.Policy) { p.Share = 0 }, []string{"share 0"}},
		{"share of more than all", func(p *listing.Policy) { p.Share = 1.1 }, []string{"share 1.1"}},
		{"share of all", func(p *listing.Policy) { p.Share = 1 }, nil},
		{"age", func(p *listing.Policy) { p.AgedTo = 1.5 }, []string{"aged_to 1.5"}},
		{"SPF", func(p *listing.Policy) { p.SPFFactor = 0.5 }, []string{"spf_factor 0.5"}},
		{"weight", func(p *listing.Policy) { p.Weights.Callout = -1 }, []string{"weight of callout -1"}},
		{"window", func(p *listing.Policy) { p.Window = 0 }, []string{"window 0 seconds", "span 10 minutes: longer than the window"}},
		{"window of a year", func(p *listing.Policy) { p.Window = 365 * day }, nil},
		{"window longer than identities are known", func(p *listing.Policy) { p.Window = 366 * day }, []string{"window 366 days: want 1 second to 365 days"}},
		{"span", func(p *listing.Policy) { p.Span = -time.Second }, []string{"span"}},
		{"span of the window", func(p *listing.Policy) { p.Span = p.Window }, nil},
		{"lifetime", func(p *listing.Policy) { p.Lifetime = 0 }, []string{"lifetime 0 seconds"}},
		{"lifetime for ever", func(p *listing.Policy) { p.LifetimeMax = math.MaxInt64 }, []string{"lifetime_max"}},
		{"lifetime too long", func(p *listing.Policy) { p.LifetimeMax = p.Lifetime - 1 }, []string{"lifetime 7 days: longer than lifetime_max"}},
		{"memory", func(p *listing.Policy) { p.Memory = -1 }, []string{"memory"}},
		{"relapse", func(p *listing.Policy) { p.Relapse = -1 }, []string{"relapse"}},
		{"several", func(p *listing.Policy) { p.Originals, p.Score = 0, 0 }, []string{"originals 0", "score 0"}},
	} {
		p := listing.Community()
		tt.harm(&p)
		err := p.Validate()
		if (err != nil) != (tt.want != nil) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			continue
		}
		for _, words := range tt.want {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%s: error %q does not say %q", tt.name, err, words)
			}
		}
	}
}

func TestDurationsInWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                                  "0 seconds",
		time.Second:                        "1 second",
		10 * time.Minute:                   "10 minutes",
		61 * time.Second:                   "1 minute 1 second",
		90 * time.Minute:                   "1 hour 30 minutes",
		day:                                "1 day",
		26*time.Hour + 57*time.Minute:      "26 hours 57 minutes",
		36 * time.Hour:                     "36 hours",
		2*day + 30*time.Minute:             "2 days 30 minutes",
		7*day + time.Hour + 2*time.Second:  "7 days 1 hour 2 seconds",
		time.Second + 500*time.Millisecond: "1.5s",
		-time.Minute:                       "-1m0s",
	} {
		if got := listing.Words(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	p := listing.Community()
	old := listing.Evidence{At: noon.Add(-97068 * time.Second), Class: listing.ClassBounce, Level: listing.LevelA, Weight: 1}
	now := old
	now.At = noon
	for _, threshold := range p.Decide(listing.History{Evidence: []listing.Evidence{old, now}}, noon).Thresholds {
		if threshold.Name == "span" && threshold.Found != "26 hours 57 minutes" {
			t.Errorf("%+v", threshold)
		}
	}
	p.Span = 0
	for _, threshold := range p.Decide(listing.History{}, noon).Thresholds {
		if threshold.Name == "span" && threshold.Wanted != "none" {
			t.Errorf("%+v", threshold)
		}
	}
}
