package zonefile

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// Values in force where a Zone leaves them zero.
const (
	DefaultTTL         = 5 * time.Minute
	DefaultNegativeTTL = 5 * time.Minute
	DefaultRefresh     = time.Hour
	DefaultRetry       = 15 * time.Minute
	DefaultExpire      = 24 * time.Hour
)

const (
	ttlNS    = 24 * time.Hour // delegations change seldom
	ttlLeast = 30 * time.Second
	ttlMost  = 7 * 24 * time.Hour
	// maxURL leaves room in one string of 255 bytes for the longest prefix
	// and the longest words behind it; TestLongestText holds them together.
	maxURL  = 64
	maxText = 255 // one character-string, RFC 1035 §3.3
)

// Zone is how one DNS zone presents the list. A Zone is not changed once it is
// in use; [Zone.Validate] tells whether it can be used.
type Zone struct {
	Name        string           // lower case, with its final dot
	NS          []string         // name servers, the first is the SOA's MNAME
	Hostmaster  string           // mailbox as a domain name, RFC 1035 §8: hostmaster.bl.example
	TTL         time.Duration    // of listings; zero: DefaultTTL
	NegativeTTL time.Duration    // of the SOA, and so of negative answers (RFC 2308 §5); zero: DefaultNegativeTTL
	Refresh     time.Duration    // SOA timers for secondaries; zero: the defaults
	Retry       time.Duration    //
	Expire      time.Duration    //
	Classes     listing.ClassSet // classes that the zone carries
	URL         string           // where a listing is explained: the address is appended; empty: not told
	Addresses   []netip.Addr     // A and AAAA of the apex
	Texts       []string         // TXT of the apex, one record each
	// Hosts has the addresses of name servers whose names lie in the zone. One
	// that is missing here has the addresses of the apex.
	Hosts map[string][]netip.Addr

	Whole  int       `json:"-"` // of a mirror of a zone that does not carry all of the list: how many entries that has
	Copied time.Time `json:"-"` // of a mirror: when the publisher made what it answers from; no setting of the zone
}

// bare is the name without its final dot.
func (z *Zone) bare() string { return strings.TrimSuffix(z.Name, ".") }

// Validate reports everything that is wrong with the zone's settings, all
// errors joined.
func (z *Zone) Validate() error {
	errs := []error{
		checkName("name", z.Name),
		checkName("hostmaster", z.Hostmaster),
		z.checkURL(),
	}
	if z.Name != strings.ToLower(dns.Fqdn(z.Name)) {
		errs = append(errs, fmt.Errorf("name %q: want lower case and a final dot", z.Name))
	}
	if len(z.NS) == 0 {
		// Strict resolvers give up on a zone without NS at its apex (RFC 1034 §4.2.1).
		errs = append(errs, errors.New("ns: want at least one name server"))
	}
	for _, ns := range z.NS {
		errs = append(errs, checkName("ns", ns), z.checkHost(ns))
	}
	if z.Classes == 0 || z.Classes&^listing.AllClasses != 0 {
		errs = append(errs, fmt.Errorf("classes: want one or more of %s", listing.AllClasses))
	}
	errs = append(errs,
		checkTime("ttl", z.TTL, ttlLeast), checkTime("negative_ttl", z.NegativeTTL, ttlLeast),
		checkTime("refresh", z.Refresh, ttlLeast), checkTime("retry", z.Retry, ttlLeast),
		checkTime("expire", z.Expire, orDefault(z.Refresh, DefaultRefresh)))
	errs = append(errs, checkAddrs("addresses", z.Addresses))
	for name, addrs := range z.Hosts {
		errs = append(errs, checkName("hosts", name), checkAddrs("hosts "+name, addrs))
		if !slices.ContainsFunc(z.NS, func(ns string) bool { return sameName(ns, name) }) {
			errs = append(errs, fmt.Errorf("hosts %q: is none of the zone's name servers", name))
		}
	}
	for _, t := range z.Texts {
		if t == "" || len(t) > maxText {
			errs = append(errs, fmt.Errorf("texts: a text of %d bytes: want 1 to %d", len(t), maxText))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("zone %q: %w", z.Name, err)
	}
	return nil
}

// checkName tells what is wrong with the domain name of one setting. Besides
// the lengths of RFC 1035 §2.3.4 it wants plain host name characters and
// underscores, which need no escape in any of the files.
func checkName(setting, name string) error {
	trimmed := strings.TrimSuffix(name, ".")
	if trimmed == "" {
		return fmt.Errorf("%s: want a domain name", setting)
	}
	if _, ok := dns.IsDomainName(name); !ok {
		return fmt.Errorf("%s %q: no domain name (labels of 1 to 63 bytes, 255 in all)", setting, name)
	}
	for _, c := range []byte(trimmed) {
		if !isNameByte(c) {
			return fmt.Errorf("%s %q: want letters, digits, '-', '_' and '.' only", setting, name)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

func checkAddrs(setting string, addrs []netip.Addr) error {
	for _, a := range addrs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("%s: %s is no plain IPv4 or IPv6 address", setting, a)
		}
	}
	return nil
}

// checkURL wants a URL that an address can be appended to, and that goes into
// a TXT record and every file without escapes.
func (z *Zone) checkURL() error {
	if z.URL == "" {
		return nil
	}
	u, err := url.Parse(z.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("url %q: want http://… or https://…", z.URL)
	}
	if len(z.URL) > maxURL {
		return fmt.Errorf("url of %d bytes: want %d at most, since a text record has 255 in all", len(z.URL), maxURL)
	}
	if !strings.HasSuffix(z.URL, "/") && !strings.HasSuffix(z.URL, "=") {
		return fmt.Errorf("url %q: the address is appended, so want '/' or '=' at its end", z.URL)
	}
	if i := strings.IndexFunc(z.URL, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"\\<>$", r) }); i >= 0 {
		return fmt.Errorf("url %q: %q must be percent-encoded", z.URL, z.URL[i])
	}
	return nil
}

func checkTime(setting string, d, least time.Duration) error {
	if d == 0 {
		return nil
	}
	if d%time.Second != 0 || d < least || d > 100*ttlMost || strings.HasSuffix(setting, "ttl") && d > ttlMost {
		return fmt.Errorf("%s %s: want whole seconds, %s at least and %s at most", setting, d, least, ttlMost)
	}
	return nil
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// seconds returns a duration as the DNS writes it.
func seconds(d, fallback time.Duration) uint32 { return uint32(orDefault(d, fallback) / time.Second) }

// TTLSeconds returns the TTL of the zone's listings.
func (z *Zone) TTLSeconds() uint32 { return seconds(z.TTL, DefaultTTL) }

// NegativeSeconds returns the TTL of negative answers, RFC 2308 §5.
func (z *Zone) NegativeSeconds() uint32 { return seconds(z.NegativeTTL, DefaultNegativeTTL) }
