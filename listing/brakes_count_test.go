package listing_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// addresses returns the narrowest prefixes of some addresses.
func addresses(n int, addr func(n int) string) (out []netip.Prefix) {
	for i := range n {
		p, err := listing.ParsePrefix(addr(i))
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

// Evidence against a /64 of which exemptions leave more pieces than may come at once is
// stored and lists it, and keeps nothing else from being stored.
func TestEvidenceOfManyPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
		s.exempt(false, time.Time{}, addresses(2, func(n int) string { return fmt.Sprintf("2001:db8:0:1:%x::1", n<<15) })...)
		var sent sync.WaitGroup
		for n, source := range []string{"2001:db8:0:1::ff", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"} {
			sent.Go(func() {
				if out, err := s.Observe(t.Context(), bounce(n, source, time.Now())); err != nil || !out.Listed {
					t.Errorf("%s: %+v, %v", source, out, err)
				}
			})
		}
		sent.Wait()
		if n := s.Snapshot().Len(); n <= 100 || s.status().Brakes != (listing.BrakeStatus{}) {
			t.Errorf("%d are published, brakes %+v", n, s.status().Brakes)
		}
		s.verify()
		time.Sleep(8 * day) // the listing of all those pieces is one that ends, of five
		s.want()
		if on := s.status().Brakes; on != (listing.BrakeStatus{}) {
			t.Errorf("brakes %+v", on)
		}
		s.verify()
	})
}

// What ends is counted by listing, not by the pieces that exemptions leave of it, and
// not once more for each exemption that hid it.
func TestEndingsAreCountedOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(s *running) // what ends is over in a week
		left   int
	}{
		"a prefix with holes": {func(s *running) {
			s.exempt(false, time.Time{}, addresses(60, func(n int) string { return fmt.Sprintf("20.1.1.%d", 4*n+1) })...)
			s.list(time.Now().Add(day), "20.1.1.0/24")
			if n := s.Snapshot().Len(); n <= 100 {
				s.t.Errorf("%d pieces", n)
			}
		}, 0},
		"exemptions in one another": {func(s *running) {
			s.listMany(60, time.Time{})
			s.exempt(false, time.Now().Add(day), all20, netip.MustParsePrefix("20.0.0.0/16"))
			s.list(time.Time{}, "192.0.2.1")
		}, 61},
		"what a wider listing covers": {func(s *running) {
			for n := range 150 {
				s.observe(bounce(n, fmt.Sprintf("20.1.1.%d", n), time.Now()))
			}
			s.list(time.Time{}, "20.1.1.0/24")
		}, 1},
		"what is exempt": {func(s *running) {
			s.listMany(150, time.Now().Add(day))
			s.exempt(false, time.Time{}, all20)
			s.list(time.Time{}, "192.0.2.1")
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				settings := braked()
				settings.Brakes.Listings = 0
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
				c.before(s)
				time.Sleep(8 * day)
				if on := s.status().Brakes; on != (listing.BrakeStatus{}) || s.Snapshot().Len() != c.left {
					t.Errorf("%d are published, brakes %+v", s.Snapshot().Len(), on)
				}
				s.verify()
			})
		})
	}
}

// Listings of which a reload leaves nothing are counted, though it exempts them piece
// by piece; those of which it leaves something are there still.
func TestReloadIsCountedByListing(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
	var wide []string
	var halves, some []netip.Prefix
	for n := range 101 {
		p := netip.MustParsePrefix(fmt.Sprintf("20.1.%d.0/24", n))
		wide = append(wide, p.String())
		low := netip.PrefixFrom(p.Addr(), 25)
		bytes := p.Addr().As4()
		bytes[3] = 128
		halves = append(halves, low, netip.PrefixFrom(netip.AddrFrom4(bytes), 25))
		some = append(some, low)
	}
	s.list(time.Time{}, wide...)
	if _, err := s.Apply(t.Context(), operator, exempting(braked(), halves...)); err != nil || s.status().Brakes.Gone != 101 {
		t.Errorf("%v, brakes %+v", err, s.status().Brakes)
	}
	if _, err := s.Apply(t.Context(), operator, exempting(braked(), some...)); err != nil || s.status().Brakes != (listing.BrakeStatus{}) {
		t.Errorf("%v, brakes %+v", err, s.status().Brakes)
	}
	s.verify()
}

// An operator who lets things end by a clock that is ahead lets nothing else end by it
// when the clock was set right, and is wrong again.
func TestResumeByAWrongClock(t *testing.T) {
	t.Parallel()
	for _, wrongAgain := range []time.Duration{40 * day, 2 * year} {
		t.Run(wrongAgain.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, shift := jumpy(t, filepath.Join(t.TempDir(), "listing.db"), braked())
				s.listMany(250, time.Now().Add(10*day))
				shift.Store(int64(year))
				time.Sleep(5 * time.Minute)
				if s.status().Brakes.Stalled.IsZero() {
					t.Fatalf("brakes %+v", s.status().Brakes)
				}
				s.resume()
				shift.Store(0)
				time.Sleep(5 * time.Minute)
				s.listMany(250, time.Now().Add(10*day))
				time.Sleep(5 * time.Minute)
				shift.Store(int64(wrongAgain))
				time.Sleep(5 * time.Minute)
				if s.Snapshot().Len() != 250 || s.status().Brakes.Stalled.IsZero() {
					t.Errorf("%d are left, brakes %+v", s.Snapshot().Len(), s.status().Brakes)
				}
				s.verify()
			})
		})
	}
}

// An operator whose relays hide too much, or hid it, is told what to do, and that does it.
func TestRelaysAreBraked(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
	s.reporter(listing.ActionEnrol, "new", 0)
	s.listMany(250, time.Time{})
	change := func(want string, relays ...netip.Prefix) {
		t.Helper()
		_, err := s.Reporter(t.Context(), listing.ReporterOrder{Order: operator, Action: listing.ActionRelays, Name: "new", Relays: relays})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("relays: %v, want %q", err, want)
		}
	}
	narrow := netip.MustParsePrefix("20.0.0.9/32")
	change("250 of 250 listings would go at once: it waits for an operator; nothing was changed; if that is meant, exempt the prefixes by your own word", all20)
	s.exempt(false, time.Time{}, all20)
	change("", all20)
	if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{all20}); err != nil {
		t.Fatal(err)
	}
	change("249 would come back at once: it waits for an operator; nothing was changed; if that is meant, exempt what would come back by your own word", narrow)
	s.exempt(false, time.Time{}, all20)
	change("", narrow)
	if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{all20}); err != nil || s.Snapshot().Len() != 249 {
		t.Errorf("%d are published: %v", s.Snapshot().Len(), err)
	}
	s.verify()
}
