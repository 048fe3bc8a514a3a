package listing_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// A hold on a host that was never listed protects it; it must not halve what
// lists it afterwards.
func TestHoldOfTheUnlistedIsNoRelapse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Policy.Score, settings.Policy.Originals = 4, 4
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
		s.delist(time.Hour, "192.0.2.66")
		time.Sleep(2 * time.Hour)
		for n := range 3 {
			if out := s.observe(bounce(n, "192.0.2.66", time.Now())); out.Listed || out.Decision.Relapse {
				t.Fatalf("after %d: %+v", n+1, out.Decision)
			}
		}
		s.observe(bounce(4, "192.0.2.66", time.Now()))
		s.delist(0, "192.0.2.66")
		time.Sleep(time.Second)
		s.observe(bounce(5, "192.0.2.66", time.Now()))
		if out := s.observe(bounce(6, "192.0.2.66", time.Now())); !out.Listed || !out.Decision.Relapse {
			t.Errorf("after a delist of what was listed: %+v", out.Decision)
		}
	})
}

// What listed a key may be too old to count while the listing lasts. What would
// extend it is told all the same.
func TestExtendsOfAnOldListing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Policy.Lifetime = 21 * 24 * time.Hour
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		time.Sleep(14 * 24 * time.Hour)
		x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		want := "each further one that counts puts the end off to 21 days after it"
		if err != nil || !x.Listed || x.Current.Events != 0 || x.Extends != want {
			t.Errorf("%q by %+v: %v", x.Extends, x.Current, err)
		}
	})
}

// The table of endings reaches twice as far as the longest TTL, and must be
// made again before that is over, also when the TTL was cut meanwhile.
func TestEndingsAfterAShorterHorizon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Horizon = 2 * time.Hour
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
		time.Sleep(time.Minute)
		until := time.Now().Add(10 * time.Minute)
		s.list(until, "192.0.2.1")
		settings.Horizon = time.Minute
		if _, err := s.Apply(t.Context(), operator, settings); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9*time.Minute + 30*time.Second)
		if got, ok := s.Snapshot().Until(netip.MustParseAddr("192.0.2.1")); !ok || !got.Equal(until) {
			t.Errorf("ends %s %t", got, ok)
		}
	})
}

// An operator's word can bring an end nearer without changing what is
// published. The table of endings must know it at once.
func TestEndingsOfWhatIsToEndSooner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.list(time.Now().Add(20*time.Hour), "192.0.2.1")
		from := s.Snapshot().Sequence()
		until := time.Now().Add(time.Minute)
		s.list(until, "192.0.2.1")
		got, ok := s.Snapshot().Until(netip.MustParseAddr("192.0.2.1"))
		if !ok || !got.Equal(until) || s.Snapshot().Sequence() != from {
			t.Errorf("ends %s %t at %d, was at %d", got, ok, s.Snapshot().Sequence(), from)
		}
	})
}

func TestDue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		last time.Time
		want bool
	}{
		{"never done", time.Time{}, true},
		{"just done", noon, false},
		{"done a while ago", noon.Add(-time.Hour), true},
		{"done a year ahead, by a clock that was set back", noon.Add(365 * day), true},
	} {
		if got := listing.Due(noon, c.last, time.Hour); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
