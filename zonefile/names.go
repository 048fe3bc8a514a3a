package zonefile

import (
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

// Kind is what a name in a zone stands for.
type Kind uint8

// The kinds of names.
const (
	None    Kind = iota // nothing: the name does not exist
	Apex                // the zone's own name
	Status              // _status
	Partial             // 1 to 3 octets or 1 to 31 nibbles: an empty non-terminal
	Address             // an IPv4 address, or 32 nibbles of an IPv6 address
	// Ambiguous is an IPv4 address whose octets are four single digits and whose
	// name is at the same time the start of IPv6 names that can be in use
	// (1.0.0.2 is 2.0.0.1, and 2001::/16 lies below it). It is looked up as an
	// address, and exists even when that is not listed.
	Ambiguous
)

var kindNames = [...]string{"none", "apex", "status", "partial", "address", "ambiguous"}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// IsAddress reports whether a name of the kind is to be looked up.
func (k Kind) IsAddress() bool { return k == Address || k == Ambiguous }

// Exists reports whether a name of the kind exists even when nothing is listed
// under it: the answer is then NODATA instead of NXDOMAIN, which would deny all
// names below it (RFC 8020 §2).
func (k Kind) Exists() bool { return k != None && k != Address }

const (
	statusLabel = "_status"
	maxWire     = 255 // RFC 1035 §2.3.4, the root label included
	maxLabel    = 63
	nibbles6    = 32
)

// Parse tells what a name (presentation format, any case, with or without the
// final dot) stands for in the zone. It does not allocate.
func (z *Zone) Parse(qname string) (Kind, netip.Addr) {
	var nameBuf, zoneBuf [maxWire]byte
	name, ok := appendWire(nameBuf[:0], qname)
	if !ok {
		return None, netip.Addr{}
	}
	zone, ok := appendWire(zoneBuf[:0], z.Name)
	cut := len(name) - len(zone)
	if !ok || cut < 0 || !SameName(name[cut:], zone) {
		return None, netip.Addr{}
	}
	return ParseLabels(name[:cut])
}

// ParseLabels tells what a name stands for, given its labels before the zone's
// name in wire format (each a length and that many bytes). It neither
// allocates nor cares for case. The address is valid for [Address] and
// [Ambiguous] only; one that is mapped into IPv6 (RFC 4291 §2.5.5.2) comes
// back as IPv4.
func ParseLabels(rel []byte) (Kind, netip.Addr) {
	if len(rel) == 0 {
		return Apex, netip.Addr{}
	}
	var (
		v4 [4]byte
		v6 [16]byte
	)
	n4, n6 := readOctets(rel, &v4), readNibbles(rel, &v6)
	switch {
	case n4 == len(v4) && n6 > 0 && startsIPv6(v4[0]):
		return Ambiguous, netip.AddrFrom4(v4)
	case n4 == len(v4):
		return Address, netip.AddrFrom4(v4)
	case n6 == nibbles6:
		return Address, netip.AddrFrom16(v6).Unmap()
	case n4 > 0 || n6 > 0:
		return Partial, netip.Addr{}
	default:
		return statusOrNone(rel), netip.Addr{}
	}
}

// startsIPv6 reports whether addresses that can be in the list begin with the
// nibble: those of global unicast, 2000::/3 (RFC 4291 §2.4), and the mapped ones
// of ::ffff:0:0/96.
func startsIPv6(nibble byte) bool { return nibble>>1 == 1 || nibble == 0 }

// readOctets reads labels as octets in reverse, and returns how many there
// are, or 0 if they are anything else or too many.
func readOctets(rel []byte, v4 *[4]byte) (n int) {
	for ; len(rel) > 0; n++ {
		size := int(rel[0])
		if size >= len(rel) || n == len(v4) {
			return 0
		}
		value, ok := octet(rel[1 : 1+size])
		if !ok {
			return 0
		}
		v4[len(v4)-1-n] = value
		rel = rel[1+size:]
	}
	return n
}

// readNibbles does the same for nibbles.
func readNibbles(rel []byte, v6 *[16]byte) (n int) {
	if len(rel) > 2*nibbles6 || len(rel)%2 != 0 {
		return 0
	}
	for ; len(rel) > 0; n++ {
		value, ok := nibble(rel[1])
		if rel[0] != 1 || !ok {
			return 0
		}
		v6[len(v6)-1-n/2] |= value << (4 * (n % 2))
		rel = rel[2:]
	}
	return n
}

// octet reads a label as 0 to 255 without leading zeros.
func octet[T string | []byte](label T) (byte, bool) {
	if len(label) == 0 || len(label) > 3 || label[0] == '0' && len(label) > 1 {
		return 0, false
	}
	n := 0
	for i := range len(label) {
		c := label[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return byte(n), n <= 255
}

// nibble reads a hexadecimal digit.
func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func statusOrNone(rel []byte) Kind {
	if len(rel) == 1+len(statusLabel) && int(rel[0]) == len(statusLabel) && SameName(rel[1:], []byte(statusLabel)) {
		return Status
	}
	return None
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// SameName reports whether two names on the wire are the same but for case, which is
// that of ASCII only (RFC 4343 §3). A length is at most 63, so none is a letter.
func SameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// appendWire appends a name in presentation format (RFC 1035 §5.1, escapes
// included) as wire labels without the root, and reports whether it is a name.
func appendWire[T string | []byte](dst []byte, name T) ([]byte, bool) {
	if len(name) == 1 && name[0] == '.' {
		return dst, true
	}
	start, label := len(dst), len(dst)
	dst = append(dst, 0)
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '.' {
			if len(dst)-label == 1 {
				return nil, false // an empty label
			}
			if i+1 < len(name) {
				label, dst = len(dst), append(dst, 0)
			}
			continue
		}
		if c == '\\' {
			var used int
			if c, used = unescape(name[i+1:]); used == 0 {
				return nil, false
			}
			i += used
		}
		dst = append(dst, c)
		dst[label]++
		// The root label is counted too, though it is not written.
		if dst[label] > maxLabel || len(dst)-start >= maxWire {
			return nil, false
		}
	}
	return dst, dst[label] > 0
}

// unescape reads what follows a backslash: three digits, or one other
// character. It returns the byte and how many characters said it; 0 is an error.
func unescape[T string | []byte](s T) (c byte, used int) {
	if len(s) == 0 {
		return 0, 0
	}
	if s[0] < '0' || s[0] > '9' {
		return s[0], 1
	}
	if len(s) < 3 {
		return 0, 0
	}
	n, err := strconv.ParseUint(string(s[:3]), 10, 8)
	if err != nil {
		return 0, 0
	}
	return byte(n), 3
}

// Owner returns the name under which the zone answers for an address: octets
// or nibbles in reverse (RFC 5782 §2.1, §2.4).
func (z *Zone) Owner(addr netip.Addr) string {
	addr = addr.Unmap()
	return string(append(appendOwner(nil, netip.PrefixFrom(addr, addr.BitLen())), z.Name...))
}

// Wildcards returns the owner names that stand for a prefix in a zone file:
// the host itself, or wildcards at the next octet or nibble bound. A prefix
// between bounds becomes several: an IPv4 /25 is 128 names, an IPv6 /62 four.
// The number is bounded by 256 for what can be listed (/24 and /48 at most).
func (z *Zone) Wildcards(p netip.Prefix) []string {
	var names []string
	for piece := range pieces(p) {
		names = append(names, string(append(appendOwner(nil, piece), z.Name...)))
	}
	return names
}

// appendOwner appends the labels of a prefix that ends at an octet or nibble
// bound, each with its dot: the host's, or a wildcard's.
func appendOwner(dst []byte, p netip.Prefix) []byte {
	if !p.IsSingleIP() {
		dst = append(dst, '*', '.')
	}
	if p.Addr().Is4() {
		v4 := p.Addr().As4()
		for i := p.Bits()/8 - 1; i >= 0; i-- {
			dst = append(strconv.AppendUint(dst, uint64(v4[i]), 10), '.')
		}
		return dst
	}
	const digits = "0123456789abcdef"
	v6 := p.Addr().As16()
	for i := p.Bits()/4 - 1; i >= 0; i-- {
		dst = append(dst, digits[v6[i/2]>>(4*(1-i%2))&0xf], '.')
	}
	return dst
}

// pieces cuts a prefix into hosts and prefixes that each have one name.
func pieces(p netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) { cut(p.Masked(), yield) }
}

func cut(p netip.Prefix, yield func(netip.Prefix) bool) bool {
	step := 8
	if p.Addr().Is6() {
		step = 4
	}
	if p.IsSingleIP() || p.Bits()%step == 0 && !mixes(p) {
		return yield(p)
	}
	bits := (p.Bits()/step + 1) * step
	at, shift := (bits-1)/8, (8-bits%8)%8
	for i := range 1 << (bits - p.Bits()) {
		bytes := p.Addr().AsSlice()
		bytes[at] |= byte(i << shift)
		addr, _ := netip.AddrFromSlice(bytes)
		if !cut(netip.PrefixFrom(addr, bits), yield) {
			return false
		}
	}
	return true
}

// mixes reports whether a wildcard for p would also match names of the other
// family: *.0.0.2 for 2.0.0.0/24 would list all of 2000::/12. Names of both
// live below a name only if that has at most three labels, each one digit.
func mixes(p netip.Prefix) bool {
	labels := strings.Split(strings.TrimSuffix(string(appendOwner(nil, p)), "."), ".")[1:]
	if len(labels) > 3 {
		return false
	}
	for _, label := range labels {
		if len(label) != 1 || label[0] > '9' {
			return false
		}
	}
	return true
}
