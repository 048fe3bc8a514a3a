package listing_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
)

// What the public sees of an explanation gives away no trap, no recipient, no
// reporter and no operator, even where the accused host quoted them.
func TestPublicExplanation(t *testing.T) {
	t.Parallel()
	settings := eager()
	settings.Reporters = append(settings.Reporters, listing.Reporter{Name: "reporter-7", Organisation: "organisation-7"})
	settings.Traps = []string{"other-7.example", "left@elsewhere.example", "none.example"}
	settings.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix("198.51.100.25/32"), Reason: "a relay of reporter-7"}}
	s := open(t, t.TempDir()+"/listing.db", settings)
	for n, source := range []string{"192.0.2.66", "198.51.100.25"} {
		o := bounce(n, source, time.Now())
		o.Reporter, o.Organisation, o.Sensor, o.TrapDomain = "reporter-7", "organisation-7", "sensor-7", "Trap-7.example"
		o.Traces.Diagnostic = "smtp; 550 no mail from <Secret@TRAP-7.example>, nor secret@trap-7.example"
		o.Traces.MessageID = "<77.secret@trap-7.example>"
		o.Traces.Status = "5.1.1 (for ann@Other-7.example and LEFT@elsewhere.example)"
		o.Traces.FailedDomain, o.Traces.URLHosts = "failed-7.example", []string{"url-7.example"}
		s.observe(o)
	}
	o := operator
	o.By.Name, o.Reason = "operator-7", "reporter-7 says so"
	if _, err := s.List(t.Context(), o, []listing.Manual{{Key: key(t, "192.0.2.66")}}); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"192.0.2.66", "198.51.100.25"} {
		x, err := s.Explain(netip.MustParseAddr(source))
		if err != nil {
			t.Fatal(err)
		}
		full, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		public, err := json.Marshal(x.Public())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(full), "reporter-7") || !strings.Contains(string(full), "Trap-7.example") {
			t.Errorf("the operator's form tells too little: %s", full)
		}
		for _, secret := range []string{"-7", "secret", "ann@", "left@", id(0).String(), id(1).String()} {
			if strings.Contains(strings.ToLower(string(public)), secret) {
				t.Errorf("%s: the public form gives away %q: %s", source, secret, public)
			}
		}
		if again, err := json.Marshal(x); err != nil || string(again) != string(full) {
			t.Errorf("making the public form changed the other: %v", err)
		}
	}
}

func TestExplainListed(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
	if err != nil || !x.Listed || x.Code != "127.0.0.2" || x.By != listing.ByEvidence || x.Permanent || x.Until.IsZero() || x.Extends == "" ||
		x.Decision == nil || !x.Decision.List || len(x.Decision.Thresholds) == 0 || x.Current == nil || x.Sequence != s.Snapshot().Sequence() {
		t.Errorf("%+v %v", x, err)
	}
	s.list(time.Time{}, "198.51.100.0/24")
	for name, explain := range map[string]func() (listing.Explanation, error){
		"address in a prefix": func() (listing.Explanation, error) { return s.Explain(netip.MustParseAddr("198.51.100.9")) },
		"prefix":              func() (listing.Explanation, error) { return s.ExplainKey(key(t, "198.51.100.0/24")) },
	} {
		x, err := explain()
		if err != nil || !x.Listed || x.Code != "127.0.0.9" || x.By != listing.ByOperator || !x.Permanent || x.Reason != operator.Reason {
			t.Errorf("%s: %+v %v", name, x, err)
		}
	}
	if x, err := s.Explain(netip.MustParseAddr("203.0.113.1")); err != nil || x.Listed || x.Decision != nil || x.Code != "" || x.By != 0 {
		t.Errorf("unknown: %+v %v", x, err)
	}
	if x, err := s.Explain(netip.MustParseAddr("127.0.0.1")); err != nil || x.Exempt == nil || !x.Exempt.BuiltIn {
		t.Errorf("loopback: %+v %v", x, err)
	}
}

// A trace is cut to its bound, which may cut the trap's address in two: what is
// left of it must not be shown.
func TestPublicTraceCutInAnAddress(t *testing.T) {
	t.Parallel()
	s := start(t)
	const address = "secret@trap.example"
	for n := range len(address) + 4 {
		o := bounce(n, "192.0.2.66", time.Now())
		start := listing.MaxTrace - n
		o.Traces.Diagnostic = "550 " + strings.Repeat("x", start-6) + " <" + address + "> is unknown"
		s.observe(o)
	}
	x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
	if err != nil || len(x.Events) != len(address)+4 {
		t.Fatal(err, len(x.Events))
	}
	for _, e := range x.Public().Events {
		if d := e.Traces.Diagnostic; strings.Contains(d, "sec") || strings.Contains(d, "trap") || len(d) > listing.MaxTrace+len("[withheld]") {
			t.Errorf("gives away %q", d[len(d)-30:])
		}
	}
}

// Why an address is exempt is told to all where everybody can know it, and to
// operators else; the codes of the classes are test points.
func TestExplainExempt(t *testing.T) {
	t.Parallel()
	settings := eager()
	settings.BuiltIn = []listing.Exemption{
		{Prefix: netip.MustParsePrefix("9.1.1.0/24"), Reason: "relay of a reporter"},
		{Prefix: netip.MustParsePrefix("10.1.1.0/24"), Reason: "our own"},
	}
	s := open(t, t.TempDir()+"/listing.db", settings)
	for _, c := range []struct {
		addr, prefix, why, public string
		point                     listing.Class
	}{
		{"9.1.1.1", "9.1.1.0/24", "relay of a reporter", "", 0},
		{"10.1.1.1", "10.1.1.0/24", "our own", "", 0},
		{"10.1.2.1", "10.0.0.0/8", "private use (RFC 1918)", "private use (RFC 1918)", 0},
		{"::1", "::1/128", "loopback (RFC 4291)", "loopback (RFC 4291)", 0},
		{"127.0.0.1", "127.0.0.0/8", "loopback (RFC 1122)", "loopback (RFC 1122)", 0},
		{"127.0.0.2", "127.0.0.0/8", "loopback (RFC 1122)", "loopback (RFC 1122)", listing.ClassBounce},
		{"::ffff:127.0.0.9", "127.0.0.0/8", "loopback (RFC 1122)", "loopback (RFC 1122)", listing.ClassManual},
		{"127.0.0.8", "127.0.0.0/8", "loopback (RFC 1122)", "loopback (RFC 1122)", 0},
		{"127.0.1.2", "127.0.0.0/8", "loopback (RFC 1122)", "loopback (RFC 1122)", 0},
	} {
		x, err := s.Explain(netip.MustParseAddr(c.addr))
		if err != nil || x.Exempt == nil || x.Exempt.Prefix.String() != c.prefix || x.Exempt.Reason != c.why {
			t.Errorf("%s: %+v, %v", c.addr, x.Exempt, err)
			continue
		}
		if got := x.Public().Exempt.Reason; got != c.public || x.TestPoint != c.point || x.Listed {
			t.Errorf("%s: the public is told %q; test point of %s", c.addr, got, x.TestPoint)
		}
	}
	if _, err := s.Decommission(t.Context(), operator, false); err != nil {
		t.Fatal(err)
	}
	if x, err := s.Explain(netip.MustParseAddr("127.0.0.2")); err != nil || x.TestPoint != listing.ClassOther {
		t.Errorf("a list that has ended has test points: %+v, %v", x, err)
	}
}
