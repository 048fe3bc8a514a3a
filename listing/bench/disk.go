package main

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// holdLimit is what no step of regular work may keep the writer.
const holdLimit = 20 * time.Millisecond

// What the probe of the disk writes at a time, as a step of the expiry does, and how
// long it rests in between, so that it is no load of its own.
const (
	probeSize = 64 << 10
	probeRest = 5 * time.Millisecond
)

// rate is the part of all that was over the limit.
func (t *times) rate() float64 { return float64(t.over) / float64(max(t.all, 1)) }

// probe writes and syncs a file of its own, again and again, until it is stopped:
// what it has to wait, whoever writes to this disk has to wait. The figures are
// complete when stop has returned.
func (b *bench) probe() (t *times, stop func() error, err error) {
	f, err := os.Create(b.path("probe"))
	if err != nil {
		return nil, nil, err
	}
	page := make([]byte, probeSize)
	if _, err := f.Write(page); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	t = &times{}
	halt, done := make(chan struct{}), make(chan error, 1)
	go func() { // ends with stop
		var failed error
		for failed == nil {
			select {
			case <-halt:
				done <- nil
				return
			case <-time.After(probeRest):
			}
			begun := time.Now()
			if _, failed = f.WriteAt(page, 0); failed == nil {
				failed = unix.Fdatasync(int(f.Fd()))
			}
			took := time.Since(begun)
			t.all++
			t.longest = max(t.longest, took)
			if took > holdLimit {
				t.over++
			}
		}
		done <- failed
	}()
	return t, func() error {
		close(halt)
		return errors.Join(<-done, f.Close(), os.Remove(f.Name()))
	}, nil
}
