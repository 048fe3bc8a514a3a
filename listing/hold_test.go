package listing_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
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
		want := "each further observation that counts puts the end off to 21 days after it"
		if err != nil || !x.Listed || x.Current.Events != 0 || x.Extends != want {
			t.Errorf("%q by %+v: %v", x.Extends, x.Current, err)
		}
	})
}
