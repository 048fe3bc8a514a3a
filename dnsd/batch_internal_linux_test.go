package dnsd

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A queue that does not move costs a batch one wait, and not one for each answer.
func TestFullQueueCostsOneWait(t *testing.T) {
	t.Parallel()
	const patience = time.Second // of the socket
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	for range 1 << 16 { // until it is full
		if err = unix.Sendto(pair[0], []byte("full"), unix.MSG_DONTWAIT, nil); err != nil {
			break
		}
	}
	if err != unix.EAGAIN {
		t.Fatalf("the queue is never full: %v", err)
	}
	b := newBatch(false)
	for i := range batchSize {
		b.vectors[i].SetLen(4)
		b.out[i].Hdr = b.in[i].Hdr
		b.out[i].Hdr.Name = nil // whom the pair leads to
	}
	counts := &tally{}
	began := time.Now()
	b.send(pair[0], batchSize, counts)
	if took := time.Since(began); took > batchSize*patience/2 {
		t.Errorf("it took %s", took)
	}
	if n := counts.dropped[notSent].Load(); n != batchSize {
		t.Errorf("%d of %d answers are counted as not sent", n, batchSize)
	}
}
