package daemon_test

import (
	"net/netip"
	"strings"
	"testing"

	"backscatter/ops/daemon"
)

func TestPrimaries(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"192.0.2.1:53":                    "192.0.2.1:53",
		"192.0.2.1:53, [2001:db8::1]:530": "192.0.2.1:53 [2001:db8::1]:530",
		"[::ffff:192.0.2.1]:53":           "192.0.2.1:53",
		"192.0.2.1":                       "",
		"192.0.2.1:0":                     "",
		"192.0.2.1:53,":                   "",
		"ns1.example:53":                  "",
		"mirrored":                        "",
		"":                                "",
	} {
		primaries, ok := daemon.Primaries(from)
		var got []string
		for _, p := range primaries {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want || ok != (want != "") {
			t.Errorf("%q: %v, %t", from, got, ok)
		}
	}
}

// What a primary must not list is special-purpose space, all and parts of it.
func TestNotSpecial(t *testing.T) {
	t.Parallel()
	forbidden := daemon.NotSpecial([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:1::/48")})
	for prefix, want := range map[string]bool{
		"192.0.2.66/32": false, "192.0.2.0/24": false, "9.9.9.9/32": false, "100.63.255.255/32": false, "2a00:1::/64": false, "2001:db8:1::/64": false,
		"198.51.100.1/32": true, "10.1.2.3/32": true, "127.0.0.5/32": true, "100.64.0.0/24": true, "198.19.1.1/32": true, "224.0.0.1/32": true,
		"255.255.255.255/32": true, "0.0.0.1/32": true, "192.0.0.0/24": true, "2001:db8:2::/64": true, "fe80::/64": true, "2002:1::/64": true,
		"::/64": true, "fc00:1::/48": true, "2001::/64": true,
	} {
		if err := forbidden(netip.MustParsePrefix(prefix)); (err != nil) != want {
			t.Errorf("%s: %v", prefix, err)
		}
	}
}
