package zonefile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"time"

	"backscatter/listing"
)

// Check is what the publisher reads its files back with.
func Check(r io.Reader, f Format, z *Zone, s *listing.Snapshot) error {
	return CheckList(r, f, List{Zone: z, Snapshot: s})
}

// CheckList is the same for a list that is more than its snapshot.
func CheckList(r io.Reader, f Format, l List) error {
	_, err := l.check(r, f)
	return err
}

// ReadWideAtMost is [ReadWide] with another bound of what is collected. It tells also how
// much was, in the end or before it was too much.
func ReadWideAtMost(r io.Reader, f Format, limit int) (items []Item, collected int, err error) {
	in := &reader{lines: newLines(r), key: exemptable, limit: limit}
	items, problems, err := read(in, f)
	if err == nil && len(problems) > 0 {
		err = errors.New(problems[0].String())
	}
	return items, in.size(), err
}

// NewGzipper is what compressed copies are written with.
var NewGzipper = newGzipper

// StopBefore lets fn fail before any step of the next publications.
func (p *Publisher) StopBefore(fn func(step string) error) { p.step = fn }

// Turn is a turn of Run.
func (f *Follower) Turn(now time.Time) { f.turn(now) }

// HoldsMemory tells whether the next turn gives memory back.
func (f *Follower) HoldsMemory() bool { return f.loaded }

// ReadCopied returns what a mirror takes of lines, which it gets in blocks of a size,
// up to the first that it does not take.
func ReadCopied(lines []byte, block int) ([]listing.Entry, error) {
	r := &copyReader{builder: listing.NewBuilder(), hasURL: true}
	body := &ahead{in: bytes.NewReader(lines), sum: sha256.New()}
	var err error
	for text := range body.blocks(block) {
		if err == nil {
			err = r.lines(text)
		}
	}
	r.handOn()
	return slices.Collect(r.builder.Snapshot(listing.Build{}).All()), errors.Join(err, body.err)
}

// ReadAhead returns the blocks of what is read, their sum, and why they are not all.
func ReadAhead(in io.Reader, size int) (blocks [][]byte, sum [sha256.Size]byte, err error) {
	a := &ahead{in: in, sum: sha256.New()}
	for block := range a.blocks(size) {
		blocks = append(blocks, bytes.Clone(block))
	}
	return blocks, [sha256.Size]byte(a.sum.Sum(nil)), a.err
}
