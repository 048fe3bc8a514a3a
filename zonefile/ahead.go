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
