package daemon

import (
	"net/netip"
	"strings"
	"testing"

	"backscatter/listing"
)

func TestForbids(t *testing.T) {
	t.Parallel()
	forbidden := forbids([]listing.Exemption{
		{Prefix: netip.MustParsePrefix("198.51.100.7/32")}, {Prefix: netip.MustParsePrefix("9.9.0.0/16")},
	}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")})
	for text, want := range map[string]string{
		"198.51.100.8/32":   "",
		"198.51.100.7/32":   "is exempt",
		"198.51.100.0/24":   "is exempt", // in it
		"9.9.9.9/32":        "is exempt",
		"9.8.9.9/32":        "",
		"10.1.2.3/32":       "private use (RFC 1918)",
		"192.0.2.1/32":      "documentation (RFC 5737)",
		"2001:db8:1:2::/64": "",
		"fe80::/64":         "link local",
		"2a00:1:2:3::/64":   "",
	} {
		err := forbidden(netip.MustParsePrefix(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
