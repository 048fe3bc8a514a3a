package zonefile_test

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const (
	mapped66 = "2.4.2.0.0.0.0.c.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0" // ::ffff:192.0.2.66
	host6    = "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kind zonefile.Kind
		addr string
	}{
		{"", zonefile.Apex, ""},
		{"66.2.0.192", zonefile.Address, "192.0.2.66"},
		{"255.255.255.255", zonefile.Address, "255.255.255.255"},
		{"0.0.0.0", zonefile.Ambiguous, "0.0.0.0"},
		{"1.0.0.2", zonefile.Ambiguous, "2.0.0.1"},
		{"4.3.2.3", zonefile.Ambiguous, "3.2.3.4"},
		{"8.8.8.8", zonefile.Address, "8.8.8.8"},
		{"1.1.1.1", zonefile.Address, "1.1.1.1"},
		{"1.0.0.127", zonefile.Address, "127.0.0.1"},
		{host6, zonefile.Address, "2001:db8::567:89ab"},
		{strings.ToUpper(host6), zonefile.Address, "2001:db8::567:89ab"},
		{mapped66, zonefile.Address, "192.0.2.66"},
		{"192", zonefile.Partial, ""},
		{"0.192", zonefile.Partial, ""},
		{"2.0.192", zonefile.Partial, ""},
		{"2", zonefile.Partial, ""},
		{"F", zonefile.Partial, ""},
		{"a.2", zonefile.Partial, ""},
		{"1.2.3.a", zonefile.Partial, ""},
		{"5.4.3.2.1", zonefile.Partial, ""},
		{host6[2:], zonefile.Partial, ""},
		{"1." + host6, zonefile.None, ""},
		{"1.66.2.0.192", zonefile.None, ""},
		{"066.2.0.192", zonefile.None, ""},
		{"00.2.0.192", zonefile.None, ""},
		{"256.2.0.192", zonefile.None, ""},
		{"300", zonefile.None, ""},
		{"1000", zonefile.None, ""},
		{"-1.2.0.192", zonefile.None, ""},
		{"+1", zonefile.None, ""},
		{"g", zonefile.None, ""},
		{"ab", zonefile.None, ""},
		{"a.10", zonefile.None, ""},
		{"1.0x7f", zonefile.None, ""},
		{"www", zonefile.None, ""},
		{"*", zonefile.None, ""},
		{"_status", zonefile.Status, ""},
		{"_STATUS", zonefile.Status, ""},
		{"a._status", zonefile.None, ""},
		{"_status.192", zonefile.None, ""},
		{`\0546.2.0.192`, zonefile.Address, "192.0.2.66"}, // an escaped digit
		{`66\.2.0.192`, zonefile.None, ""},                // a label with a dot in it
	} {
		z := testZone()
		for _, suffix := range []string{"bl.example.", "bl.example", "BL.eXample."} {
			name := strings.TrimPrefix(c.name+"."+suffix, ".")
			kind, addr := z.Parse(name)
			if kind != c.kind || addr.IsValid() != (c.addr != "") || addr.IsValid() && addr.String() != c.addr {
				t.Errorf("Parse(%q) = %s %s, want %s %s", name, kind, addr, c.kind, c.addr)
			}
		}
	}
}

func TestParseOutsideTheZone(t *testing.T) {
	t.Parallel()
	z := testZone()
	for _, name := range []string{
		"", ".", "example.", "bl2.example.", "xbl.example.", "66.2.0.192.bl.example.net.", "..", "a..bl.example.", ".bl.example.",
		`\`, `\1`, `\999.bl.example.`, `66.2.0.192\.bl.example.`, "bl.example..",
		strings.Repeat("a", 64) + ".bl.example.", strings.Repeat("1.", 200) + "bl.example.",
	} {
		if kind, addr := z.Parse(name); kind != zonefile.None || addr.IsValid() {
			t.Errorf("Parse(%q) = %s %s, want none", name, kind, addr)
		}
	}
}

func TestParseLabelsMalformed(t *testing.T) {
	t.Parallel()
	for _, rel := range []string{"\x00", "\x02a", "\x01", "\xc0\x0c", "\x011\x00", "\x3f", "\x011\x05ab"} {
		if kind, _ := zonefile.ParseLabels([]byte(rel)); kind != zonefile.None {
			t.Errorf("ParseLabels(%q) = %s, want none", rel, kind)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	z := testZone()
	for _, name := range []string{"66.2.0.192.bl.example.", host6 + ".BL.example.", "www.bl.example."} {
		if n := testing.AllocsPerRun(100, func() { z.Parse(name) }); n != 0 {
			t.Errorf("Parse(%q) allocates %.0f times", name, n)
		}
	}
}

var (
	octets  = regexp.MustCompile(`^((0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\.){1,4}$`)
	nibbles = regexp.MustCompile(`^([0-9a-f]\.){1,32}$`)
)

// oracle is Parse as one would write it without thinking of speed.
func oracle(rel string) (zonefile.Kind, netip.Addr) {
	rel = strings.ToLower(rel)
	labels := strings.Split(strings.TrimSuffix(rel, "."), ".")
	slices.Reverse(labels)
	switch is4, is6 := octets.MatchString(rel), nibbles.MatchString(rel); {
	case rel == "":
		return zonefile.Apex, netip.Addr{}
	case rel == "_status.":
		return zonefile.Status, netip.Addr{}
	case is4 && len(labels) == 4 && is6 && strings.Contains("023", labels[0]):
		return zonefile.Ambiguous, netip.MustParseAddr(strings.Join(labels, "."))
	case is4 && len(labels) == 4:
		return zonefile.Address, netip.MustParseAddr(strings.Join(labels, "."))
	case is6 && len(labels) == 32:
		var groups []string
		for g := range slices.Chunk(labels, 4) {
			groups = append(groups, strings.Join(g, ""))
		}
		return zonefile.Address, netip.MustParseAddr(strings.Join(groups, ":")).Unmap()
	case is4 || is6:
		return zonefile.Partial, netip.Addr{}
	default:
		return zonefile.None, netip.Addr{}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"66.2.0.192.", "1.0.0.2.", host6 + ".", mapped66 + ".", "_status.", "0.192.", "01.2.", "a.b.", "256.", ""} {
		f.Add(seed)
	}
	z := testZone()
	f.Fuzz(func(t *testing.T, rel string) {
		name := rel + z.Name
		kind, addr := z.Parse(name)
		if _, ok := dns.IsDomainName(name); !ok || strings.Contains(rel, `\`) {
			return // only that it does not panic
		}
		if rel != "" && !strings.HasSuffix(rel, ".") {
			return // not below the zone
		}
		wantKind, wantAddr := oracle(rel)
		if kind != wantKind || addr != wantAddr {
			t.Fatalf("Parse(%q) = %s %s, want %s %s", name, kind, addr, wantKind, wantAddr)
		}
		if !kind.IsAddress() {
			return
		}
		if k, a := z.Parse(z.Owner(addr)); !k.IsAddress() || a != addr {
			t.Fatalf("Parse(Owner(%s)) = %s %s", addr, k, a)
		}
	})
}

func TestOwner(t *testing.T) {
	t.Parallel()
	z := testZone()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		for _, addr := range []netip.Addr{netip.AddrFrom16(b), netip.AddrFrom4([4]byte(b[:4]))} {
			arpa := must(dns.ReverseAddr(addr.String()))(t)
			want := strings.TrimSuffix(strings.TrimSuffix(arpa, "in-addr.arpa."), "ip6.arpa.") + z.Name
			if got := z.Owner(addr); got != want {
				t.Fatalf("Owner(%s) = %s, want %s", addr, got, want)
			}
		}
	}
	if got := z.Owner(netip.MustParseAddr("::ffff:192.0.2.66")); got != "66.2.0.192.bl.example." {
		t.Errorf("Owner of a mapped address = %s", got)
	}
}

func TestWildcards(t *testing.T) {
	t.Parallel()
	z := testZone()
	for _, c := range []struct {
		prefix string
		want   []string
	}{
		{"192.0.2.66/32", []string{"66.2.0.192."}},
		{"192.0.2.64/30", []string{"64.2.0.192.", "65.2.0.192.", "66.2.0.192.", "67.2.0.192."}},
		{"192.0.2.0/24", []string{"*.2.0.192."}},
		{"192.0.2.0/23", []string{"*.2.0.192.", "*.3.0.192."}},
		{"10.0.0.0/8", []string{"*.10."}},
		{"2001:db8:1:2::/64", []string{"*.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2."}},
		{"2001:db8:1:2::/63", []string{"*.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.", "*.3.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2."}},
		{"2001:db8:1::/48", []string{"*.1.0.0.0.8.b.d.0.1.0.0.2."}},
	} {
		var want []string
		for _, w := range c.want {
			want = append(want, w+z.Name)
		}
		if diff := cmp.Diff(want, z.Wildcards(netip.MustParsePrefix(c.prefix))); diff != "" {
			t.Errorf("Wildcards(%s): %s", c.prefix, diff)
		}
	}
	for prefix, want := range map[string]int{
		"192.0.2.0/25": 128, "192.0.2.0/26": 64, "2001:db8::/49": 8, "2001:db8::/61": 8,
		"2.0.1.0/24":  256, // *.1.0.2 would list all of 2010::/12 too
		"2.0.11.0/24": 1,
	} {
		if got := len(z.Wildcards(netip.MustParsePrefix(prefix))); got != want {
			t.Errorf("Wildcards(%s): %d names, want %d", prefix, got, want)
		}
	}
}

// TestWildcardsCoverExactly matches names as RFC 4592 does, by the closest
// encloser, against the names of one prefix.
func TestWildcardsCoverExactly(t *testing.T) {
	t.Parallel()
	z := testZone()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 400 {
		var p netip.Prefix
		if rng.IntN(2) == 0 {
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(rng.IntN(12)), byte(rng.IntN(12)), byte(rng.IntN(12)), byte(rng.Uint32())}), 18+rng.IntN(15)).Masked()
		} else {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, byte(rng.IntN(12)), 0xd, 0xb8, 0, 1, 2, byte(rng.Uint32())}), 13+rng.IntN(56)).Masked()
		}
		names, exists := map[string]bool{}, map[string]bool{}
		for _, name := range z.Wildcards(p) {
			names[name] = true
			for rest := name; rest != ""; _, rest, _ = strings.Cut(rest, ".") {
				exists[rest] = true
			}
		}
		for range 50 {
			addr := near(rng, p)
			if got, want := covered(names, exists, z.Owner(addr)), p.Contains(addr); got != want {
				t.Fatalf("%s: %s is covered: %t, want %t", p, addr, got, want)
			}
		}
	}
}

// near returns an address in or next to p, of either family.
func near(rng *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch {
		case i*8 >= p.Bits() || rng.IntN(20) == 0:
			b[i] = byte(rng.Uint32())
		case i*8+8 > p.Bits() && rng.IntN(2) == 0:
			b[i] |= byte(rng.Uint32()) >> (p.Bits() % 8)
		}
	}
	if rng.IntN(3) == 0 { // the other family under the same labels
		if v6 := [16]byte{}; len(b) == 4 {
			for i := range v6 {
				v6[i] = byte(rng.Uint32())
			}
			v6[0], v6[1] = b[0]<<4|b[1]&0xf, b[2]<<4|b[3]&0xf
			return netip.AddrFrom16(v6)
		}
		return netip.AddrFrom4([4]byte{b[0] >> 4, b[0] & 0xf, b[1] >> 4, b[1] & 0xf})
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func covered(names, exists map[string]bool, owner string) bool {
	if names[owner] {
		return true
	}
	for rest := owner; rest != ""; {
		_, rest, _ = strings.Cut(rest, ".")
		if exists[rest] { // the closest encloser
			return names["*."+rest]
		}
	}
	return false
}

// TestKindExists: what must be answered with NODATA though nothing is listed.
func TestKindExists(t *testing.T) {
	t.Parallel()
	for kind, want := range map[zonefile.Kind]bool{
		zonefile.None: false, zonefile.Apex: true, zonefile.Status: true, zonefile.Partial: true,
		zonefile.Address: false, zonefile.Ambiguous: true,
	} {
		if kind.Exists() != want {
			t.Errorf("%s exists: %t, want %t", kind, !want, want)
		}
	}
}

func TestKindString(t *testing.T) {
	t.Parallel()
	if got := zonefile.Ambiguous.String() + " " + zonefile.Kind(99).String(); got != "ambiguous kind("+strconv.Itoa(99)+")" {
		t.Errorf("got %q", got)
	}
}
