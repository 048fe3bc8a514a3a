package zonefile

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// hostLine is the longest line of a host, with its end.
const hostLine = len("255.255.255.255\n")

// hostWindow is of how much text readHosts looks at one line: of eight bytes from where
// either half of a host begins, and the mask of that goes to 15.
const hostWindow = 15 + 8

// readHosts reads the lines of IPv4 hosts that a text begins with, as we write them:
// four octets without leading zeros, and a newline. It stops where there is room for no
// more, at any other line, near the test net, and in the last hostWindow bytes. It
// returns how many hosts and bytes it read.
//
// Lists have millions of hosts, of which neighbours begin with the same half: that is
// read once for all of them. Nothing else depends on where octets end, which is hard
// to foresee for a processor.
func readHosts(into []uint32, text []byte) (n, taken int) {
	var last half
	for n < len(into) && taken+hostWindow <= len(text) {
		line := (*[hostWindow]byte)(text[taken : taken+hostWindow : taken+hostWindow])
		if begin := binary.LittleEndian.Uint64(line[:]); begin&last.mask != last.text || last.size == 0 {
			if last = readHalf(begin); last.size == 0 {
				break
			}
		}
		c, d, rest := cutPair(binary.LittleEndian.Uint64(line[last.size&15:]))
		d ^= ('.' ^ '\n') << 24
		if wrongPair(c, d) {
			break
		}
		into[n] = last.net | octetOf(c)<<8 | octetOf(d)
		n++
		taken += last.size + rest
	}
	return n, taken
}

// half is how a host begins, to its second dot.
type half struct {
	text uint64
	mask uint64 // which of eight bytes these are
	size int    // how many; 0: it is no half of a host, or that of the test net
	net  uint32 // what they say
}

func readHalf(text uint64) half {
	a, b, size := cutPair(text)
	net := octetOf(a)<<24 | octetOf(b)<<16
	if wrongPair(a, b) || net == testNet4<<8 {
		return half{}
	}
	mask := uint64(1)<<(8*size) - 1
	return half{text & mask, mask, size, net}
}

// cutPair returns the texts of the two octets that a text begins with, each with what
// ends it, and how many bytes they are. Of all that hosts consist of, only the dots
// and the newline have bit 4 clear, which tells for all bytes at once where octets end.
// In another text, what is taken for an end may be none.
func cutPair(text uint64) (a, b uint32, size int) {
	ends := ^text & 0x1010101010101010
	first, second := bits.TrailingZeros64(ends), bits.TrailingZeros64(ends&(ends-1)) // of eight bits a byte, and 4
	a = uint32(text) << ((28 - first) & 24)
	b = uint32(text>>((first+4)&63)) << ((32 + first - second) & 24)
	return a, b, second>>3 + 1
}

// wrongPair reports whether one of the texts is not what an octet is written as, with
// a dot behind.
func wrongPair(a, b uint32) bool {
	return (octetTexts[octetOf(a)]^a)|(octetTexts[octetOf(b)]^b) != 0
}

// octetOf returns the number that an octet's text tells.
func octetOf(text uint32) uint32 { return text & 0x0f0f0f * (100<<16 | 10<<8 | 1) >> 16 & 255 }

// octetTexts are the texts of all octets in four bytes, the lowest first: zeros, the
// digits, a dot.
var octetTexts = func() (all [256]uint32) {
	for i := range all {
		text := append(strconv.AppendUint([]byte{0, 0, 0}, uint64(i), 10), '.')
		all[i] = binary.LittleEndian.Uint32(text[len(text)-4:])
	}
	return all
}()
