package listing_test

import (
	"net/netip"
	"testing"
	"time"

	"backscatter/listing"
)

// An imported exemption takes the place of another imported one, and of none
// that an operator set; a later operator's word takes the place of both.
func TestImportedExemptionsGiveWay(t *testing.T) {
	t.Parallel()
	s := start(t)
	own, other := netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("198.51.100.0/24")
	exempt := func(reason string, observe bool) listing.Result {
		t.Helper()
		var all []listing.Exemption
		for _, p := range []netip.Prefix{own, other} {
			all = append(all, listing.Exemption{Prefix: p, Reason: reason, Observe: observe, Until: time.Now().Add(time.Hour)})
		}
		r, err := s.Exempt(t.Context(), operator, all)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	reasons := func() map[netip.Prefix]string {
		t.Helper()
		all, err := s.Exemptions()
		if err != nil {
			t.Fatal(err)
		}
		out := map[netip.Prefix]string{}
		for _, x := range all {
			if !x.BuiltIn {
				out[x.Prefix] = x.Reason
			}
		}
		return out
	}
	if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: own, Reason: "by hand"}}); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"imported", "imported again"} {
		if r := exempt(reason, true); len(r.Skipped) != 1 || r.Skipped[0].Key != own.String() {
			t.Errorf("skipped %+v", r.Skipped)
		}
		if got := reasons(); got[own] != "by hand" || got[other] != reason {
			t.Errorf("exempt %v", got)
		}
	}
	if r := exempt("an operator's", false); len(r.Skipped) != 0 || reasons()[own] != "an operator's" || reasons()[other] != "an operator's" {
		t.Errorf("%+v, exempt %v", r, reasons())
	}
	before := s.actions()[listing.ActionExempt]
	if r := exempt("imported", true); len(r.Skipped) != 2 || s.actions()[listing.ActionExempt] != before {
		t.Errorf("all of it was skipped, and is in the audit: %+v", r)
	}
	s.verify()
}
