package zonefile_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"backscatter/listing"
	"backscatter/zonefile"
)

// million is a list of a million IPv4 hosts, made once.
var million = sync.OnceValue(func() *listing.Snapshot {
	rng := rand.New(rand.NewPCG(15, 16))
	return listing.NewSnapshot(listing.Build{Sequence: sequence, Time: made, Entries: func(yield func(listing.Entry) bool) {
		for i := range 1_000_000 {
			host := uint32(0x01000000 + i*3517)
			addr := netip.AddrFrom4([4]byte{byte(host >> 24), byte(host >> 16), byte(host >> 8), byte(host)})
			if !yield(randomEntry(rng, netip.PrefixFrom(addr, 32))) {
				return
			}
		}
	}})
})

func BenchmarkWriteMillion(b *testing.B) {
	z, s := testZone(), million()
	z.Classes = listing.AllClasses
	for _, f := range zonefile.Formats {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				stats, err := zonefile.Write(io.Discard, f, z, s)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(stats.Bytes)
			}
		})
	}
}

func BenchmarkCheckMillion(b *testing.B) {
	z, s := testZone(), million()
	z.Classes = listing.AllClasses
	for _, f := range zonefile.Formats {
		b.Run(string(f), func(b *testing.B) {
			var file bytes.Buffer
			if _, err := zonefile.Write(&file, f, z, s); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := zonefile.Check(bytes.NewReader(file.Bytes()), f, z, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseLabels(b *testing.B) {
	for name, rel := range map[string]string{
		"ipv4": "\x0266\x012\x010\x03192",
		"ipv6": "\x01b\x01a\x019\x018\x017\x016\x015\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x018\x01b\x01d\x010\x011\x010\x010\x012",
		"none": "\x03www",
	} {
		b.Run(name, func(b *testing.B) {
			wire := []byte(rel)
			for b.Loop() {
				zonefile.ParseLabels(wire)
			}
		})
	}
}

func BenchmarkFindWire(b *testing.B) {
	s := must(zonefile.NewSet(named("bl.example."), named("notices.bl.example.")))(b)
	name := []byte("\x0266\x012\x010\x03192\x02bl\x07example")
	for b.Loop() {
		if z, _ := s.FindWire(name); z == nil {
			b.Fatal("not found")
		}
	}
}
