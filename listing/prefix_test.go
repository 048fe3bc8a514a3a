package listing_test

import (
	"errors"
	"net/netip"
	"testing"

	"backscatter/listing"
)

func TestParsePrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"192.0.2.1", "192.0.2.1/32"},
		{"192.0.2.0/24", "192.0.2.0/24"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"::ffff:192.0.2.1", "192.0.2.1/32"},
		{"::ffff:192.0.2.0/120", "192.0.2.0/24"},
		{"2001:db8::1", "2001:db8::1/128"},
		{"2001:DB8::/32", "2001:db8::/32"},
		{"::/0", "::/0"},

		{"", ""},
		{"192.0.2", ""},
		{"192.0.2.1/24", ""},
		{"192.0.2.0/33", ""},
		{"192.0.2.0/-1", ""},
		{"192.0.02.1", ""},
		{"::ffff:192.0.2.0/90", ""},
		{"::ffff:192.0.2.1/120", ""},
		{"fe80::1%eth0", ""},
		{"fe80::%eth0/64", ""},
		{"example", ""},
	} {
		got, err := listing.ParsePrefix(tt.text)
		if tt.want == "" {
			if !errors.Is(err, listing.ErrPrefix) {
				t.Errorf("ParsePrefix(%q) = %v, %v, want ErrPrefix", tt.text, got, err)
			}
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("ParsePrefix(%q) = %v, %v, want %s", tt.text, got, err, tt.want)
		}
	}
}

func FuzzParsePrefix(f *testing.F) {
	for _, text := range []string{"192.0.2.1", "192.0.2.0/24", "::ffff:192.0.2.0/120", "2001:db8::/32", "fe80::1%eth0", "::/0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := listing.ParsePrefix(text)
		if err != nil {
			return
		}
		if p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Fatalf("ParsePrefix(%q) = %s", text, p)
		}
		again, err := listing.ParsePrefix(p.String())
		if err != nil || again != p {
			t.Fatalf("%s read again is %s, %v", p, again, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, text := range []string{"192.0.2.1", "192.0.2.0/24", "::ffff:192.0.2.0/120", "2001:db8::1", "2001:db8::/48", "192.0.2.0/23"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := listing.ParseKey(text)
		if err != nil {
			if !errors.Is(err, listing.ErrKey) {
				t.Fatalf("ParseKey(%q): %v does not wrap ErrKey", text, err)
			}
			return
		}
		p := k.Prefix()
		if !k.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			t.Fatalf("ParseKey(%q) = %s", text, p)
		}
		if least := map[bool]int{true: listing.MinBits4, false: listing.MinBits6}[p.Addr().Is4()]; p.Bits() < least || p.Addr().Is6() && p.Bits() > 64 {
			t.Fatalf("ParseKey(%q) = %s", text, p)
		}
		again, err := listing.ParseKey(k.String())
		if err != nil || again != k {
			t.Fatalf("%s read again is %s, %v", k, again, err)
		}
	})
}

func TestIsSpecial(t *testing.T) {
	t.Parallel()
	lab := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, tt := range []struct {
		addr     string
		listable []netip.Prefix
		want     bool
	}{
		{"192.0.2.1", nil, true},
		{"192.0.2.1", lab, false},
		{"::ffff:192.0.2.1", nil, true},
		{"::ffff:192.0.2.1", lab, false},
		{"192.0.3.1", nil, false},
		{"10.255.255.255", lab, true},
		{"172.15.255.255", nil, false},
		{"172.16.0.0", nil, true},
		{"172.32.0.0", nil, false},
		{"100.63.255.255", nil, false},
		{"100.127.255.255", nil, true},
		{"198.20.0.0", nil, false},
		{"223.255.255.255", nil, false},
		{"255.255.255.255", nil, true},
		{"0.1.2.3", nil, true},
		{"::", nil, true},
		{"::192.0.2.1", nil, true},
		{"2001:1ff::", nil, true},
		{"2001:200::", nil, false},
		{"2002:c000:204::1", nil, true},
		{"fe80::1%eth0", nil, true},
		{"fe00::1", nil, false},
		{"64:ff9b::192.0.2.1", nil, true},
		{"ff02::1", nil, true},
	} {
		special, got := listing.IsSpecial(netip.MustParseAddr(tt.addr), tt.listable)
		if got != tt.want || got && (special.Name == "" || !special.Prefix.IsValid()) {
			t.Errorf("IsSpecial(%s, %v) = %+v, %v, want %v", tt.addr, tt.listable, special, got, tt.want)
		}
	}
	for _, s := range listing.Specials {
		if s.Prefix != s.Prefix.Masked() || s.Name == "" {
			t.Errorf("special %s %q", s.Prefix, s.Name)
		}
	}
}
