package intake

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// errMemory says that the messages of other sessions take all the memory that
// there is for messages.
var errMemory = errors.New("no memory for another message")

// budget is a number of octets that many share.
type budget struct {
	size int64
	used atomic.Int64
	show prometheus.Gauge // what is used
}

// take takes n octets, all or none. It does not wait: those who have some
// might wait for each other.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.size {
		b.used.Add(-int64(n))
		return false
	}
	b.show.Add(float64(n))
	return true
}

func (b *budget) give(n int) {
	b.used.Add(-int64(n))
	b.show.Sub(float64(n))
}

// firstRoom is the size of the first buffer of a message. Most messages fit,
// and it is not taken from the budget, so that a few clients that hold all of it
// cannot keep the ordinary bounce of another out.
const firstRoom = 16 << 10

// body is the kept part of a message that is coming in. It grows as the
// message arrives, so that a client that sends slowly holds no more than it sent.
type body struct {
	raw       []byte
	truncated bool // the message was longer
	budget    *budget
	taken     int // from the budget
}

// fill reads r to its end and keeps the first octets. Whatever it returns, r
// has been read as far as it goes: what a client still sends of a refused
// message must not be taken for commands.
func (b *body) fill(r io.Reader, keep int) error {
	for len(b.raw) < keep {
		if len(b.raw) == cap(b.raw) && !b.grow(keep) {
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			return errMemory
		}
		n, err := r.Read(b.raw[len(b.raw):cap(b.raw)])
		b.raw = b.raw[:len(b.raw)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	n, err := io.Copy(io.Discard, r)
	b.truncated = n > 0
	return err
}

func (b *body) grow(keep int) bool {
	size := min(max(2*cap(b.raw), firstRoom), keep)
	more := max(size-firstRoom, 0) - b.taken
	if !b.budget.take(more) {
		return false
	}
	b.taken += more
	larger := make([]byte, len(b.raw), size)
	copy(larger, b.raw)
	b.raw = larger
	return true
}

// release gives the memory back; the message must not be used any more.
func (b *body) release() {
	b.budget.give(b.taken)
	b.raw, b.taken = nil, 0
}
