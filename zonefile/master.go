package zonefile

import (
	"fmt"
	"strconv"
	"strings"

	"backscatter/listing"
)

// masterBody writes a zone file (RFC 1035 §5): the same records as
// [Zone.Records], owners relative to the origin, the TTL of listings by default.
type masterBody struct{ *writer }

func (b masterBody) begin() {
	if names := b.Zone.Unreachable(); len(names) > 0 {
		b.err = fmt.Errorf("name servers %s lie in the zone and have no address, so BIND would refuse it: configure their addresses", strings.Join(names, ", "))
		return
	}
	b.text("$ORIGIN " + b.Zone.Name)
	b.text("$TTL " + strconv.FormatUint(uint64(b.Zone.TTLSeconds()), 10))
	for _, rr := range b.Zone.head(b.Snapshot) {
		b.text(rr.String())
	}
}

func (b masterBody) entry(e listing.Entry) bool {
	b.stats.Entries++
	for piece := range pieces(e.Prefix) {
		b.line = appendOwner(b.line, piece)
		b.line = append(b.line[:len(b.line)-1], "\tA\t"...) // relative: no final dot
		b.line = Code(e.Class).AppendTo(b.line)
		b.line = append(b.line, "\n\tTXT\t\""...)
		b.line = b.Zone.AppendText(b.line, e) // has nothing to escape: see Zone.Validate
		b.line = append(b.line, '"')
		if !b.put() {
			return false
		}
	}
	return true
}

func (b masterBody) end() {}

func appendUint(dst []byte, n uint32) []byte { return strconv.AppendUint(dst, uint64(n), 10) }
