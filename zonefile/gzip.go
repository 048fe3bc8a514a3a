package zonefile

import (
	"compress/gzip"
	"io"
)

// gzipper compresses lines so that rsync's delta still works: the output is
// many members (RFC 1952 §2.2), and which line ends one follows from the line
// alone. A change so changes the member that it is in, and no other byte.
type gzipper struct {
	to   io.Writer
	gz   *gzip.Writer
	hash uint32 // of the line so far
	open bool   // a member is begun; at the start it is, since no bytes at all are no gzip
}

// A member has so many lines on average.
const memberLines = 4096

func newGzipper(to io.Writer) *gzipper {
	return &gzipper{to: to, gz: gzip.NewWriter(to), hash: fnvStart, open: true}
}

// FNV-1a.
const (
	fnvStart = 2166136261
	fnvPrime = 16777619
)

// Write implements [io.Writer].
func (g *gzipper) Write(p []byte) (int, error) {
	written := 0
	for i, c := range p {
		g.hash = (g.hash ^ uint32(c)) * fnvPrime
		if c != '\n' {
			continue
		}
		ends := g.hash>>12%memberLines == 0 // its lowest bits are poor
		g.hash = fnvStart
		if !ends {
			continue
		}
		if err := g.write(p[written : i+1]); err != nil {
			return written, err
		}
		written = i + 1
		if err := g.endMember(); err != nil {
			return written, err
		}
	}
	if written == len(p) {
		return written, nil
	}
	if err := g.write(p[written:]); err != nil {
		return written, err
	}
	return len(p), nil
}

func (g *gzipper) write(p []byte) error {
	g.open = true
	_, err := g.gz.Write(p)
	return err
}

func (g *gzipper) endMember() error {
	err := g.gz.Close()
	g.gz.Reset(g.to)
	g.open = false
	return err
}

// Close ends the last member.
func (g *gzipper) Close() error {
	if !g.open {
		return nil
	}
	return g.endMember()
}
