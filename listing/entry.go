package listing

import (
	"math"
	"net/netip"
	"time"
)

// Date is a day in UTC, counted from 1970-01-01. Zero is no day.
type Date uint16

// DateOf returns the day that t falls on, and no day for the zero time and
// for days that a Date cannot hold (before 1970, after 2149).
func DateOf(t time.Time) Date {
	days := t.Unix() / 86400
	if t.IsZero() || days <= 0 || days > math.MaxUint16 {
		return 0
	}
	return Date(days)
}

// Time returns the first instant of the day, and the zero time for no day.
func (d Date) Time() time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Unix(int64(d)*86400, 0).UTC()
}

// String writes the day as 2026-11-21, and no day as nothing.
func (d Date) String() string {
	if d == 0 {
		return ""
	}
	return d.Time().Format(time.DateOnly)
}

// Entry is one published listing, as a snapshot holds it. It is the whole of
// what the public sees in the DNS and in exported files, so the serial moves
// when, and only when, the entries change.
type Entry struct {
	Prefix  netip.Prefix // IPv4 host, IPv6 /64, an operator's prefix, or what an exemption left of one
	Classes ClassSet     // all that the listing is about
	Class   Class        // the heaviest of them, of two with one weight the newest: decides the A record
	Summary Summary      // what the text record tells
}

// ClassIn returns the class that the entry has in a zone that carries only the
// given classes, or ClassOther when the zone does not carry the entry at all.
func (e Entry) ClassIn(carried ClassSet) Class {
	if carried.Has(e.Class) {
		return e.Class
	}
	return (e.Classes & carried).Heaviest()
}

// Summary is what the public is told of a listing beside its class. It has the
// state of the moment when the entry was published, in days, so that a renewal
// alone changes nothing that is published; when the day named in Until comes and
// the listing was renewed meanwhile, the writer publishes it anew. Many entries
// share one summary, and a snapshot keeps each only once.
type Summary struct {
	Events uint16 // observations counted, rounded down by [RoundEvents]; 0 for an operator's listing
	Since  Date   // listed on
	Last   Date   // newest observation on; none for an operator's listing
	Until  Date   // expires on; none when permanent
}

// RoundEvents rounds a count down to one of few values (exact to 9, then one
// significant digit), so that listings share their summaries.
func RoundEvents(n int) uint16 {
	n = max(n, 0)
	unit := 1
	for n/unit > 9 {
		unit *= 10
	}
	return uint16(min(n/unit*unit, 60000))
}

// SerialOf shows the stored 64-bit counter as the 32-bit serial of the DNS
// (RFC 1982): its low half.
func SerialOf(sequence uint64) uint32 { return uint32(sequence) }

// Ending is a published entry that ends soon.
type Ending struct {
	Prefix netip.Prefix
	Until  time.Time
}
