package zonefile

import (
	"fmt"
	"strconv"
	"strings"

	"backscatter/listing"
)

// master writes a zone file (RFC 1035 §5): the same records as [Zone.Records],
// owners relative to the origin, the TTL of listings by default.
func (w *writer) master() {
	if names := w.zone.Unreachable(); len(names) > 0 {
		w.err = fmt.Errorf("name servers %s lie in the zone and have no address, so BIND would refuse it: configure their addresses", strings.Join(names, ", "))
		return
	}
	w.text("$ORIGIN " + w.zone.Name)
	w.text("$TTL " + strconv.FormatUint(uint64(w.zone.TTLSeconds()), 10))
	for _, rr := range w.zone.head(w.snapshot) {
		w.text(rr.String())
	}
	w.entries(all4, w.masterEntry)
	w.entries(all6, w.masterEntry)
}

func (w *writer) masterEntry(e listing.Entry) bool {
	w.stats.Entries++
	for piece := range pieces(e.Prefix) {
		w.line = appendOwner(w.line, piece)
		w.line = append(w.line[:len(w.line)-1], "\tA\t"...) // relative: no final dot
		w.line = Code(e.Class).AppendTo(w.line)
		w.line = append(w.line, "\n\tTXT\t\""...)
		w.line = w.zone.AppendText(w.line, e) // has nothing to escape: see Zone.Validate
		w.line = append(w.line, '"')
		if !w.put() {
			return false
		}
	}
	return true
}

func appendUint(dst []byte, n uint32) []byte { return strconv.AppendUint(dst, uint64(n), 10) }
