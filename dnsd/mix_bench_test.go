package dnsd_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"

	"github.com/miekg/dns"
)

// BenchmarkMix measures what a worker pays for a question of a mix that a busy
// resolver asks of a large list, in batches, with limits that are not reached: half of
// the addresses listed, every eighth question for a text, every eighth for a name
// above addresses.
func BenchmarkMix(b *testing.B) {
	const batch = 32
	rnd := rand.New(rand.NewPCG(1, 2))
	host := func() netip.Addr {
		v := rnd.Uint32()
		return netip.AddrFrom4([4]byte{byte(11 + v>>24%89), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	all := map[netip.Addr]bool{}
	for len(all) < 1_000_000 {
		all[host()] = true
	}
	var listed []listing.Entry
	for a := range all {
		listed = append(listed, entry(netip.PrefixFrom(a, 32).String(), listing.ClassBounce))
	}
	v := ruledView(b, dnsd.Rules{Rates: dnsd.Rates{Same: 200, All: dnsd.MaxRate, Slip: 3}})
	v.Snapshot = listing.NewSnapshot(listing.Build{Sequence: 1, Time: base, Entries: slices.Values(listed)})
	z := v.Zones.Find("bl.example.")
	var plain [][]byte
	for i := range 1 << 16 {
		a := host()
		if i%2 == 0 {
			a = listed[rnd.IntN(len(listed))].Prefix.Addr()
		}
		name, qtype := z.Owner(a), dns.TypeA
		switch i % 8 {
		case 2:
			qtype = dns.TypeTXT
		case 3:
			for name[0] != '.' {
				name = name[1:]
			}
			name = name[1:]
		}
		plain = append(plain, packed(b, question(name, qtype)))
	}
	for _, c := range []struct {
		name string
		opt  []byte
	}{{"plain", nil}, {"edns", optRR(1232, 0, 0)}, {"first_cookie", optRR(1232, 0, 0, cookieOption(firstCookie)...)}, {"good_cookie", optRR(1232, 0, 0, goodCookie...)}} {
		b.Run(c.name, func(b *testing.B) {
			questions := plain
			if c.opt != nil {
				questions = nil
				for _, q := range plain {
					q = slices.Concat(q, c.opt)
					q[11] = 1
					questions = append(questions, q)
				}
			}
			handle, done := dnsd.BatchWorker(func() dnsd.View { return v })
			var buffers [batch][4160]byte
			var packets [batch + 1][]byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(questions) == 0 {
					v.Now = v.Now.Add(time.Second)
				}
				if i%batch == 0 {
					done()
					for k := range batch {
						packets[k] = append(buffers[k][:0], questions[(i+k)%len(questions)]...)
					}
				}
				if response := handle(packets[i%batch], packets[i%batch+1]); len(response) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}
