package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
)

// maxListen bounds the addresses that the DNS server listens on.
const maxListen = 64

// validate tells all that is wrong with the values. What the other packages
// check themselves is asked of them, and blamed on the key that it is about.
func (c *Config) validate(p *problems) {
	if strings.TrimSpace(c.State) == "" {
		p.add("state", "no folder is known; set it, or STATE_DIRECTORY, XDG_STATE_HOME or HOME in the environment")
	}
	c.DNS.validate(p, "dns")
	if c.HTTP.Listen != "" {
		validateListen(p, "http.listen", c.HTTP.Listen)
	}
	validateApart(p, "http.poll", c.HTTP.Poll, "")
	validateApart(p, "http.proxies", c.HTTP.Proxies, "")
	c.Intake.validate(p)
	c.validateListeners(p)
	c.validateZones(p)
	c.validateSecondaries(p)
	c.validateReporters(p)
	c.validateTraps(p)
	c.validateGuarded(p)
	c.Policy.validate(p, "policy", c.ListingPolicy())
	blame(p, "brakes", &c.Brakes, listing.Brakes(c.Brakes).Validate())
	c.Probation.validate(p, "probation")
	c.Journal.validate(p, "journal")
	validateDuration(p, "commit.wait", c.Commit.Wait, 0, time.Second)
	c.Headers.validate(p, "headers")
	c.validateRetention(p)
	c.validateExempt(p)
	c.validateExports(p)
	c.Mirror.validate(p, "mirror")
	c.Log.validate(p, "log")
	validateDuration(p, "shutdown_timeout", c.ShutdownTimeout, time.Second, time.Hour)
}

func (d *DNS) validate(p *problems, key string) {
	if len(d.Listen) == 0 {
		p.add(key+".listen", "is empty; name at least one address, like 127.0.0.1:5300")
	}
	if len(d.Listen) > maxListen {
		p.add(key+".listen", "has %d addresses; at most %d are served", len(d.Listen), maxListen)
		return
	}
	for i, listen := range d.Listen {
		validateListen(p, fmt.Sprintf("%s.listen[%d]", key, i), listen)
	}
	// The answer is one string of a TXT record (RFC 1035 §3.3).
	validateText(p, key+".version", d.Version, 255)
	validateText(p, key+".hostname", d.Hostname, 255)
	validateText(p, key+".nsid", d.NSID, dnsd.MaxNSID)
	d.Limits.validate(p, key+".limits")
	d.validateAccess(p, key+".access")
	validateCount(p, key+".udp_sockets", d.UDPSockets, 0, 4096)
	validateCount(p, key+".max_tcp", d.MaxTCP, 1, 1_000_000)
	validateCount(p, key+".max_tcp_per_client", d.MaxTCPPerClient, 1, 1_000_000)
	validateCount(p, key+".max_transfers", d.MaxTransfers, 1, 1_000_000)
	validateDuration(p, key+".tcp_idle", d.TCPIdle, 100*time.Millisecond, time.Hour)
	d.QueryLog.validate(p, key+".query_log")
	d.Dnstap.validate(p, key+".dnstap")
}

func (l *Log) validate(p *problems, key string) {
	if _, err := l.level(); err != nil {
		p.add(key+".level", "%s", err)
	}
	if l.Format != "text" && l.Format != "json" {
		p.add(key+".format", "%s is no format; write text or json", quote(l.Format))
	}
}

func (q *Policy) validate(p *problems, key string, rule listing.Policy) {
	if q.Profile != "" {
		blame(p, key, q, rule.Validate())
	} else {
		p.add(key+".profile", "is empty; write community or solo")
	}
	for i, prefix := range q.Listable {
		at := fmt.Sprintf("%s.listable[%d]", key, i)
		if p.sound(at) && !isSpecial(prefix) {
			p.add(at, "%s is in no special-purpose block, so there is nothing to open; remove it, or write a narrower prefix", prefix)
		}
	}
	validateApart(p, key+".listable", q.Listable, "")
}

// isSpecial reports whether the prefix lies in one special-purpose block.
func isSpecial(p netip.Prefix) bool {
	return slices.ContainsFunc(listing.Specials, func(s listing.Special) bool {
		return s.Prefix.Bits() <= p.Bits() && s.Prefix.Contains(p.Addr())
	})
}

// validateApart wants no prefix of a list to lie in another of it. The key of
// an item is the list's with its index, and with the suffix.
func validateApart(p *problems, key string, prefixes []netip.Prefix, suffix string) {
	order := make([]int, 0, len(prefixes))
	for i, prefix := range prefixes {
		if prefix.IsValid() {
			order = append(order, i)
		}
	}
	// A wider prefix sorts before what lies in it, so the last one that
	// lies in none is the only one that can hold the next.
	slices.SortStableFunc(order, func(a, b int) int { return listing.ComparePrefix(prefixes[a], prefixes[b]) })
	outer := -1
	for _, i := range order {
		if outer < 0 || !prefixes[outer].Overlaps(prefixes[i]) {
			outer = i
			continue
		}
		o := p.origin(fmt.Sprintf("%s[%d]%s", key, outer, suffix))
		p.add(fmt.Sprintf("%s[%d]%s", key, i, suffix), "%s lies in %s%s; keep one of the two", prefixes[i], prefixes[outer], o.inLine())
	}
}

// inLine says where something else stands, if that is known.
func (o origin) inLine() string {
	if o.line == 0 {
		return ""
	}
	return fmt.Sprintf(" of line %d", o.line)
}

// validateListeners wants no two servers to want one TCP port of one address.
func (c *Config) validateListeners(p *problems) {
	type listener struct {
		key  string
		addr netip.AddrPort
	}
	var known []listener
	add := func(key, text string) {
		addr, err := parseListen(text)
		if err != nil || addr.Port() == 0 {
			return // told already, or any free port
		}
		for _, other := range known {
			if addr.Port() == other.addr.Port() && sameHost(addr.Addr(), other.addr.Addr()) {
				p.add(key, "%s is taken by %s%s; write another port", text, other.key, p.origin(other.key).inLine())
				return
			}
		}
		known = append(known, listener{key, addr})
	}
	for i, listen := range c.DNS.Listen[:min(len(c.DNS.Listen), maxListen)] {
		add(fmt.Sprintf("dns.listen[%d]", i), listen)
	}
	add("http.listen", c.HTTP.Listen)
	for key, listen := range c.Intake.listens() {
		add(key, listen)
	}
}

// sameHost reports whether two addresses to listen on exclude each other.
// None is every address, 0.0.0.0 and :: are every one of their family.
func sameHost(a, b netip.Addr) bool {
	if !a.IsValid() || !b.IsValid() {
		return true
	}
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// parseListen reads where to listen. Without a host the address is not valid.
func parseListen(text string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s is no address with a port; write one like 127.0.0.1:5300 or [::1]:5300", quote(text))
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: the port is no number from 0 to 65535", quote(text))
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: the host is no IP address; write one, or leave it out to listen on all", quote(text))
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}

func validateListen(p *problems, key, text string) {
	if _, err := parseListen(text); err != nil {
		p.add(key, "%s", err)
	}
}

// validateCount wants n within bounds, of which the upper may be more than an int
// of this system.
func validateCount(p *problems, key string, n int, least, most int64) {
	if int64(n) < least || int64(n) > most {
		p.add(key, "%d is out of range; write %d to %d", n, least, most)
	}
}

func validateDuration(p *problems, key string, d, least, most time.Duration) {
	if d < least || d > most {
		p.add(key, "%s is out of range; write %s to %s", formatDuration(d), formatDuration(least), formatDuration(most))
	}
}

func validateText(p *problems, key, text string, most int) {
	if len(text) > most {
		p.add(key, "has %d bytes; at most %d fit", len(text), most)
	}
}

// isHostname reports whether the text can stand for a host (RFC 1123 §2.1),
// an underscore allowed.
func isHostname(text string) bool {
	text = strings.TrimSuffix(text, ".")
	if text == "" || len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, hostnameLetters) != "" {
			return false
		}
	}
	return true
}

const hostnameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// blame tells the joined errors of another package's Validate. Their words
// begin with the name of the setting; where the section has a key of this name
// it is blamed, else the section.
func blame(p *problems, key string, of any, err error) {
	if err == nil {
		return
	}
	fields := fieldsOf(reflect.TypeOf(of).Elem(), "")
	for _, e := range leavesOf(err) {
		text := strings.Replace(strings.TrimPrefix(e.Error(), "policy "), "weight of ", "weights.", 1)
		name, rest, _ := strings.Cut(text, " ")
		name, rest = strings.TrimSuffix(name, ":"), strings.TrimPrefix(rest, ": ")
		if at, ok := otherNames[name]; ok {
			name = at
		}
		first, _, _ := strings.Cut(name, ".")
		if (&field{fields: fields}).find(first) == nil {
			p.add(key, "%s", text)
			continue
		}
		if at := key + "." + name; p.sound(at) {
			p.add(at, "%s", rest)
		}
	}
}

// otherNames are settings that have another name in package zonefile.
var otherNames = map[string]string{"addresses": "apex.addresses", "texts": "apex.txt"}

// leavesOf takes joined errors apart.
func leavesOf(err error) []error {
	for e := err; e != nil; {
		switch u := e.(type) { //nolint:errorlint // the tree of errors is taken apart here
		case interface{ Unwrap() []error }:
			var out []error
			for _, sub := range u.Unwrap() {
				out = append(out, leavesOf(sub)...)
			}
			return out
		case interface{ Unwrap() error }:
			if joined, ok := u.Unwrap().(interface{ Unwrap() []error }); ok {
				e = joined.(error)
				continue
			}
			return []error{err}
		default:
			return []error{err}
		}
	}
	return nil
}

// zoneName is the form in which names of zones are compared.
func zoneName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, ".")) + "."
}
