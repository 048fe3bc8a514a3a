package listing

import (
	"fmt"
	"math/bits"
)

// The texts of an observation are squeezed: what stood in one of them before, or
// stands in packWords, is told by where and how long, and all else by the bits of
// a prefix code, of which often used bytes take few. A host repeats its name in
// most of them, mail servers say the same things, and the rest is digits and
// letters.
//
// Squeezed texts are bits, the highest of a byte first: five for how many texts
// there are, then each text as a row of symbols, then zeros up to a whole byte. A
// symbol is a byte, or the end of the text, or begins a copy: the symbol and some
// bits more for its length, then a 0 and where it begins in packWords, or a 1 and
// from how far back in the texts. Which code holds depends on the byte before: one
// code follows a letter, one a digit, one anything else.
//
// The codes, like packWords, are part of the format: they must never change.
const (
	symbolEnd    = 256 // of a text
	symbolCopy   = 257 // and more, see copyLengths
	symbols      = symbolCopy + 10
	squeezeCount = 5  // bits of the number of texts
	squeezeWord  = 11 // bits of a place in packWords
	squeezeBack  = 4  // bits of the number of bits of a distance
	squeezeTexts = 1<<squeezeCount - 1
)

// copyLengths says for each symbol that begins a copy the least length, and how
// many bits tell what is more.
var copyLengths = [symbols - symbolCopy]struct{ least, bits int }{
	{4, 0}, {5, 0}, {6, 0}, {7, 1}, {9, 1}, {11, 2}, {15, 3}, {23, 4}, {39, 5}, {71, 6},
}

// mostCopied is the longest copy.
const mostCopied = 71 + 1<<6 - 1

// What the byte before is.
const (
	afterOther = iota
	afterLetter
	afterDigit
	afterKinds
)

func kindOf(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return afterDigit
	case b|0x20 >= 'a' && b|0x20 <= 'z':
		return afterLetter
	}
	return afterOther
}

// squeezeWeights tells how often bytes stand in Message-IDs, queue ids, names of
// hosts and diagnostics, by what stands before. What is not told weighs 1.
var squeezeWeights = [afterKinds][]struct {
	weight int
	bytes  string
}{
	afterOther: {
		{70, "0<"}, {55, "12ce"}, {45, "lnm5"}, {25, "sotgaj4 3"}, {14, "dhr7pfiub69"}, {9, "8AEwBCDx.Fky"}, {5, "SPUvGLR"}, {3, "TOMq[NJIz-"},
	},
	afterLetter: {
		{70, "o.ae"}, {47, "tlms"}, {30, "inpcrh"}, {20, ">-10gd u2b"}, {10, "4kAE8369y7@f5"}, {5, "CFMDBw:vRSL"}, {3, "IXjNPUzKTY_xq/"},
	},
	afterDigit: {
		{120, "0"}, {65, "12."}, {50, "453"}, {38, "6987"}, {24, "@-"}, {12, "FCcDEA B"}, {8, "edaHfb"}, {5, "$Gvi]>"}, {2, "NQSPMVpKJOLXhjIrZYwTslzRqy"},
	},
}

const (
	weightEnd  = 70
	weightCopy = 25 // of each of the symbols that begin one
)

// squeezeCodes are the codes by what stands before.
var squeezeCodes = func() (codes [afterKinds]*prefixCode) {
	for kind, groups := range squeezeWeights {
		var weights [symbols]int
		for i := range weights {
			weights[i] = 1
		}
		for _, g := range groups {
			for _, b := range []byte(g.bytes) {
				weights[b] = g.weight
			}
		}
		weights[symbolEnd] = weightEnd
		for i := symbolCopy; i < symbols; i++ {
			weights[i] = weightCopy
		}
		codes[kind] = newPrefixCode(weights[:])
	}
	return codes
}()

// squeeze returns the texts squeezed; false when there are too many of them.
func squeeze(texts []string) (out []byte, ok bool) {
	if len(texts) > squeezeTexts {
		return nil, false
	}
	size := 0
	for _, text := range texts {
		if size += len(text); size > maxUnpacked {
			return nil, false
		}
	}
	w := bitWriter{b: make([]byte, 0, 64+size/2)}
	w.write(uint32(len(texts)), squeezeCount)
	s := squeezer{table: packTable, texts: make([]byte, 0, size)}
	for _, text := range texts {
		s.text(&w, text)
	}
	return w.bytes(), true
}

// squeezer knows what was written and where four bytes stood last in it, counted
// from the beginning of packWords, behind which the texts stand.
type squeezer struct {
	texts []byte // so far
	table [1 << packHash]uint16
}

func (s *squeezer) text(w *bitWriter, text string) {
	at := len(s.texts)
	s.texts = append(s.texts, text...)
	kind := afterOther
	for at < len(s.texts) {
		code := squeezeCodes[kind]
		n := s.copied(w, at, code)
		if n == 0 {
			w.symbol(code, int(s.texts[at]))
			n = 1
		}
		for range n {
			if at+minMatch <= len(s.texts) {
				s.table[packSlot(s.texts[at:])] = uint16(len(packWords) + at + 1)
			}
			at++
		}
		kind = kindOf(s.texts[at-1])
	}
	w.symbol(squeezeCodes[kind], symbolEnd)
}

// alike returns how many bytes two texts have in common at their beginning, of as
// many as a copy can have.
func alike[T string | []byte](there T, here []byte) int {
	n, most := 0, min(len(there), len(here), mostCopied)
	for n < most && there[n] == here[n] {
		n++
	}
	return n
}

// copied writes what stands at a place as a copy, where there is one and it is
// worth it, and returns its length.
func (s *squeezer) copied(w *bitWriter, at int, code *prefixCode) int {
	if at+minMatch > len(s.texts) {
		return 0
	}
	from := int(s.table[packSlot(s.texts[at:])]) - 1
	if from < 0 {
		return 0
	}
	words := from < len(packWords)
	var length int
	if words {
		length = alike(packWords[from:], s.texts[at:])
	} else {
		length = alike(s.texts[from-len(packWords):], s.texts[at:])
	}
	if length < minMatch {
		return 0
	}
	i := len(copyLengths) - 1
	for copyLengths[i].least > length {
		i--
	}
	distance := len(packWords) + at - from
	back := bits.Len(uint(distance))
	place := squeezeWord
	if !words {
		place = squeezeBack + back - 1
	}
	if length < 6 && place+8 >= 5*length { // a byte takes about five bits
		return 0
	}
	w.symbol(code, symbolCopy+i)
	w.write(uint32(length-copyLengths[i].least), copyLengths[i].bits)
	if words {
		w.write(0, 1)
		w.write(uint32(from), squeezeWord)
		return length
	}
	w.write(1, 1)
	w.write(uint32(back), squeezeBack)
	w.write(uint32(distance), back-1) // the first bit of a number is a 1
	return length
}

// expand returns what squeeze was given.
func expand(b []byte) ([]string, error) {
	r := bitReader{b: b}
	texts := make([]string, r.read(squeezeCount))
	window := append(make([]byte, 0, len(packWords)+4*len(b)), packWords...)
	for i := range texts {
		begin := len(window)
		var err error
		if window, err = expandText(&r, window); err != nil {
			return nil, err
		}
		texts[i] = string(window[begin:])
	}
	if rest := r.rest(); r.short || rest >= 8 || r.read(rest) != 0 {
		return nil, fmt.Errorf("value has squeezed texts that do not end with it: %w", ErrDamaged)
	}
	return texts, nil
}

// expandText adds the next text to the window.
func expandText(r *bitReader, window []byte) ([]byte, error) {
	kind := afterOther
	for {
		switch symbol := r.symbol(squeezeCodes[kind]); {
		case r.short:
			return nil, fmt.Errorf("value has squeezed texts that end early: %w", ErrDamaged)
		case symbol == symbolEnd:
			return window, nil
		case symbol < symbolEnd:
			window = append(window, byte(symbol))
		default:
			from, length := r.copied(symbol, len(window))
			if from < 0 || from >= len(window) || r.short {
				return nil, fmt.Errorf("value has squeezed texts that begin nowhere: %w", ErrDamaged)
			}
			for i := range length { // what is copied may reach into the copy
				window = append(window, window[from+i])
			}
		}
		if len(window)-len(packWords) > maxUnpacked {
			return nil, fmt.Errorf("value has squeezed texts of more than %d bytes: %w", maxUnpacked, ErrDamaged)
		}
		kind = kindOf(window[len(window)-1])
	}
}

// copied reads where a copy begins, and how long it is.
func (r *bitReader) copied(symbol, at int) (from, length int) {
	l := copyLengths[symbol-symbolCopy]
	length = l.least + r.read(l.bits)
	if r.read(1) == 0 {
		return r.read(squeezeWord), length
	}
	back := r.read(squeezeBack)
	if back == 0 {
		return -1, length
	}
	from = at - (1<<(back-1) | r.read(back-1))
	if from < len(packWords) {
		return -1, length
	}
	return from, length
}
