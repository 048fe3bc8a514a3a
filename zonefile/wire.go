package zonefile

import (
	"iter"
	"net/netip"
	"time"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// What a transfer is made of: the same as [Zone.Records] has, without a record
// in memory for each, since there are millions.

// Head returns the records of the zone that are of no entry, the SOA first.
func (z *Zone) Head(s *listing.Snapshot) []dns.RR { return z.head(s) }

// Carry returns an entry of the snapshot as the zone shows it; false when it
// does not.
func (z *Zone) Carry(e listing.Entry) (listing.Entry, bool) { return z.carry(e) }

// Pieces cuts the prefix of an entry into hosts and prefixes that have one name
// each in a zone, the host's or a wildcard: see [Zone.Wildcards].
func Pieces(p netip.Prefix) iter.Seq[netip.Prefix] { return pieces(p) }

// AppendLabels appends the name of a piece in wire format, without the zone's.
// It does not allocate if dst has room.
func AppendLabels(dst []byte, piece netip.Prefix) []byte {
	length := len(dst)
	dst = appendOwner(append(dst, 0), piece)
	// Where a label ends, written with a dot, the length of the next stands.
	dst = dst[:len(dst)-1]
	for at := length + 1; at < len(dst); at++ {
		if dst[at] == '.' {
			dst[length] = byte(at - length - 1)
			length = at
		}
	}
	dst[length] = byte(len(dst) - length - 1)
	return dst
}

// FormerStatusTXT returns what [Zone.StatusTXT] returned for a former snapshot:
// what an incremental transfer takes away.
func (z *Zone) FormerStatusTXT(sequence uint64, published time.Time, entries int) *dns.TXT {
	return &dns.TXT{
		Hdr: z.header(z.StatusOwner(), dns.TypeTXT, z.TTLSeconds()),
		Txt: statusWords(listing.SerialOf(sequence), published, entries),
	}
}
