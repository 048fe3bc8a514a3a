package zonefile

import (
	"bufio"
	"bytes"
	"io"

	"backscatter/listing"
)

// Check is what the publisher reads its files back with.
func Check(r io.Reader, f Format, z *Zone, s *listing.Snapshot) error {
	return List{Zone: z, Snapshot: s}.check(r, f)
}

// CheckList is the same for a list that is more than its snapshot.
func CheckList(r io.Reader, f Format, l List) error { return l.check(r, f) }

// NewGzipper is what compressed copies are written with.
var NewGzipper = newGzipper

// StopBefore lets fn fail before any step of the next publications.
func (p *Publisher) StopBefore(fn func(step string) error) { p.step = fn }

// ReadCopied returns what a mirror takes of lines, up to the first that it does
// not.
func ReadCopied(lines []byte) (entries []listing.Entry) {
	r := &copyReader{hasURL: true}
	_, _ = r.lines(bufio.NewReaderSize(bytes.NewReader(lines), copyBuffer), func(e listing.Entry) bool {
		entries = append(entries, e)
		return true
	})
	return entries
}
