package evidence

import (
	"net/netip"
	"strings"

	"backscatter/listing"
)

// believed returns how many lines of the trail can be believed: from the newest
// down for as long as each line was written by the host that the line above
// names. The rest is what the sender wrote.
func believed(lines []Received) int {
	for i := 1; i < len(lines); i++ {
		if !follows(lines[i-1], lines[i]) {
			return i
		}
	}
	return len(lines)
}

// believable returns the public address furthest back in the trail that can be
// believed.
func believable(lines []Received) []netip.Addr {
	var oldest netip.Addr
	for _, line := range lines[:believed(lines)] {
		if line.Addr.IsValid() && !private(line.Addr) {
			oldest = line.Addr
		}
	}
	if !oldest.IsValid() {
		return nil
	}
	return []netip.Addr{oldest}
}

// follows reports whether the older line can have been written by the host
// that handed the message to the writer of the newer.
func follows(newer, older Received) bool {
	if !newer.Addr.IsValid() || private(newer.Addr) {
		return newer.Internal || newer.Local || newer.Addr.IsValid()
	}
	if older.By == "" {
		return false
	}
	if addr, err := netip.ParseAddr(older.By); err == nil {
		return addr.Unmap() == newer.Addr
	}
	return sameSite(older.By, newer.PTR) || sameSite(older.By, strings.ToLower(newer.HELO))
}

// sameSite reports whether two host names are equal or share their last two
// labels at least.
func sameSite(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	return a == b || lastLabels(a) == lastLabels(b) && strings.Contains(a, ".")
}

func lastLabels(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return name
	}
	return name[strings.LastIndexByte(name[:dot], '.')+1:]
}

// private reports whether addr is of a network of its own: documentation
// space, which labs open, is not.
func private(addr netip.Addr) bool {
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()
}

// toldOrigins returns the addresses that the report names as where the original
// came from, without returning it.
func (m *Message) toldOrigins() []netip.Addr {
	var found []netip.Addr
	add := func(addr netip.Addr) {
		if addr.IsValid() {
			found = append(found, addr)
		}
	}
	text := string(m.words)
	// Sendmail: "The original message was received at DATE from HOST [ADDR]".
	if _, rest, ok := strings.Cut(text, "the original message was received at "); ok {
		rest = rest[:min(len(rest), 300)]
		if from := strings.Index(rest, " from "); from >= 0 {
			add(firstBracket(rest[from:]))
		}
	}
	if m.DSN != nil {
		add(firstBracket(m.DSN.ReceivedFromMTA))
		if addr, err := netip.ParseAddr(strings.Trim(m.DSN.ReceivedFromMTA, "[] ")); err == nil {
			add(addr.Unmap())
		}
	}
	// amavis tells what its own host saw, and then what the header claims.
	for _, words := range []string{"first upstream smtp client ip address:", "apparently originated at:"} {
		if _, rest, ok := strings.Cut(text, words); ok {
			add(firstBracket(rest[:min(len(rest), 80)]))
		}
	}
	return found
}

// firstBracket returns the first address literal in s.
func firstBracket(s string) netip.Addr {
	for {
		open := strings.IndexByte(s, '[')
		if open < 0 {
			return netip.Addr{}
		}
		if addr, _ := bracketed(s[open:min(len(s), open+64)]); addr.IsValid() {
			return addr
		}
		s = s[open+1:]
	}
}

// Origin returns where the original came from, as far as that can be believed:
// the first candidate that is a public address.
func (o *Original) Origin(listable []netip.Prefix) netip.Addr {
	for _, addr := range o.origins {
		if _, special := listing.IsSpecial(addr, listable); !special {
			return addr
		}
	}
	return netip.Addr{}
}
