package zonefile_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"backscatter/zonefile"
)

// readSlowly reads lines of hosts by package netip, as long as each is written as that
// would write it, and none is near the test net.
func readSlowly(text []byte) (hosts []uint32, taken int) {
	for {
		line, _, whole := bytes.Cut(text[taken:], []byte("\n"))
		addr, err := netip.ParseAddr(string(line))
		if !whole || err != nil || !addr.Is4() || addr.String() != string(line) || strings.HasPrefix(addr.String(), "127.0.") {
			return hosts, taken
		}
		v4 := addr.As4()
		hosts = append(hosts, binary.BigEndian.Uint32(v4[:]))
		taken += len(line) + 1
	}
}

// compareHosts wants what is read fast to be what is read slowly, up to where the fast
// way leaves the rest to it.
func compareHosts(t *testing.T, text []byte) {
	t.Helper()
	hosts := make([]uint32, len(text))
	n, taken := zonefile.ReadHosts(hosts, text)
	all, most := readSlowly(text)
	if taken > most || taken < most && len(text)-taken >= zonefile.HostWindow {
		t.Fatalf("%q: took %d bytes, where %d are lines of hosts", text, taken, most)
	}
	if some, _ := readSlowly(text[:taken]); !slices.Equal(hosts[:n], some) {
		t.Fatalf("%q: read %x, want %x", text[:taken], hosts[:n], some)
	}
	for room := range min(n, 3) {
		if few, took := zonefile.ReadHosts(hosts[:room], text); few != room || !slices.Equal(hosts[:room], all[:room]) || took > taken {
			t.Fatalf("%q: read %d hosts where there is room for %d", text, few, room)
		}
	}
}

// TestReadHosts reads hosts that we write, and what is nearly a line of a host.
func TestReadHosts(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(17, 18))
	rest := strings.Repeat("192.0.2.1\n", 3) // so that what stands before is not at the end
	for range 2000 {
		hosts := make([]uint32, 1+rng.IntN(8))
		net := rng.Uint32() << 16
		for i := range hosts {
			if rng.IntN(3) == 0 {
				net = rng.Uint32() << 16
			}
			hosts[i] = net | rng.Uint32()>>16>>rng.IntN(12)
		}
		text := append(zonefile.AppendHosts(nil, hosts), rest...)
		compareHosts(t, text)
		const nearly = "0123456789.\n:/-#$ !\x00\xffAn"
		text[rng.IntN(len(text)-len(rest))] = nearly[rng.IntN(len(nearly))]
		compareHosts(t, text)
	}
	for _, bad := range []string{
		"", "1", "1.2.3", "1.2.3.", "1.2.3.4", "1.2.3.4.", "1.2.3.4.5", "1.2.3.256", "1.2.300.4", "256.1.1.1", "01.2.3.4", "1.2.3.00", "1.2.3.04",
		"1..3.4", ".1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\r", "1.2.3.1234", "1234.1.1.1", "1.2.3.4/32", "1.2.3.0004", "127.0.0.2", "127.0.1.2",
		"255.255.255.2555", "2555.255.255.255", "1\n2.3.4", "1.2\n3.4", "1.2.3\n4", "1.2.3.-4", "1.2.3.+4", "1.2.3.0x4", "::1", "!1.2.3.4", ":127.0.0.2:$",
	} {
		compareHosts(t, []byte("192.0.2.255\n"+bad+"\n"+rest))
		compareHosts(t, []byte(bad+"\n"+rest))
		compareHosts(t, []byte(bad))
	}
	if n, taken := zonefile.ReadHosts(make([]uint32, 8), []byte("127.1.0.2\n"+rest)); n < 2 || taken == 0 {
		t.Errorf("took %d hosts", n)
	}
}

// TestAppendHosts wants each octet at each place to be written as package netip does.
func TestAppendHosts(t *testing.T) {
	t.Parallel()
	var hosts []uint32
	var want strings.Builder
	for place := range 4 {
		for octet := range uint32(256) {
			for _, others := range []uint32{0, 0x01020304, 0x63636363, 0xffffffff} {
				host := others&^(0xff<<(8*place)) | octet<<(8*place)
				hosts = append(hosts, host)
				want.WriteString(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, host))).String() + "\n")
			}
		}
	}
	if got := string(zonefile.AppendHosts([]byte("before\n"), hosts)); got != "before\n"+want.String() {
		t.Errorf("got %.200q…", got)
	}
}

func FuzzReadHosts(f *testing.F) {
	f.Add([]byte("192.0.2.1\n192.0.2.250\n198.51.100.7\n203.0.113.0\n127.0.0.2\n10.0.0.1\n"))
	f.Add([]byte("1.2.3.4\n1.2.3.300\n999.999.999.999\n01.1.1.1\n1.1.1.1\n"))
	f.Fuzz(func(t *testing.T, text []byte) { compareHosts(t, text) })
}
