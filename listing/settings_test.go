package listing_test

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
)

func TestSettingsValidate(t *testing.T) {
	t.Parallel()
	good := func() listing.Settings {
		return listing.Settings{
			Policy:    listing.Community(),
			Listable:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			BuiltIn:   []listing.Exemption{{Prefix: netip.MustParsePrefix("198.51.100.1/32"), Reason: "relay", BuiltIn: true}},
			Reporters: []listing.Reporter{{Name: "local", Organisation: "us"}, {Name: "far", Organisation: "them", Weight: 0.25}},
			Horizon:   time.Hour,
		}
	}
	for _, tt := range []struct {
		name string
		harm func(s *listing.Settings)
		want string // in the error; none: valid
	}{
		{"as it is", func(*listing.Settings) {}, ""},
		{"policy", func(s *listing.Settings) { s.Policy.Score = 0 }, "policy score"},
		{"listable", func(s *listing.Settings) { s.Listable[0] = netip.MustParsePrefix("192.0.2.1/24") }, "did you mean 192.0.2.0/24"},
		{"listable that is none", func(s *listing.Settings) { s.Listable[0] = netip.Prefix{} }, "listable"},
		{"exemption", func(s *listing.Settings) { s.BuiltIn[0].Prefix = netip.MustParsePrefix("::ffff:198.51.100.0/120") }, "write it as IPv4"},
		{"exemption without a reason", func(s *listing.Settings) { s.BuiltIn[0].Reason = " " }, "no reason"},
		{"reporter without a name", func(s *listing.Settings) { s.Reporters[0].Name = "" }, "without a name"},
		{"reporter without an organisation", func(s *listing.Settings) { s.Reporters[0].Organisation = "" }, "no organisation"},
		{"reporter twice", func(s *listing.Settings) { s.Reporters[1].Name = "local" }, "twice"},
		{"reporter too heavy", func(s *listing.Settings) { s.Reporters[1].Weight = 10.5 }, "weight 10.5"},
		{"reporter lighter than nothing", func(s *listing.Settings) { s.Reporters[1].Weight = -1 }, "weight -1"},
		{"reporter of no weight", func(s *listing.Settings) { s.Reporters[1].Weight = math.NaN() }, "weight NaN"},
		{"horizon", func(s *listing.Settings) { s.Horizon = -time.Second }, "horizon"},
	} {
		s := good()
		tt.harm(&s)
		err := s.Validate()
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if r, ok := good().Reporter("far"); !ok || r.Factor() != 0.25 {
		t.Errorf("Reporter(far) = %+v, %v", r, ok)
	}
	if r, ok := good().Reporter("local"); !ok || r.Factor() != 1 {
		t.Errorf("Reporter(local) = %+v, %v, want a factor of 1", r, ok)
	}
	if r, ok := good().Reporter("nobody"); ok {
		t.Errorf("Reporter(nobody) = %+v", r)
	}
}

func TestExemptionActive(t *testing.T) {
	t.Parallel()
	e := listing.Exemption{}
	if !e.Active(noon) {
		t.Error("an exemption without an end does not hold")
	}
	e.Until = noon
	if !e.Active(noon.Add(-time.Second)) || e.Active(noon) {
		t.Error("an exemption must hold until its end, and not at it")
	}
}
