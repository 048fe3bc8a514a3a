package zonefile

import (
	"bytes"
	"errors"
	"hash"
	"io"
	"iter"
)

// ahead reads a file and sums it up, while what it has read already is made use of:
// with two processors that takes no longer than the slower of the two.
type ahead struct {
	in  io.Reader
	sum hash.Hash

	// After the last block: of how many bytes the sum is, and why they are not all.
	size int64
	err  error
}

// copyBlock is how much is read at once, and copyBlocks how many of that there are:
// one is read or summed up, one is made use of, and the others wait for either.
const (
	copyBlock  = 1 << 18
	copyBlocks = 4
)

// blocks yields what is read, cut at the ends of lines, to the end of the file; only
// a line longer than a block, and one that the file ends in, is not whole. A block is
// valid until the next.
func (a *ahead) blocks(size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		free, read := make(chan []byte, copyBlocks), make(chan []byte, copyBlocks)
		for range copyBlocks {
			free <- make([]byte, size)
		}
		go func() {
			defer close(read)
			a.read(free, read)
		}()
		wanted := true
		for block := range read { // to the end, which is that of the reading too
			wanted = wanted && yield(block)
			free <- block[:size]
		}
	}
}

func (a *ahead) read(free <-chan []byte, read chan<- []byte) {
	var rest []byte // begins a line
	for a.err == nil {
		block := <-free
		begun := copy(block, rest)
		n, err := io.ReadFull(a.in, block[begun:])
		block = block[:begun+n]
		end := bytes.LastIndexByte(block, '\n') + 1
		if end == 0 || err != nil {
			end = len(block)
		}
		read <- block[:end] // only read from now on, here and there
		a.sum.Write(block[begun:])
		a.size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return
		}
		rest, a.err = block[end:], err
	}
}

// readHostLine reads the line that a text begins with, if it is a bare IPv4 address
// as we write it, and returns how long it is with its end; 0 when it is anything else.
// It is what most of the time of reading a large file goes into.
func readHostLine(text []byte) (host uint32, size int) {
	var line [16]byte // no address is longer, and zeros end it
	if len(text) >= len(line) {
		line = [16]byte(text)
	} else {
		copy(line[:], text)
	}
	at := 0
	for _, end := range [4]byte{'.', '.', '.', '\n'} {
		octet := uint32(line[at&15]) - '0'
		if octet > 9 {
			return 0, 0
		}
		at++
		for digits := 1; digits < 3 && octet > 0; digits++ {
			digit := uint32(line[at&15]) - '0'
			if digit > 9 {
				break
			}
			octet = 10*octet + digit
			at++
		}
		if octet > 255 || line[at&15] != end {
			return 0, 0
		}
		host = host<<8 | octet
		at++
	}
	return host, at
}
