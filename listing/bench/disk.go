package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// holdLimit is what no step of regular work may keep the writer.
const holdLimit = 20 * time.Millisecond

// What the probe of the disk writes at a time, as a step of the expiry does, and how
// long it rests in between, so that it is no load of its own.
const (
	probeSize = 64 << 10
	probeRest = 2 * time.Millisecond
)

// span is a time in which something was under way.
type span struct{ From, To time.Time }

func (s span) length() time.Duration { return s.To.Sub(s.From) }

func (s span) meets(other span) bool { return s.From.Before(other.To) && other.From.Before(s.To) }

// probed is what a probe found: how often it wrote, and what took over the limit.
type probed struct {
	All     int
	Longest time.Duration
	Slow    []span
}

// rate is the part that was over the limit.
func (p *probed) rate() float64 { return float64(len(p.Slow)) / float64(max(p.All, 1)) }

// slowAt reports whether the disk kept the probe over the limit at the same time.
func (p *probed) slowAt(when span) bool {
	for _, s := range p.Slow {
		if s.meets(when) {
			return true
		}
	}
	return false
}

// probe has another process write and sync a file of its own beside the store, again
// and again, until stop: what it has to wait, whoever writes to this disk has to wait.
func (b *bench) probe(ctx context.Context) (stop func() (probed, error), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "probe", b.path("probe"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() (found probed, err error) {
		err = in.Close()
		text, unread := io.ReadAll(out)
		if err = errors.Join(err, unread, cmd.Wait()); err == nil {
			err = json.Unmarshal(text, &found)
		}
		return found, err
	}, nil
}

// probeDisk is the other process. It ends with its standard input.
func probeDisk(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	page := make([]byte, probeSize)
	if _, err := f.Write(page); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() { // ends with the standard input
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	var found probed
	for {
		select {
		case <-over:
			text, err := json.Marshal(found)
			if err == nil {
				_, err = fmt.Println(string(text))
			}
			return err
		case <-time.After(probeRest):
		}
		now := span{From: time.Now()}
		if _, err := f.WriteAt(page, 0); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		now.To = time.Now()
		found.All++
		found.Longest = max(found.Longest, now.length())
		if now.length() > holdLimit {
			found.Slow = append(found.Slow, now)
		}
	}
}
