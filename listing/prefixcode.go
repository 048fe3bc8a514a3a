package listing

import (
	"cmp"
	"slices"
)

// prefixCode is a canonical Huffman code: the lengths of the codes say all of it.
type prefixCode struct {
	bits    []uint32 // of each symbol
	lengths []uint8
	counts  [longestCode + 1]int // symbols, by the length of their codes
	sorted  []uint16             // symbols, in the order of their codes
}

// longestCode is more than any code of weights such as ours takes.
const longestCode = 24

// newPrefixCode makes the code in which symbols that weigh more take fewer bits.
func newPrefixCode(weights []int) *prefixCode {
	c := &prefixCode{bits: make([]uint32, len(weights)), lengths: codeLengths(weights)}
	for symbol, length := range c.lengths {
		c.counts[length]++
		c.sorted = append(c.sorted, uint16(symbol))
	}
	slices.SortStableFunc(c.sorted, func(a, b uint16) int { return cmp.Compare(c.lengths[a], c.lengths[b]) })
	next, length := uint32(0), uint8(0)
	for _, symbol := range c.sorted {
		next <<= c.lengths[symbol] - length
		length = c.lengths[symbol]
		c.bits[symbol] = next
		next++
	}
	return c
}

// codeLengths joins the two that weigh least until one is left (Huffman). Of those
// that weigh the same the one that was made first comes first, so that everybody
// gets the same code.
func codeLengths(weights []int) []uint8 {
	type tree struct{ weight, left, right int }
	trees := make([]tree, len(weights), 2*len(weights))
	open := make([]int, len(weights)) // trees that no other holds, the lightest last
	for i, weight := range weights {
		trees[i], open[i] = tree{weight, -1, -1}, i
	}
	lighter := func(a, b int) int { return cmp.Or(cmp.Compare(trees[b].weight, trees[a].weight), cmp.Compare(b, a)) }
	slices.SortFunc(open, lighter)
	for len(open) > 1 {
		a, b := open[len(open)-1], open[len(open)-2]
		joined := len(trees)
		trees = append(trees, tree{trees[a].weight + trees[b].weight, a, b})
		open = open[:len(open)-2]
		at, _ := slices.BinarySearchFunc(open, joined, lighter)
		open = slices.Insert(open, at, joined)
	}
	depths := make([]uint8, len(trees))
	for i := len(trees) - 1; i >= len(weights); i-- { // who holds comes after who is held
		depths[trees[i].left], depths[trees[i].right] = depths[i]+1, depths[i]+1
	}
	return depths[:len(weights)]
}

// bitWriter writes bits, the highest of a byte first.
type bitWriter struct {
	b     []byte
	ahead uint64 // bits that are not in b yet: the lowest of these
	n     int    // so many, fewer than 8 between two calls
}

// write writes the lowest n bits of v.
func (w *bitWriter) write(v uint32, n int) {
	w.ahead = w.ahead<<n | uint64(v)&(1<<n-1)
	for w.n += n; w.n >= 8; {
		w.n -= 8
		w.b = append(w.b, byte(w.ahead>>w.n))
	}
}

// bytes returns what was written, with zeros up to a whole byte.
func (w *bitWriter) bytes() []byte {
	if w.n > 0 {
		return append(w.b, byte(w.ahead<<(8-w.n)))
	}
	return w.b
}

func (w *bitWriter) symbol(c *prefixCode, symbol int) {
	w.write(c.bits[symbol], int(c.lengths[symbol]))
}

// bitReader reads what bitWriter wrote. After the end all is zero.
type bitReader struct {
	b     []byte
	at    int // bits read
	short bool
}

func (r *bitReader) rest() int { return 8*len(r.b) - r.at }

func (r *bitReader) read(n int) (v int) {
	if n > r.rest() {
		r.short, r.at = true, 8*len(r.b)
		return 0
	}
	for range n {
		v = v<<1 | int(r.b[r.at/8]>>(7-r.at%8)&1)
		r.at++
	}
	return v
}

func (r *bitReader) symbol(c *prefixCode) int {
	code, first, index := 0, 0, 0
	for length := 1; length <= longestCode && !r.short; length++ {
		code = code<<1 | r.read(1)
		n := c.counts[length]
		if code-first < n {
			return int(c.sorted[index+code-first])
		}
		index += n
		first = (first + n) << 1
	}
	return symbolEnd
}
