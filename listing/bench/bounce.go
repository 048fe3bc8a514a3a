package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"backscatter/listing"
)

// host is the nth address of public space.
func host(n int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 11<<24+uint32(n)*7)
	return netip.AddrFrom4(a)
}

// spread is what a hash of a number might be.
func spread(n int, kind uint64) uint64 {
	v := (uint64(n)+1)*0x9e3779b97f4a7c15 + kind*0xd1342543de82ef95
	v = (v ^ v>>32) * 0xd6e8feb86659fd93
	return v ^ v>>32
}

func id(n int, kind uint64) (out listing.ID) {
	binary.BigEndian.PutUint64(out[:], spread(n, kind))
	binary.BigEndian.PutUint64(out[8:], spread(n, kind+100))
	return out
}

// word is a name that nobody has heard before, of two to four syllables.
func word(v uint64) string {
	const consonants, vowels = "bcdfghklmnprstvw", "aeiou"
	b := make([]byte, 0, 8)
	for range 2 + v%3 {
		v /= 3
		b = append(b, consonants[v%16], vowels[v/16%5])
		v /= 16 * 5
	}
	return string(b)
}

// bounce is the nth observation, with every trace that one can have, as a host
// makes it that says its own name everywhere and all else anew in each bounce.
func bounce(n int, from netip.Addr, at time.Time) listing.Observation {
	source := binary.BigEndian.Uint32(from.AsSlice())
	name := fmt.Sprintf("mail%d.%s.example", source%100, word(spread(int(source), 3)))
	queue := fmt.Sprintf("%011X", spread(n, 4)>>20)
	failed := word(spread(n, 5)) + [...]string{".example", ".com", ".net", ".org", ".de"}[n%5]
	origin := netip.AddrFrom4([4]byte{100, byte(spread(n, 6)), byte(spread(n, 7)), byte(spread(n, 8))})
	return listing.Observation{
		ID: id(n, 10), Addr: from, Class: listing.ClassBounce, At: at,
		Level: listing.LevelA, Proofs: listing.ProofSetOf(listing.ProofTrap),
		Reporter: "local", Organisation: "local", Sensor: "smtp", TrapDomain: fmt.Sprintf("trap%d.example", n%20),
		Recipient: id(n, 11), Original: id(n, 12), SPFFailed: n%3 == 0,
		Traces: listing.Traces{
			MessageID: fmt.Sprintf("<2026112212%04d.%s@%s>", n%3600, queue, name), QueueID: queue,
			ReportingMTA: name, HELO: name, PTR: name, Status: "5.1.1", Product: "postfix",
			Diagnostic: fmt.Sprintf("smtp; 550 5.1.1 <%s.%s@%s>: Recipient address rejected: User unknown in virtual mailbox table",
				word(spread(n, 13)), word(spread(n, 14)), failed),
			Origin: origin, FailedDomain: failed, Subject: id(n, 15),
			URLHosts: []string{"www." + word(spread(n, 16)) + ".example", word(spread(n, 17)) + word(spread(n, 18)) + ".example"},
		},
	}
}
