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
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
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
// The file may be rotated, to NAME.1, NAME.2.gz and so on: what was read stays known,
// and all of those are read too, at the start and when there were more than one since
// the last look.
type Log struct {
	name string
	most int

	mu     sync.Mutex // guards all below
	looked time.Time
	file   *os.File // stays open when it is rotated, to be read to its end
	read   int64
	known  map[uint64]bool // hashes: a collision of two of a million would excuse one host in 10¹³
	older  map[uint64]bool // those of before that
}

// Open reads a file of what was sent.
func Open(name string) (*Log, error) { return open(name, maxKnown) }

func open(name string, most int) (*Log, error) {
	l := &Log{name: name, most: most, known: map[uint64]bool{}}
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

// look reads what came since the last time: the rest of the file that is open, and
// where that was rotated or begun anew, those behind it, the oldest first.
func (l *Log) look() error {
	l.looked = time.Now() //nolint:forbidigo // see Has
	current, err := os.Stat(l.name)
	if l.file != nil {
		mine, mineErr := l.file.Stat()
		if mineErr == nil && mine.Size() >= l.read {
			if l.read, err = l.readFrom(l.file, l.read); err != nil {
				return err
			}
			if current == nil || os.SameFile(mine, current) {
				return nil // as ever; or there is none at the moment
			}
		}
	}
	if current == nil {
		return err
	}
	return l.begin()
}

// begin reads the files that were not read, and then the one of the name, which
// stays open.
func (l *Log) begin() error {
	next, err := os.Open(l.name)
	if err != nil {
		return err
	}
	for _, f := range l.rotated() {
		if err := errors.Join(l.readRotated(f), f.Close()); err != nil {
			return errors.Join(err, next.Close())
		}
	}
	if l.file != nil {
		_ = l.file.Close() // it was only read
	}
	l.file = next
	l.read, err = l.readFrom(next, 0)
	return err
}

// Bounds of the files of before that are read: how many, and how much there is in one
// that is compressed.
const (
	maxRotated = 99
	maxInflate = 1 << 30
)

// readRotated reads a file of before, compressed or not. What is left of one that is
// damaged, or is being compressed just now, is not known.
func (l *Log) readRotated(f *os.File) error {
	if !strings.HasSuffix(f.Name(), compressed) {
		_, err := l.readFrom(f, 0)
		return err
	}
	plain, err := gzip.NewReader(f)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	_, _ = l.learnLines(io.LimitReader(plain, maxInflate))
	return nil
}

// compressed is the end of a compressed file's name.
const compressed = ".gz"

// rotated opens the files of before that were not read, the oldest first: those
// behind the one that is open, or all when that is none of them.
func (l *Log) rotated() (files []*os.File) {
	var mine fs.FileInfo
	if l.file != nil {
		mine, _ = l.file.Stat()
	}
	for n := 1; n <= maxRotated; n++ {
		f, err := os.Open(l.name + "." + strconv.Itoa(n))
		if errors.Is(err, fs.ErrNotExist) {
			f, err = os.Open(l.name + "." + strconv.Itoa(n) + compressed)
		}
		if err != nil {
			break
		}
		if info, err := f.Stat(); err != nil || mine != nil && os.SameFile(mine, info) && info.Size() >= l.read {
			_ = f.Close()
			break
		}
		files = append(files, f)
	}
	slices.Reverse(files)
	return files
}

// readFrom reads the whole lines behind an offset, and returns where they end: a
// line that is still being written is read the next time.
func (l *Log) readFrom(f *os.File, offset int64) (int64, error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	n, err := l.learnLines(f)
	return offset + n, err
}

// learnLines reads whole lines, and returns how long they are together.
func (l *Log) learnLines(r io.Reader) (offset int64, err error) {
	in := bufio.NewReaderSize(r, maxLine)
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
