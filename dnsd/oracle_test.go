package dnsd_test

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"backscatter/dnsd"
	"backscatter/listing"

	"github.com/miekg/dns"
)

// oracle says by the answer table alone, slowly and without any of the code
// that it checks, what an A question for a name below bl.example. gets: the
// rcode, and the last octet of the address or 0 for no record.
func oracle(labels []string) (rcode, code int) {
	if len(labels) == 1 && (strings.EqualFold(labels[0], "_status") || strings.EqualFold(labels[0], "ns1")) {
		return dns.RcodeSuccess, 0 // the name server of the fixture lies in its zone
	}
	octets, nibbles := len(labels) <= 4, len(labels) <= 32
	for _, l := range labels {
		n, err := strconv.Atoi(l)
		octets = octets && err == nil && n >= 0 && n <= 255 && strconv.Itoa(n) == l
		nibbles = nibbles && len(l) == 1 && strings.ContainsAny(l, "0123456789abcdefABCDEF")
	}
	var addr netip.Addr
	switch {
	case octets && len(labels) == 4:
		addr = netip.MustParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	case nibbles && len(labels) == 32:
		text := ""
		for i := 31; i >= 0; i-- {
			if text += labels[i]; i%4 == 0 && i > 0 {
				text += ":"
			}
		}
		addr = netip.MustParseAddr(text).Unmap()
	case octets || nibbles:
		return dns.RcodeSuccess, 0
	default:
		return dns.RcodeNameError, 0
	}
	if code := oracleCode(addr); code != 0 {
		return dns.RcodeSuccess, code
	}
	if nibbles && len(labels) == 4 && strings.Contains("023", labels[3]) {
		return dns.RcodeSuccess, 0 // IPv6 names lie below: global unicast, or mapped
	}
	return dns.RcodeNameError, 0
}

func oracleCode(addr netip.Addr) int {
	for _, test := range []int{2, 3, 4, 5, 9} {
		if addr == netip.AddrFrom4([4]byte{127, 0, 0, byte(test)}) {
			return test
		}
	}
	if netip.MustParsePrefix("127.0.0.0/24").Contains(addr) {
		return 0
	}
	for _, e := range entries {
		if e.Prefix.Contains(addr) {
			return int(e.Class)
		}
	}
	return 0
}

// checkOracle asks for the name of the labels and compares.
func checkOracle(t *testing.T, v dnsd.View, labels []string) {
	t.Helper()
	name := strings.Join(append(labels, "bl.example."), ".")
	request := packed(t, question(name, dns.TypeA))
	response, _ := dnsd.Answer(nil, request, dnsd.UDP, v)
	var m dns.Msg
	if err := m.Unpack(response); err != nil {
		t.Fatal(err)
	}
	code := 0
	if len(m.Answer) > 0 {
		code = int(m.Answer[0].(*dns.A).A[3])
	}
	wantRcode, wantCode := oracle(labels)
	if m.Rcode != wantRcode || code != wantCode {
		t.Errorf("%s: %s with code %d, want %s with %d",
			name, dns.RcodeToString[m.Rcode], code, dns.RcodeToString[wantRcode], wantCode)
	}
	if (code == 0) != (len(m.Ns) == 1) {
		t.Errorf("%s: %d answers and %d authority records", name, len(m.Answer), len(m.Ns))
	}
}

// TestOracle asks for many names near the edges.
func TestOracle(t *testing.T) {
	t.Parallel()
	v := view(t)
	for name := range randomNames(20_000) {
		checkOracle(t, v, name)
	}
}

// randomNames yields the labels of so many names: of listed and unlisted
// addresses, cut, made longer, with labels changed, in any case.
func randomNames(n int) iter.Seq[[]string] {
	rnd := rand.New(rand.NewPCG(1, 2))
	labels := func(addr netip.Addr) []string {
		name := strings.TrimSuffix(zoneBL().Owner(addr), ".bl.example.")
		return strings.Split(name, ".")
	}
	strange := []string{"0", "00", "01", "9", "a", "F", "g", "10", "255", "256", "1000", "-1", "+1", " ", "_status", "x", "٣", "0x1"}
	return func(yield func([]string) bool) {
		for range n {
			addr := randomAddr(rnd)
			name := labels(addr)
			if addr.Is4() && rnd.IntN(3) == 0 {
				name = strings.Split(strings.TrimSuffix(mappedName(addr), ".bl.example."), ".")
			}
			switch rnd.IntN(5) {
			case 0:
				name = name[rnd.IntN(len(name)):]
			case 1:
				name = append([]string{strange[rnd.IntN(len(strange))]}, name...)
			case 2:
				name[rnd.IntN(len(name))] = strange[rnd.IntN(len(strange))]
			case 3:
				for i := range name {
					if rnd.IntN(2) == 0 {
						name[i] = strings.ToUpper(name[i])
					}
				}
			}
			if !yield(name) {
				return
			}
		}
	}
}

// randomAddr returns an address in or near what is listed, or any.
func randomAddr(rnd *rand.Rand) netip.Addr {
	near := append(slices.Clip(entries), listing.Entry{Prefix: netip.MustParsePrefix("127.0.0.0/28")})
	p := near[rnd.IntN(len(near))].Prefix
	bytes := p.Addr().AsSlice()
	switch i := len(bytes) - 1; rnd.IntN(3) {
	case 0:
		bytes[i] += byte(rnd.IntN(10))
	case 1:
		bytes[rnd.IntN(len(bytes))] = byte(rnd.IntN(256))
	default:
		for i := range bytes {
			bytes[i] = byte(rnd.IntN(12)) // small ones, whose digits are nibbles too
		}
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// mappedName returns the nibble name of an IPv4 address.
func mappedName(addr netip.Addr) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, octet := range []byte{3, 2, 1, 0} {
		v := addr.As4()[octet]
		b.WriteByte(digits[v&15])
		b.WriteByte('.')
		b.WriteByte(digits[v>>4])
		b.WriteByte('.')
	}
	return b.String() + mapped
}
