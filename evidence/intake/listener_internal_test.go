package intake

import (
	"net"
	"net/netip"
	"testing"
)

// caller is a connection from any address.
type caller struct {
	net.Conn
	from netip.AddrPort
}

func (c caller) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.from) }

// Whose trace lines are believed must not be anybody.
func TestLMTPIsForRelays(t *testing.T) {
	t.Parallel()
	relays := func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("203.0.113.0/29")} }
	l := newListener(nil, DefaultLimits(), services{relaysOnly: true, relays: relays}, (*Metrics)(nil).orNone())
	for from, want := range map[string]string{
		"203.0.113.7:40000":    "",
		"127.0.0.1:40000":      "",
		"[::1]:40000":          "",
		"203.0.113.8:40000":    "stranger",
		"192.0.2.66:40000":     "stranger",
		"[2001:db8::66]:40000": "stranger",
	} {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		if _, refusal := l.admit(caller{ours, netip.MustParseAddrPort(from)}); refusal != want {
			t.Errorf("%s: refused as %q, want %q", from, refusal, want)
		}
	}
}
