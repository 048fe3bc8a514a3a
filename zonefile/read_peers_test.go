package zonefile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// TestReadMeansWhatRbldnsdAnswers has rbldnsd serve lists, and reads them: what is read
// is what it answers for.
func TestReadMeansWhatRbldnsdAnswers(t *testing.T) {
	t.Parallel()
	path := peer(t, "rbldnsd")
	rng := rand.New(rand.NewPCG(17, 18))
	dir := t.TempDir()
	var zones []string
	texts := map[string]string{}
	for _, format := range []zonefile.Format{zonefile.IP4Set, zonefile.IP4Trie, zonefile.IP6Trie, zonefile.Combined} {
		for i := range 6 {
			name := fmt.Sprintf("%s%d.example", format, i)
			text := fmt.Sprintf("$SOA 300 ns.example h.example %d 1h 1h 1d 300\n$TTL 300\n", sequence)
			if format == zonefile.Combined {
				text += "$DATASET ip4set:a @\n" + randomList(rng, zonefile.IP4Set) + "$DATASET ip4trie:b @\n" + randomList(rng, zonefile.IP4Trie)
			} else {
				text += randomList(rng, format)
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			texts[name] = text
			zones = append(zones, fmt.Sprintf("%s:%s:%s", name, format, file))
		}
	}
	server := runRbldnsd(t, path, dir, "ip4set0.example.", zones...)
	for _, zone := range zones {
		name, rest, _ := strings.Cut(zone, ":")
		format, _, _ := strings.Cut(rest, ":")
		items, problems, err := zonefile.Read(strings.NewReader(texts[name]), zonefile.Format(format))
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		z := &zonefile.Zone{Name: name + "."}
		for i := range 256 {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			if zonefile.Format(format) == zonefile.IP6Trie {
				addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i)})
			}
			listed := slices.ContainsFunc(items, func(item zonefile.Item) bool { return item.Prefix.Contains(addr) })
			if rcode, _ := server.ask(t, z.Owner(addr), dns.TypeA); listed != (rcode == dns.RcodeSuccess) {
				t.Fatalf("%s: %s: listed: %t, and rbldnsd answers %s, of\n%s", name, addr, listed, dns.RcodeToString[rcode], texts[name])
			}
		}
	}
}

// randomList lists and excludes parts of a /24 or a /56, one inside the other, and no
// prefix twice: which of two counts is a matter of their order.
func randomList(rng *rand.Rand, format zonefile.Format) string {
	var b strings.Builder
	all, finest, widest := netip.MustParsePrefix("192.0.2.0/24"), 32, 9
	if format == zonefile.IP6Trie {
		all, finest, widest = netip.MustParsePrefix("2001:db8::/56"), 64, 33
	}
	seen := map[netip.Prefix]bool{}
	for range 20 {
		raw := all.Addr().AsSlice()
		raw[finest/8-1] = byte(rng.IntN(256))
		addr, _ := netip.AddrFromSlice(raw)
		sign, bits := "", all.Bits()+rng.IntN(finest-all.Bits()+1)
		if rng.IntN(2) == 0 {
			sign, bits = "!", widest+rng.IntN(finest-widest+1)
		}
		p, _ := addr.Prefix(bits)
		if seen[p] {
			continue
		}
		seen[p] = true
		fmt.Fprintf(&b, "%s%s\n", sign, p)
		if format == zonefile.IP4Set && rng.IntN(3) == 0 {
			from := rng.IntN(250)
			fmt.Fprintf(&b, "%s192.0.2.%d-%d\n", []string{"", "!"}[rng.IntN(2)], from, from+rng.IntN(255-from))
		}
	}
	return b.String()
}
