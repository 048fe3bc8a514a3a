package intake

import (
	"crypto/tls"
	"net/netip"
	"slices"
)

// services is what a listener offers beyond plain SMTP, and to whom.
type services struct {
	hostname    string
	relays      func() []netip.Prefix   // registered, in force now; nil: none
	certificate func() *tls.Certificate // nil, or returns nil: no TLS
	xclient     bool                    // relays may say for whom they speak
	proxy       bool                    // connections of relays begin with a PROXY header
	relaysOnly  bool                    // and loopback; for LMTP, where the client's trace lines are believed
}

func (s *services) relay(addr netip.Addr) bool {
	if s.relays == nil || !addr.IsValid() {
		return false
	}
	return slices.ContainsFunc(s.relays(), func(p netip.Prefix) bool { return p.Contains(addr) })
}

// tls returns the configuration for STARTTLS, nil where it is not offered.
//
// Whoever sends backscatter is often old, and one whose handshake fails seldom
// tries without: so the oldest version that there still is will do. The trap has
// nothing to hide; what TLS is for here is to miss nobody who insists on it.
func (s *services) tls() *tls.Config {
	if s.certificate == nil || s.certificate() == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS10, //nolint:gosec // see above
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate(), nil
		},
	}
}
