// Package sent knows what a mail server sent, from a file to which the server
// writes it: the Message-ID of each message, and each envelope sender that is its
// own (VERP), one a line. What answers one of them answers a message that was
// really sent.
//
// The package reads the file and knows nothing of reports. A file that cannot be
// read proves nothing: what it lacks shows nothing either (see [Log.Has]).
package sent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Bounds of what is remembered.
const (
	maxKnown = 2_000_000 // identities; with more the older half goes
	maxLine  = 4096
	lookPace = time.Second // between two looks at the file
)

// Log is a file of what was sent. It is safe for concurrent use.
//
// The file may be rotated: what was read stays known, and at the start the file
// of before, NAME.1, is read too.
type Log struct {
	name string
	most int

	mu     sync.Mutex // guards all below
	looked time.Time
	file   fs.FileInfo
	read   int64
	known  map[uint64]bool // hashes: a collision of two of a million would excuse one host in 10¹³
	older  map[uint64]bool // those of before that
}

// Open reads a file of what was sent.
func Open(name string) (*Log, error) { return open(name, maxKnown) }

func open(name string, most int) (*Log, error) {
	l := &Log{name: name, most: most, known: map[uint64]bool{}}
	if _, err := l.readFrom(name+".1", 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what was sent: %w", err)
	}
	l.file = nil
	if err := l.look(); err != nil {
		return nil, fmt.Errorf("read what was sent: %w", err)
	}
	return l, nil
}

// Has reports whether the file has an identity: a Message-ID or an envelope
// sender, with angle brackets or without, in whatever case. That it has not shows
// nothing: the line may be late, or of a file that is gone.
func (l *Log) Has(id string) bool {
	hash, ok := hashOf(id)
	if !ok {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.looked) > lookPace { //nolint:forbidigo // how often the file is looked at decides nothing
		_ = l.look() // what was read before is still known
	}
	return l.known[hash] || l.older[hash]
}

// look reads what came to the file since the last time.
func (l *Log) look() error {
	l.looked = time.Now() //nolint:forbidigo // see Has
	info, err := os.Stat(l.name)
	if err != nil {
		return err
	}
	if l.file == nil || !os.SameFile(l.file, info) || info.Size() < l.read {
		l.read = 0 // another one, or begun anew
	}
	l.file = info
	if info.Size() == l.read {
		return nil
	}
	l.read, err = l.readFrom(l.name, l.read)
	return err
}

// readFrom reads the whole lines behind an offset, and returns where they end: a
// line that is still being written is read the next time.
func (l *Log) readFrom(name string, offset int64) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return offset, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	in := bufio.NewReaderSize(f, maxLine)
	for long := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			offset += int64(len(line))
			continue
		case errors.Is(err, io.EOF):
			return offset, nil
		case err != nil:
			return offset, err
		}
		offset += int64(len(line))
		if hash, ok := hashOf(string(line)); ok && !long {
			l.learn(hash)
		}
		long = false
	}
}

func (l *Log) learn(hash uint64) {
	if len(l.known) == l.most/2 {
		l.older, l.known = l.known, make(map[uint64]bool, l.most/2)
	}
	l.known[hash] = true
}

// hashOf hashes an identity, which has an "@" and no space.
func hashOf(id string) (uint64, bool) {
	id = strings.TrimSpace(id)
	if n := len(id); n >= 2 && id[0] == '<' && id[n-1] == '>' {
		id = id[1 : n-1]
	}
	if !strings.Contains(id, "@") || strings.ContainsAny(id, " \t") {
		return 0, false
	}
	return xxhash.Sum64String(strings.ToLower(id)), true
}
