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
	maxKnown   = 2_000_000 // identities; with more the older half goes
	maxLine    = 4096
	maxRotated = 99
	maxRead    = 256 << 20   // bytes of all files of before together, and of the first one at the start
	lookPace   = time.Second // between two looks at the file
)

// Log is a file of what was sent. It is safe for concurrent use.
//
// The file may be rotated, to NAME.1, NAME.2.gz and so on: what was read stays known,
// and those are read too, at the start and when there were more than one since the
// last look, the newest first until there is no room for more.
type Log struct {
	name   string
	most   int
	budget int64

	mu     sync.Mutex // guards all below
	looked time.Time
	file   *os.File // stays open when it is rotated, to be read to its end
	read   int64
	known  map[uint64]bool // hashes: a collision of two of a million would excuse one host in 10¹³
	older  map[uint64]bool // those of before that
}

// Open reads a file of what was sent.
func Open(name string) (*Log, error) { return open(name, maxKnown, maxRead) }

func open(name string, most int, budget int64) (*Log, error) {
	l := &Log{name: name, most: most, budget: budget, known: map[uint64]bool{}}
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
// stays open. A file of before that cannot be opened is told, and the others are
// read.
func (l *Log) begin() error {
	next, err := os.Open(l.name)
	if err != nil {
		return err
	}
	rotatedErr := l.learnRotated()
	if l.file != nil {
		_ = l.file.Close() // it was only read
	}
	l.file, l.read = next, 0
	if info, err := next.Stat(); err == nil {
		l.read = max(0, info.Size()-l.budget)
	}
	l.read, err = l.readFrom(next, l.read)
	return errors.Join(rotatedErr, err)
}

// learnRotated reads the files of before that were not read: the newest first, so
// that the budget and the room are for them, and learns what they have the oldest
// first.
func (l *Log) learnRotated() error {
	files, err := l.rotated()
	budget := &io.LimitedReader{N: l.budget}
	var found [][]uint64
	for room := l.most; len(files) > 0; files = files[1:] {
		if room > 0 && budget.N > 0 {
			hashes := lastLines(files[0], budget, room)
			found, room = append(found, hashes), room-len(hashes)
		}
		_ = files[0].Close() // it was only read
	}
	for _, hashes := range slices.Backward(found) {
		for _, hash := range hashes {
			l.learn(hash)
		}
	}
	return err
}

// lastLines returns what the last lines of a file of before have, compressed or not,
// as far as the budget goes. What is left of one that is damaged, or is being
// compressed just now, is not known.
func lastLines(f *os.File, budget *io.LimitedReader, room int) (hashes []uint64) {
	budget.R = f
	if strings.HasSuffix(f.Name(), compressed) {
		plain, err := gzip.NewReader(f)
		if err != nil {
			return nil
		}
		budget.R = plain
	} else if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-budget.N), io.SeekStart)
	}
	_, _ = hashLines(budget, func(hash uint64) {
		if len(hashes) == 2*room {
			hashes = append(hashes[:0], hashes[room:]...)
		}
		hashes = append(hashes, hash)
	})
	return hashes[max(0, len(hashes)-room):]
}

// compressed is the end of a compressed file's name.
const compressed = ".gz"

// rotated opens the files of before that were not read, the newest first: those
// behind the one that is open, or all when that is none of them. While they are
// renamed, one number is missing for a moment.
func (l *Log) rotated() (files []*os.File, err error) {
	var mine fs.FileInfo
	if l.file != nil {
		mine, _ = l.file.Stat()
	}
	missing := 0
	for n := 1; n <= maxRotated && missing < 2; n++ {
		f, openErr := os.Open(l.name + "." + strconv.Itoa(n))
		if errors.Is(openErr, fs.ErrNotExist) {
			f, openErr = os.Open(l.name + "." + strconv.Itoa(n) + compressed)
		}
		switch {
		case errors.Is(openErr, fs.ErrNotExist):
			missing++
			continue
		case openErr != nil:
			err = errors.Join(err, openErr)
			continue
		}
		missing = 0
		if info, statErr := f.Stat(); statErr != nil || mine != nil && os.SameFile(mine, info) && info.Size() >= l.read {
			_ = f.Close()
			break
		}
		files = append(files, f)
	}
	return files, err
}

// readFrom reads the whole lines behind an offset, and returns where they end: a
// line that is still being written is read the next time.
func (l *Log) readFrom(f *os.File, offset int64) (int64, error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	n, err := hashLines(f, l.learn)
	return offset + n, err
}

// hashLines reads whole lines, hands over the hash of each that is an identity, and
// returns how long they are together.
func hashLines(r io.Reader, found func(hash uint64)) (offset int64, err error) {
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
			found(hash)
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
