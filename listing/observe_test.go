package listing_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

func TestBounceIsListedAndExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		before := s.Snapshot()
		out := s.observe(bounce(1, "192.0.2.66", time.Now()))
		if !out.Listed || out.Duplicate || out.Sequence != before.Sequence()+1 || !out.Decision.List {
			t.Fatalf("outcome %+v", out)
		}
		s.want("192.0.2.66/32")
		select {
		case <-before.Superseded():
		default:
			t.Error("the old snapshot is not superseded")
		}
		listed := time.Now()
		e, ok := s.Snapshot().Lookup(netip.MustParseAddr("::ffff:192.0.2.66"))
		want := listing.Entry{
			Prefix: netip.MustParsePrefix("192.0.2.66/32"), Class: listing.ClassBounce, Classes: listing.ClassSetOf(listing.ClassBounce),
			Summary: listing.Summary{Events: 1, Since: listing.DateOf(listed), Last: listing.DateOf(listed), Until: listing.DateOf(listed.Add(7 * 24 * time.Hour))},
		}
		if diff := cmp.Diff(want, e, compareEntries); !ok || diff != "" {
			t.Errorf("entry (-want +got):\n%s", diff)
		}

		// A second bounce renews, and publishes nothing.
		time.Sleep(24 * time.Hour)
		if out := s.observe(bounce(2, "192.0.2.66", time.Now())); out.Sequence != before.Sequence()+1 {
			t.Errorf("a renewal moved the serial to %d", out.Sequence)
		}
		// When the day that is published comes, the new one is published.
		time.Sleep(6*24*time.Hour + time.Minute)
		e, _ = s.Snapshot().Lookup(netip.MustParseAddr("192.0.2.66"))
		if e.Summary.Until != want.Summary.Until+1 || e.Summary.Events != 2 || s.Snapshot().Sequence() != before.Sequence()+2 {
			t.Errorf("renewed entry %+v at %d", e, s.Snapshot().Sequence())
		}
		if _, ok := s.Snapshot().Until(e.Prefix.Addr()); ok {
			t.Error("it ends tomorrow and is in the table of endings")
		}
		time.Sleep(24*time.Hour - 3*time.Minute)
		if until, ok := s.Snapshot().Until(e.Prefix.Addr()); !ok || !until.Equal(listed.Add(8*24*time.Hour)) {
			t.Errorf("table of endings: %s %t", until, ok)
		}
		time.Sleep(3 * time.Minute)
		s.want()
		s.verify()

		x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		if err != nil || x.Listed || len(x.Events) != 2 || len(x.History) != 1 || x.History[0].How != listing.Expired {
			t.Errorf("%v %+v", err, x)
		}
	})
}

func TestObserveOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		levelC := bounce(4, "192.0.2.4", now)
		levelC.Level = listing.LevelC
		stranger := bounce(5, "192.0.2.5", now)
		stranger.Reporter = "nobody"
		future := bounce(6, "192.0.2.6", now.Add(24*time.Hour))
		for _, c := range []struct {
			name string
			obs  listing.Observation
			want listing.Outcome
		}{
			{"first", bounce(1, "192.0.2.1", now), listing.Outcome{Listed: true}},
			{"again", bounce(1, "192.0.2.1", now), listing.Outcome{Listed: true, Duplicate: true}},
			{"another", bounce(2, "192.0.2.1", now), listing.Outcome{Listed: true}},
			{"stale", bounce(3, "192.0.2.3", now.Add(-7*24*time.Hour-time.Second)), listing.Outcome{Stale: true}},
			{"level C", levelC, listing.Outcome{}},
			{"reporter not enrolled", stranger, listing.Outcome{}},
			{"exempt", bounce(7, "198.51.100.7", now), listing.Outcome{Exempt: true}},
			{"from the future", future, listing.Outcome{Listed: true}},
			{"IPv6", bounce(8, "2001:db8::8", now), listing.Outcome{Listed: true}},
			{"IPv4 in IPv6", bounce(9, "::ffff:192.0.2.9", now), listing.Outcome{Listed: true}},
		} {
			got := s.observe(c.obs)
			got.Key, got.Decision, got.Sequence = listing.Key{}, listing.Decision{}, 0
			if diff := cmp.Diff(c.want, got, compareEntries); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		}
		s.want("192.0.2.1/32", "192.0.2.6/32", "192.0.2.9/32", "2001:db8::/64")
		for text, want := range map[string]int{"192.0.2.1": 2, "192.0.2.3": 0, "192.0.2.4": 1, "198.51.100.7": 1} {
			x, err := s.Explain(netip.MustParseAddr(text))
			if err != nil || len(x.Events) != want || x.Observations != want {
				t.Errorf("%s: %d events, want %d: %v", text, len(x.Events), want, err)
			}
		}
		s.verify()

		s = s.reopen(eager())
		if out := s.observe(bounce(2, "192.0.2.1", now)); !out.Duplicate {
			t.Error("an identity was forgotten over a restart")
		}
	})
}

func TestObserveRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	good := bounce(1, "192.0.2.1", time.Now())
	for name, spoil := range map[string]func(*listing.Observation){
		"no address":  func(o *listing.Observation) { o.Addr = netip.Addr{} },
		"no identity": func(o *listing.Observation) { o.ID = listing.ID{} },
		"no class":    func(o *listing.Observation) { o.Class = listing.ClassOther },
		"manual":      func(o *listing.Observation) { o.Class = listing.ClassManual },
		"no level":    func(o *listing.Observation) { o.Level = 0 },
		"no time":     func(o *listing.Observation) { o.At = time.Time{} },
	} {
		o := good
		spoil(&o)
		if _, err := s.Observe(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s.want()
}

func TestObservationKeepsWhatItTells(t *testing.T) {
	t.Parallel()
	s := start(t)
	o := bounce(1, "2001:db8::1:2:3:4", time.Now().UTC().Truncate(time.Second))
	o.Proofs = listing.ProofSetOf(listing.ProofTrap, listing.ProofDKIM)
	o.SPFFailed = true
	o.Traces.Origin = netip.MustParseAddr("198.51.100.9")
	o.Traces.URLHosts = []string{"a.example", "b.example"}
	o.Traces.Subject = id(99)
	o.Traces.Diagnostic = "smtp; 550 no such user"
	s.observe(o)
	x, err := s.Explain(o.Addr)
	if err != nil || len(x.Events) != 1 {
		t.Fatal(err, x)
	}
	e := x.Events[0]
	want := listing.Event{
		ID: o.ID, At: o.At, Class: o.Class, Level: o.Level, Proofs: o.Proofs.Names(), SPFFailed: true, Traces: o.Traces,
		Reporter: o.Reporter, Organisation: o.Organisation, Sensor: o.Sensor, TrapDomain: o.TrapDomain, Recipient: o.Recipient, Original: o.Original,
	}
	if diff := cmp.Diff(want, e, compareEntries); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestKeptObservationsAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	now := time.Now()
	const sent = 1200
	errs := make(chan error, sent)
	for n := range sent {
		go func() {
			_, err := s.Observe(context.Background(), bounce(n, "192.0.2.1", now.Add(-time.Duration(sent-n)*time.Second)))
			errs <- err
		}()
	}
	for range sent {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	x, err := s.Explain(netip.MustParseAddr("192.0.2.1"))
	if err != nil || x.Observations < 900 || x.Observations > 1000 {
		t.Errorf("%d kept: %v", x.Observations, err)
	}
	s.verify()
}
