package listing_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		first := s.Snapshot().Sequence()
		s.list(time.Time{}, "192.0.2.1", "192.0.2.2")
		s.delist(0, "192.0.2.1")
		changes, err := collected(s.Journal(first))
		var got []string
		for _, c := range changes {
			for _, e := range c.Removed {
				got = append(got, fmt.Sprintf("%d -%s", c.Sequence-first, e.Prefix))
			}
			for _, e := range c.Added {
				got = append(got, fmt.Sprintf("%d +%s", c.Sequence-first, e.Prefix))
			}
		}
		if want := []string{"1 +192.0.2.1/32", "1 +192.0.2.2/32", "2 -192.0.2.1/32"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, want %v: %v", got, want, err)
		}
		if none, err := collected(s.Journal(first + 2)); err != nil || len(none) != 0 {
			t.Errorf("from the newest: %v %v", none, err)
		}
		for _, from := range []uint64{0, first - 1, first + 3} {
			if _, err := collected(s.Journal(from)); !errors.Is(err, listing.ErrCut) {
				t.Errorf("from %d: %v", from, err)
			}
		}
		time.Sleep(31 * 24 * time.Hour)
		if _, err := collected(s.Journal(first)); !errors.Is(err, listing.ErrCut) {
			t.Errorf("after a month: %v", err)
		}
		s.verify()
	})
}

func TestAudit(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.list(time.Time{}, "198.51.100.1", "198.51.100.2")
	s.delist(0, "192.0.2.66")
	all, err := s.Audit(listing.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range all {
		got = append(got, fmt.Sprintf("%d %s %s %d", a.Number, a.Action, a.By.Name, a.Count))
	}
	want := []string{"1 apply start 0", "2 evidence evidence 1", "3 list jdoe 2", "4 delist jdoe 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	some, err := s.Audit(listing.AuditFilter{After: 2, Within: netip.MustParsePrefix("198.51.100.2/32"), Limit: 5})
	if err != nil || len(some) != 1 || some[0].Number != 3 || some[0].By != operator.By || some[0].Reason != operator.Reason {
		t.Errorf("%+v %v", some, err)
	}
	s.verify()
}

func TestListings(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.list(time.Time{}, "198.51.100.1", "198.51.100.2", "2001:db8::1")
	for _, c := range []struct {
		name   string
		filter listing.Filter
		want   []string
	}{
		{"all", listing.Filter{}, []string{"192.0.2.66", "198.51.100.1", "198.51.100.2", "2001:db8::/64"}},
		{"class", listing.Filter{Class: listing.ClassBounce}, []string{"192.0.2.66"}},
		{"by", listing.Filter{By: listing.ByOperator, Limit: 2}, []string{"198.51.100.1", "198.51.100.2"}},
		{"after", listing.Filter{After: key(t, "198.51.100.1")}, []string{"198.51.100.2", "2001:db8::/64"}},
		{"within", listing.Filter{Within: netip.MustParsePrefix("198.51.100.0/24")}, []string{"198.51.100.1", "198.51.100.2"}},
		{"within one", listing.Filter{Within: netip.MustParsePrefix("192.0.2.66/32")}, []string{"192.0.2.66"}},
	} {
		page, err := s.Listings(c.filter)
		var got []string
		for _, l := range page {
			got = append(got, l.Key.String())
			if !l.Published {
				t.Errorf("%s: %s is not published", c.name, l.Key)
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v: %v", c.name, got, c.want, err)
		}
	}
}
