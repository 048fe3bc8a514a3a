package listing_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// A list that has ended publishes nothing, whatever comes; what is known stays,
// and comes back with the list.
func TestDecommission(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.list(time.Time{}, "198.51.100.0/24", "2001:db8::/64")
		s.list(time.Now().Add(time.Hour), "203.0.113.7")
		before := s.Snapshot()
		would, err := s.Decommission(t.Context(), dryRun, false)
		if err != nil || len(would.Removed) != 4 || s.Snapshot() != before {
			t.Fatalf("dry run %+v: %v", would, err)
		}
		if _, err := s.Decommission(t.Context(), listing.Order{}, false); !errors.Is(err, listing.ErrNoReason) {
			t.Errorf("without a reason: %v", err)
		}
		if _, err := s.Decommission(t.Context(), operator, true); !errors.Is(err, listing.ErrNotDecommissioned) {
			t.Errorf("undone before it was done: %v", err)
		}
		done, err := s.Decommission(t.Context(), operator, false)
		if err != nil || len(done.Removed) != 4 || done.Sequence != before.Sequence()+1 {
			t.Fatalf("%+v: %v", done, err)
		}
		s.want()
		at := s.Snapshot().Decommissioned()
		if at.IsZero() || !at.Equal(time.Now()) || !before.Decommissioned().IsZero() {
			t.Errorf("since %s", at)
		}
		if _, err := collected(s.Journal(before.Sequence())); !errors.Is(err, listing.ErrCut) {
			t.Errorf("a secondary could go on from before: %v", err)
		}
		if _, err := s.Decommission(t.Context(), operator, false); !errors.Is(err, listing.ErrDecommissioned) {
			t.Errorf("twice: %v", err)
		}
		s.verify()

		// It goes on in silence.
		s = s.reopen(eager())
		time.Sleep(2 * time.Hour)
		if out := s.observe(bounce(2, "192.0.2.67", time.Now())); out.Listed || !out.Decision.List {
			t.Errorf("%+v", out)
		}
		s.list(time.Time{}, "192.0.2.68")
		s.want()
		if sequence := s.Snapshot().Sequence(); sequence != done.Sequence || !s.Snapshot().Decommissioned().Equal(at) {
			t.Errorf("serial %d, since %s", sequence, s.Snapshot().Decommissioned())
		}
		st := s.status()
		if st.Decommissioned == nil || st.Decommissioned.Reason != operator.Reason || !st.Decommissioned.At.Equal(at) {
			t.Errorf("status %+v", st.Decommissioned)
		}
		if x := s.explain("192.0.2.66"); x.Listed || !x.Retired.Equal(at) || x.Exempt != nil {
			t.Errorf("%+v", x)
		}
		s.verify()

		if _, err := s.Decommission(t.Context(), operator, true); err != nil {
			t.Fatal(err)
		}
		s.want("192.0.2.66/32", "192.0.2.67/32", "192.0.2.68/32", "198.51.100.0/24", "2001:db8::/64")
		if !s.Snapshot().Decommissioned().IsZero() || s.status().Decommissioned != nil {
			t.Error("it says still that it has ended")
		}
		actions := s.actions()
		if actions[listing.ActionDecommission] != 1 || actions[listing.ActionRecommission] != 1 {
			t.Errorf("audit %v", actions)
		}
		s = s.reopen(eager())
		s.verify()
	})
}
