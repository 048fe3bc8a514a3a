package zonefile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// trail tells those who read a file how far its writer has come.
type trail struct {
	mu    sync.Mutex // guards what follows
	moved *sync.Cond // by mu
	size  int64      // so much is written
	ended bool       // and no more will be
	err   error      // for the writer failed
}

func newTrail() *trail {
	t := &trail{}
	t.moved = sync.NewCond(&t.mu)
	return t
}

// reach says that so much is written.
func (t *trail) reach(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = size
	t.moved.Broadcast()
}

// end says that all is written, or why that will never be. Only the first end counts.
func (t *trail) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.ended, t.err = true, err
		t.moved.Broadcast()
	}
}

// beyond waits until more than so much is written, and returns how much more; none
// at the end.
func (t *trail) beyond(size int64) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.size <= size && !t.ended {
		t.moved.Wait()
	}
	return t.size - size, t.err
}

// behind reads a file behind its writer.
type behind struct {
	file  *os.File
	trail *trail
	read  int64
	sum   uint32 // of what was read
	err   error  // the first that was found
}

// Read implements [io.Reader].
func (b *behind) Read(p []byte) (n int, err error) {
	if b.err == nil {
		n, b.err = b.readOn(p)
		b.read += int64(n)
		b.sum = crc32.Update(b.sum, quickSum, p[:n])
	}
	return n, b.err
}

// readOn reads what is written. A file in which there is more than that is not read
// for ever.
func (b *behind) readOn(p []byte) (int, error) {
	more, err := b.trail.beyond(b.read)
	switch {
	case err != nil:
		return 0, fmt.Errorf("it is not written whole: %w", err)
	case more > 0:
		n, err := b.file.Read(p[:min(int64(len(p)), more)])
		if errors.Is(err, io.EOF) {
			err = errors.New("has fewer bytes than were written")
		}
		return n, err
	}
	var one [1]byte
	n, err := b.file.Read(one[:])
	if n > 0 {
		err = errors.New("has more bytes than were written")
	}
	return 0, err
}
