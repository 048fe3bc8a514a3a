package listing_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// observeAll hands observations in at once, so that they share commits.
func (r *running) observeAll(all []listing.Observation) {
	r.t.Helper()
	var wg sync.WaitGroup
	for _, o := range all {
		wg.Go(func() {
			if _, err := r.Observe(context.Background(), o); err != nil {
				r.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A host that sends more than is kept, faster than the span that the rule asks
// for, is the worst of all. What is kept of it must still show the first one,
// and what few others saw beside the many.
func TestFloodIsListed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy func() listing.Policy
	}{{"solo", listing.Solo}, {"community", listing.Community}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				settings := eager()
				settings.Policy = c.policy()
				settings.Policy.Span = 10 * time.Minute
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
				n := 0
				next := func() listing.Observation {
					n++
					return bounce(n, "192.0.2.66", time.Now())
				}
				for range 2 {
					o := next()
					o.Reporter, o.Organisation, o.TrapDomain = "other", "other", "trap.example.org"
					s.observe(o)
				}
				for range 5 {
					var burst []listing.Observation
					for range 250 {
						burst = append(burst, next())
					}
					s.observeAll(burst)
					s.want()
					time.Sleep(2 * time.Minute)
				}
				if out := s.observe(next()); !out.Listed {
					t.Errorf("%+v", out.Decision.Thresholds)
				}
				s.want("192.0.2.66/32")
				x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
				if err != nil || x.Observations < 900 || x.Observations > 1000 {
					t.Errorf("%d kept: %v", x.Observations, err)
				}
				s.verify()
			})
		})
	}
}

// What can not count, because it is older than a delist or of level C, is the
// first to go.
func TestFloodOfWhatCountsForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.delist(time.Minute, "192.0.2.66")
		time.Sleep(10 * time.Second)
		s.observe(bounce(2, "192.0.2.66", time.Now()))
		var flood []listing.Observation
		for n := range 1500 {
			o := bounce(1000+n, "192.0.2.66", time.Now().Add(time.Second))
			o.Level = listing.LevelC
			flood = append(flood, o)
		}
		time.Sleep(2 * time.Second)
		s.observeAll(flood)
		time.Sleep(2 * time.Minute)
		s.want("192.0.2.66/32")
		s.verify()
	})
}

// An exempt host in a /64, a relay of a reporter perhaps, is no evidence
// against its neighbours.
func TestExemptNeighbourDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := eager()
		settings.Policy.Score, settings.Policy.Originals = 3, 3
		settings.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix("2001:db8::25/128"), Reason: "a relay"}}
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
		for n := range 5 {
			if out := s.observe(bounce(n, "2001:db8::25", time.Now())); !out.Exempt || out.Listed || out.Decision.Events != 0 {
				t.Errorf("exempt: %+v", out)
			}
		}
		if out := s.observe(bounce(10, "2001:db8::66", time.Now())); out.Listed || out.Decision.Events != 1 {
			t.Errorf("listed by what its neighbour did: %+v", out)
		}
		s.want()
		x, err := s.Explain(netip.MustParseAddr("2001:db8::66"))
		if err != nil || x.Decision == nil || x.Decision.Events != 1 || len(x.Events) != 6 {
			t.Errorf("%v %+v", err, x.Decision)
		}
	})
}

// BenchmarkObserveFlood measures one more observation of hosts of which all
// that is kept is there already.
func BenchmarkObserveFlood(b *testing.B) {
	s := start(b)
	now := time.Now().Add(-time.Hour)
	var all []listing.Observation
	for n := range 1000 {
		all = append(all, bounce(n, "192.0.2.66", now.Add(time.Duration(n)*time.Second)))
	}
	(&running{Store: s.Store, t: b}).observeAll(all)
	n := 1000
	for b.Loop() {
		n++
		if _, err := s.Observe(b.Context(), bounce(n, "192.0.2.66", time.Now())); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "obs/s")
}

// Identities are forgotten faster than a flood can bring them: what came in a
// day does not take days to go.
func TestIdentitiesAreForgottenInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		var all []listing.Observation
		for n := range 3000 {
			all = append(all, bounce(n, netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}).String(), time.Now()))
		}
		s.observeAll(all)
		s.stop()
		edit(t, s.path, func(tx *bolt.Tx) error {
			for _, o := range all { // as if none were kept
				if err := listing.NoteSeen(tx, o.At, o.ID); err != nil {
					return err
				}
			}
			return nil
		})
		time.Sleep(366 * 24 * time.Hour)
		s = open(t, s.path, eager())
		s.resume() // the clock is right: it was a year
		time.Sleep(time.Hour)
		left := 0
		if err := s.DB().View(func(tx *bolt.Tx) error { left = tx.Bucket([]byte("seen")).Stats().KeyN; return nil }); err != nil {
			t.Fatal(err)
		}
		if left != 0 {
			t.Errorf("%d identities are left", left)
		}
	})
}

// Whatever came counts once, whether it is kept still, was dropped since
// because no more is kept of one host, or came twice at the same time.
func TestNothingCountsTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		var all []listing.Observation
		for n := range 1300 {
			all = append(all, bounce(n, "192.0.2.66", time.Now()))
		}
		s.observeAll(append(all, all[:10]...))
		kept, err := s.Status()
		if err != nil || kept.Observations == 0 || kept.Observations >= 1000 {
			t.Fatalf("%d observations are kept: %v", kept.Observations, err)
		}
		s = s.reopen(eager())
		for n := 0; n < len(all); n += 13 {
			all[n].At = time.Now()
			if out := s.observe(all[n]); !out.Duplicate {
				t.Fatalf("observation %d counts again", n)
			}
		}
		if st, err := s.Status(); err != nil || st.Observations != kept.Observations {
			t.Errorf("%d observations, had %d: %v", st.Observations, kept.Observations, err)
		}
		s.verify()
	})
}
