package listing_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
)

func TestParseKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, want string // want "": refused
		host       bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1/32", "192.0.2.1", true},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"::ffff:192.0.2.1/128", "192.0.2.1", true},
		{"::ffff:192.0.2.0/120", "192.0.2.0/24", false},
		{"192.0.2.0/24", "192.0.2.0/24", false},
		{"192.0.2.0/31", "192.0.2.0/31", false},
		{"2001:db8::1", "2001:db8::/64", true},
		{"2001:db8::1/128", "2001:db8::/64", true},
		{"2001:db8::/64", "2001:db8::/64", true},
		{"2001:db8::/63", "2001:db8::/63", false},
		{"2001:db8::/48", "2001:db8::/48", false},
		{"fe80::1%eth0", "fe80::/64", true},

		{"192.0.2.0/23", "", false},
		{"192.0.2.1/24", "", false},
		{"0.0.0.0/0", "", false},
		{"::/0", "", false},
		{"2001:db8::/47", "", false},
		{"2001:db8::1/64", "", false},
		{"::ffff:0:0/96", "", false},
		{"::ffff:0:0/95", "", false},
		{"192.0.2.256", "", false},
		{"192.0.2.01", "", false},
		{"", "", false},
	} {
		k, err := listing.ParseKey(tt.text)
		if tt.want == "" {
			if !errors.Is(err, listing.ErrKey) || k.IsValid() {
				t.Errorf("ParseKey(%q) = %s, %v, want ErrKey", tt.text, k, err)
			}
			continue
		}
		if err != nil || k.String() != tt.want || k.IsHost() != tt.host {
			t.Errorf("ParseKey(%q) = %s (host %v), %v, want %s (host %v)", tt.text, k, k.IsHost(), err, tt.want, tt.host)
		}
		text, err := k.MarshalText()
		var again listing.Key
		if err != nil || again.UnmarshalText(text) != nil || again != k {
			t.Errorf("%s comes back as %s, %v", k, again, err)
		}
	}
}

func TestZeroKey(t *testing.T) {
	t.Parallel()
	var zero listing.Key
	one, err := listing.ParseKey("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if zero.IsValid() || zero.IsHost() || zero.Covers(one) || one.Covers(zero) || zero.Contains(netip.Addr{}) {
		t.Error("the zero key is taken for one")
	}
	if _, err := zero.MarshalText(); !errors.Is(err, listing.ErrKey) {
		t.Errorf("MarshalText: %v", err)
	}
	if _, err := listing.HostKey(netip.Addr{}); !errors.Is(err, listing.ErrKey) {
		t.Errorf("HostKey of no address: %v", err)
	}
	if _, err := listing.PrefixKey(netip.Prefix{}); !errors.Is(err, listing.ErrKey) {
		t.Errorf("PrefixKey of no prefix: %v", err)
	}
}

func TestKeyRelations(t *testing.T) {
	t.Parallel()
	var keys []listing.Key
	for _, text := range []string{"192.0.2.0/24", "192.0.2.0", "192.0.2.255", "198.51.100.1", "2001:db8::/48", "2001:db8::/64", "2001:db8:0:1::/64"} {
		k, err := listing.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	covered := map[[2]int]bool{{0, 1}: true, {0, 2}: true, {4, 5}: true, {4, 6}: true}
	for i, a := range keys {
		for j, b := range keys {
			if got, want := a.Covers(b), i == j || covered[[2]int{i, j}]; got != want {
				t.Errorf("%s covers %s: %v, want %v", a, b, got, want)
			}
			if got := a.Compare(b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s compared with %s: %d", a, b, got)
			}
		}
	}
	if !keys[0].Contains(netip.MustParseAddr("::ffff:192.0.2.7")) || keys[0].Contains(netip.MustParseAddr("192.0.3.0")) {
		t.Error("Contains is wrong about 192.0.2.0/24")
	}
}

func TestClassNames(t *testing.T) {
	t.Parallel()
	for _, c := range append(slices.Clone(listing.Classes), listing.ClassOther) {
		text, err := c.MarshalText()
		var again listing.Class = 99
		if err != nil || again.UnmarshalText(text) != nil || again != c || !c.Valid() {
			t.Errorf("class %d: text %q comes back as %d, %v", c, text, again, err)
		}
	}
	if _, err := listing.Class(7).MarshalText(); err == nil {
		t.Error("class 7 has a name")
	}
	if _, err := listing.ParseClass("Bounce"); err == nil {
		t.Error("ParseClass takes upper case")
	}
}

// TestClassesAreHeaviestFirst is what ClassSet relies on.
func TestClassesAreHeaviestFirst(t *testing.T) {
	t.Parallel()
	evidence := listing.Classes[:len(listing.Classes)-1]
	if !slices.IsSortedFunc(evidence, func(a, b listing.Class) int {
		if a.Weight() != b.Weight() {
			return int(2 * (b.Weight() - a.Weight()))
		}
		return int(a) - int(b)
	}) {
		t.Errorf("not heaviest first: %v", evidence)
	}
	if last := listing.Classes[len(evidence)]; last != listing.ClassManual {
		t.Errorf("%s is last, want manual", last)
	}
	for _, c := range listing.Classes {
		if c < 2 || c > 9 {
			t.Errorf("class %s answers 127.0.0.%d, outside 127.0.0.2 to 127.0.0.9", c, c)
		}
	}
}

func TestClassSet(t *testing.T) {
	t.Parallel()
	s := listing.ClassSetOf(listing.ClassManual, listing.ClassAutoreply, listing.ClassChallenge, listing.ClassBounce)
	if got := s.String(); got != "bounce,challenge,autoreply,manual" {
		t.Errorf("String = %s", got)
	}
	if s.Heaviest() != listing.ClassBounce || !s.Has(listing.ClassManual) || s.Has(listing.ClassNotice) || s.Has(200) {
		t.Errorf("heaviest %s of %s", s.Heaviest(), s)
	}
	if listing.ClassSet(0).Heaviest() != listing.ClassOther {
		t.Error("the empty set has a heaviest class")
	}
	for set, want := range map[listing.ClassSet]string{
		0: `[]`, s: `["bounce","challenge","autoreply","manual"]`,
	} {
		text, err := json.Marshal(set)
		var again listing.ClassSet = 1 << 15
		if err != nil || string(text) != want || json.Unmarshal(text, &again) != nil || again != set {
			t.Errorf("%s as JSON is %s, %v, and comes back as %s", set, text, err, again)
		}
	}
	for _, text := range []string{`["other"]`, `["bounces"]`, `"bounce"`, `[2]`} {
		var set listing.ClassSet
		if err := json.Unmarshal([]byte(text), &set); err == nil {
			t.Errorf("%s is read as %s", text, set)
		}
	}
}

func TestClassIn(t *testing.T) {
	t.Parallel()
	e := listing.Entry{Class: listing.ClassChallenge, Classes: listing.ClassSetOf(listing.ClassBounce, listing.ClassChallenge, listing.ClassAutoreply)}
	for _, tt := range []struct {
		carried listing.ClassSet
		want    listing.Class
	}{
		{listing.AllClasses, listing.ClassChallenge}, // newest of one weight, not the lower code
		{listing.ClassSetOf(listing.ClassBounce, listing.ClassAutoreply), listing.ClassBounce},
		{listing.ClassSetOf(listing.ClassAutoreply), listing.ClassAutoreply},
		{listing.ClassSetOf(listing.ClassNotice, listing.ClassManual), listing.ClassOther},
		{0, listing.ClassOther},
	} {
		if got := e.ClassIn(tt.carried); got != tt.want {
			t.Errorf("in a zone of %s: %s, want %s", tt.carried, got, tt.want)
		}
	}
}

func TestDate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, ""},
		{time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), ""},
		{time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), "1970-01-02"},
		{time.Date(2026, 11, 21, 23, 59, 59, 0, time.UTC), "2026-11-21"},
		{time.Date(2026, 11, 21, 23, 0, 0, 0, time.FixedZone("west", -7200)), "2026-11-22"},
		{time.Date(2149, 6, 6, 0, 0, 0, 0, time.UTC), "2149-06-06"},
		{time.Date(2149, 6, 7, 0, 0, 0, 0, time.UTC), ""},
	} {
		d := listing.DateOf(tt.at)
		if d.String() != tt.want || d.Time().IsZero() != (tt.want == "") || listing.DateOf(d.Time()) != d {
			t.Errorf("DateOf(%v) = %q at %v, want %q", tt.at, d, d.Time(), tt.want)
		}
	}
}

func TestRoundEvents(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]uint16{
		-1: 0, 0: 0, 1: 1, 9: 9, 10: 10, 19: 10, 99: 90, 100: 100, 1999: 1000, 59_999: 50_000, 60_000: 60_000, 70_000: 60_000, math.MaxInt: 60_000,
	} {
		if got := listing.RoundEvents(n); got != want {
			t.Errorf("RoundEvents(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestSerialOf(t *testing.T) {
	t.Parallel()
	for sequence, want := range map[uint64]uint32{0: 0, 1795325400: 1795325400, 1<<32 - 1: 1<<32 - 1, 1 << 32: 0, 1<<32 + 5: 5} {
		if got := listing.SerialOf(sequence); got != want {
			t.Errorf("SerialOf(%d) = %d, want %d", sequence, got, want)
		}
	}
}

func TestObservationJSON(t *testing.T) {
	t.Parallel()
	o := listing.Observation{
		ID: listing.ID{1, 2}, Addr: netip.MustParseAddr("192.0.2.66"), Class: listing.ClassNotice, At: noon,
		Level: listing.LevelB, Proofs: listing.ProofSetOf(listing.ProofTrap, listing.ProofRelays),
		Reporter: "local", Organisation: "us", Sensor: "smtp", TrapDomain: "trap.example",
		Recipient: listing.ID{3}, Original: listing.ID{4}, SPFFailed: true,
		Traces: listing.Traces{MessageID: "<1@mx.example>", Origin: netip.MustParseAddr("198.51.100.9"), URLHosts: []string{"www.example"}},
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"address":"192.0.2.66"`, `"class":"notice"`, `"level":"B"`, `"proofs":"trap,relays"`, `"id":"01020000000000000000000000000000"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	var again listing.Observation
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(again)
	if err != nil || string(second) != string(text) {
		t.Errorf("comes back as %s, %v, was %s", second, err, text)
	}
}

func TestTextForms(t *testing.T) {
	t.Parallel()
	var id listing.ID
	for _, text := range []string{"01", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("g", 32)} {
		if err := id.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("identity %q is read as %s", text, id)
		}
	}
	if text, err := (listing.ID{}).MarshalText(); err != nil || len(text) != 0 {
		t.Errorf("the zero identity is %q, %v", text, err)
	}
	var level listing.Level
	for _, text := range []string{"D", "a", "AB"} {
		if err := level.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("level %q is read as %s", text, level)
		}
	}
	var proofs listing.ProofSet
	if err := proofs.UnmarshalText([]byte("trap,spf")); err == nil {
		t.Errorf("proofs are read as %v", proofs.Names())
	}
	all := listing.ProofSetOf(listing.ProofTrap, listing.ProofBATV, listing.ProofRelays, listing.ProofMessageID, listing.ProofDKIM)
	text, err := all.MarshalText()
	if err != nil || proofs.UnmarshalText(text) != nil || proofs != all {
		t.Errorf("%s comes back as %v, %v", text, proofs.Names(), err)
	}
	if names := listing.ProofSet(0).Names(); names == nil || len(names) != 0 {
		t.Errorf("names of no proofs: %#v", names)
	}
}
