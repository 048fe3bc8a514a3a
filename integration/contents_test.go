package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// contents is a list of every kind of entry, and what it must answer.
type contents struct {
	codes  map[netip.Addr]string // of addresses that are listed; more than these may be, in listed prefixes
	clean  []netip.Addr          // addresses that are not, among them exempt ones
	ending netip.Addr            // listed for less than the zone's TTL
}

// code is what the classes answer with (the policy's table).
var code = map[string]string{
	"bounce": "127.0.0.2", "notice": "127.0.0.3", "autoreply": "127.0.0.4", "challenge": "127.0.0.5", "manual": "127.0.0.9",
}

// fill gives the daemon evidence of every class, operators' prefixes with holes
// in them, IPv6 of both, and a thousand imported addresses.
func fill(t *testing.T, d *daemon, rng *rand.Rand) *contents {
	t.Helper()
	c := &contents{codes: map[netip.Addr]string{}, ending: netip.MustParseAddr("203.0.113.7")}
	for _, host := range []struct {
		addr  string
		sends string // classes of its messages
		code  string
	}{
		{"192.0.2.66", "bounce bounce", "bounce"},
		{"192.0.2.67", "notice notice", "notice"},
		{"192.0.2.68", "autoreply autoreply autoreply autoreply", "autoreply"},
		{"192.0.2.69", "challenge challenge", "challenge"},
		{"192.0.2.70", "bounce notice autoreply", "notice"},
		{"192.0.2.71", strings.Repeat("bounce ", 12), "bounce"},
		{"2001:db8:66::25", "bounce bounce", "bounce"},
		{"2001:db8:67:1:2:3:4:5", "challenge autoreply autoreply", "challenge"},
		{"198.51.100.20", "bounce bounce", "manual"}, // lies in an operator's prefix
		{"192.0.2.72", "bounce", ""},                 // proves too little
	} {
		addr := netip.MustParseAddr(host.addr)
		for class := range strings.FieldsSeq(host.sends) {
			d.mustDeliver(t, newMessage(class, addr))
		}
		if host.code == "" {
			c.clean = append(c.clean, addr)
		} else {
			c.codes[addr] = code[host.code]
		}
	}
	s := d.site
	s.must("list", "198.51.100.0/24", "203.0.113.200/29", "--reason", "a block", "--for", "7d")
	s.must("list", "2001:db8:77::/48", "--reason", "a network", "--permanent")
	s.must("list", c.ending.String(), "--reason", "not for long", "--for", "4m")
	s.must("exempt", "198.51.100.9", "198.51.100.128/26", "2001:db8:77:8::/64", "--reason", "customers", "--permanent", "--yes")
	exempt := []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32"), netip.MustParsePrefix("198.51.100.128/26")}
	for addr := netip.MustParseAddr("198.51.100.0"); netip.MustParsePrefix("198.51.100.0/24").Contains(addr); addr = addr.Next() {
		if exempt[0].Contains(addr) || exempt[1].Contains(addr) {
			c.clean = append(c.clean, addr)
		} else {
			c.codes[addr] = code["manual"]
		}
	}
	c.codes[c.ending] = code["manual"]
	c.add6(rng)
	c.importRandom(t, s, rng)
	return c
}

// add6 adds what the IPv6 entries of fill answer, and what lies beside them.
func (c *contents) add6(rng *rand.Rand) {
	for prefix, listed := range map[string]string{
		"2001:db8:66::/64": "bounce", "2001:db8:67:1::/64": "challenge",
		"2001:db8:77::/64": "manual", "2001:db8:77:7::/64": "manual", "2001:db8:77:ffff::/64": "manual",
		"2001:db8:66:1::/64": "", "2001:db8:67::/64": "", "2001:db8:77:8::/64": "", "2001:db8:78::/64": "", "2001:db8::/64": "",
	} {
		for range 5 {
			addr := within64(rng, netip.MustParsePrefix(prefix))
			if listed == "" {
				c.clean = append(c.clean, addr)
			} else {
				c.codes[addr] = code[listed]
			}
		}
	}
}

func within64(rng *rand.Rand, p netip.Prefix) netip.Addr {
	a := p.Addr().As16()
	for i := 8; i < 16; i++ {
		a[i] = byte(rng.Uint32())
	}
	return netip.AddrFrom16(a)
}

// importRandom imports random addresses, and keeps 1000 others as not listed.
// Some are all of single digits.
func (c *contents) importRandom(t *testing.T, s *site, rng *rand.Rand) {
	t.Helper()
	var list strings.Builder
	for n := 0; n < 1000; {
		addr := randomPublic(rng)
		if n < 10 {
			addr = singleDigits(rng)
		}
		if _, ok := c.codes[addr]; !ok {
			c.codes[addr] = code["manual"]
			fmt.Fprintln(&list, addr)
			n++
		}
	}
	path := filepath.Join(s.dir, "import.txt")
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.must("import", "--format", "txt", "--reason", "a friend's list", "--for", "30d", "--yes", path); !strings.Contains(out, "1000 listed") {
		t.Fatalf("import: %s", tail(out, 200))
	}
	for n := 0; n < 1000; {
		addr := randomPublic(rng)
		if n < 10 {
			addr = singleDigits(rng)
		}
		if _, ok := c.codes[addr]; !ok {
			c.clean = append(c.clean, addr)
			n++
		}
	}
}

// singleDigits returns an address whose name is four nibbles as well, which
// names of IPv6 addresses in use end with or not.
func singleDigits(rng *rand.Rand) netip.Addr {
	first := []byte{1, 2, 3, 8}
	return netip.AddrFrom4([4]byte{first[rng.IntN(len(first))], byte(rng.IntN(10)), byte(rng.IntN(10)), byte(rng.IntN(10))})
}

// randomPublic returns an address outside the space that is never listed.
func randomPublic(rng *rand.Rand) netip.Addr {
	for {
		a := netip.AddrFrom4([4]byte{byte(1 + rng.IntN(222)), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())})
		switch a.As4()[0] {
		case 10, 100, 127, 169, 172, 192, 198, 203: // each has special-purpose space in it (RFC 6890)
		default:
			return a
		}
	}
}
