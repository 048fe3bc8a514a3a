package dnsd

import (
	"bytes"
	"net/netip"

	"backscatter/zonefile"
)

// ownerName is the name of a record of a transfer, which says no more than in
// what it differs from the one before it: names come sorted, so that is nearly as
// short as it can be told (RFC 1035 §4.1.4).
type ownerName struct {
	fresh   []byte // the labels that are to be written
	pointer int    // where in the message the rest stands

	wire   []byte // all labels below the zone's name
	labels int    // how many; 0 at the start of a message
	at     [mostLabels]labelPlace
	buf    []byte
}

// mostLabels is that of an IPv6 address.
const mostLabels = 32

// labelPlace is where a label begins in a name, and in the message.
type labelPlace struct{ start, offset int }

// next goes on to the name of a piece, which is to be written at an offset of the
// message. It returns where the whole of it stands then, which is elsewhere only
// if it is the former name.
func (n *ownerName) next(piece netip.Prefix, offset int) int {
	former, places, labels := n.wire, n.at, n.labels
	n.wire = zonefile.AppendLabels(n.buf[:0], piece)
	n.buf = former
	n.labels = 0
	for start := 0; start < len(n.wire); start += 1 + int(n.wire[start]) {
		n.at[n.labels] = labelPlace{start, offset + start}
		n.labels++
	}
	n.fresh, n.pointer = n.wire, headerSize
	for i, j := n.labels-1, labels-1; i >= 0 && j >= 0; i, j = i-1, j-1 {
		if !bytes.Equal(n.wire[n.at[i].start:], former[places[j].start:]) {
			break
		}
		n.at[i].offset = places[j].offset
		n.fresh, n.pointer = n.wire[:n.at[i].start], places[j].offset
	}
	if len(n.fresh) == 0 {
		return n.pointer
	}
	return offset
}
