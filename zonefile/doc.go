// Package zonefile owns how the list looks from outside: as DNS data (owner
// names, A and TXT records, SOA, test points, RFC 5782) and as files for other
// programs (rbldnsd's ip4set and ip6trie, an RFC 1035 zone, plain text), both
// ways: it writes them, publishes them durably, and reads them for import.
//
// It must not know why something is listed (package listing decides), nor how
// a question arrives (package dnsd has the wire). It reads a
// [listing.Snapshot] and nothing else, so that live answers, transfers and
// files are made by one code from one state and cannot disagree.
//
// Invariants:
//
//   - One entry has one text, of one string of at most 255 bytes, and it does
//     not depend on the address that was asked: a wildcard in a zone file could
//     not repeat that. So an IPv4 host's text names the host, and the text of
//     anything wider (an IPv6 /64, an operator's prefix) names the prefix.
//   - 127.0.0.0/24 belongs to the test points (RFC 5782 §5): 127.0.0.2 and the
//     code of every class in use are always listed, 127.0.0.1 never, whatever
//     the store holds.
//   - A name of one to three octets or one to 31 nibbles exists, so that an
//     answer for it never denies what lies below (RFC 8020); so does the
//     name of an IPv4 address of four single digits that is the start of IPv6
//     names in use as well (1.0.0.2 is 2.0.0.1, and 2001::/16 lies below it).
//   - The bytes of a file follow from the zone's settings and the snapshot
//     alone, except that the stamp of rbldnsd's formats, which expires, moves on
//     by whole days.
//
// Known differences between the live answers and the files, which the formats
// leave no way round: a wildcard answers for every name below it, partial names
// and names longer than an address included; files answer the nibble form of
// IPv4 addresses (::ffff:a.b.c.d) for the test points only, except rbldnsd with
// IPv4 data, which maps them itself; rbldnsd knows no empty non-terminals, has no
// _status, gives a listing that is about to end its whole TTL, and reads octets
// with leading zeros, so that it answers 066.2.0.192 as 192.0.2.66; and the age
// of the evidence in _status is told by the live server alone.
package zonefile
