package intake

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"backscatter/evidence"
)

// MaxRaw is how many octets of a message [Walk] and [Message] keep.
const MaxRaw = 1 << 20

// maxDepth bounds how deep [Walk] goes into folders.
const maxDepth = 32

// Item is one message of a mailbox.
type Item struct {
	Path      string // as given, or below it; "-" is standard input
	Index     int    // of the message in the file, from 0
	Raw       []byte // without the From_ line of an mbox; the receiver's to keep
	Truncated bool   // Raw is the first [MaxRaw] octets of a longer message

	// Received is when a sensor took the message, zero when that is not known.
	// Walk leaves it zero: the time of a file, the name of a file in a Maildir and
	// the date of a From_ line are those of the last copy as often as of the
	// delivery, and with the time of the import old mail would pass for new. The
	// line that a trusted relay wrote into the message tells better.
	Received time.Time

	// Envelope is what is known of the session by which the message came; of a
	// mailbox, nothing.
	Envelope evidence.Envelope
	Hearsay  bool // it is known by a complainer's word
}

// Walk reads messages from paths, one after the other, in order:
//
//   - a file with one message (RFC 5322), whose name ends in .eml or which does
//     not begin with a From_ line;
//   - a file with many, an mbox of any dialect, which begins with a From_ line;
//   - a Maildir (a folder with cur and new in it): the messages of both, by name,
//     then those of its subfolders, .Name in the way of Maildir++ or not; nothing
//     of tmp, and no file beside them, which are the mail server's own;
//   - any other folder: all files and folders in it, by name;
//   - "-" for standard input, one message or an mbox.
//
// In folders, names that begin with a dot (but Maildir++ subfolders), symbolic
// links and whatever is neither file nor folder are passed over. A path that is
// given is taken as it is. An empty file is an empty mailbox.
//
// What cannot be read, and what is nested deeper than 32 folders, yields an item
// without a message and an error that names it, and the walk goes on. Memory is bounded by one message and the names in
// a folder, however large a file is.
func Walk(paths []string, stdin io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		w := &walker{yield: yield, stdin: stdin}
		for _, path := range paths {
			if !w.path(path) {
				return
			}
		}
	}
}

// Message reads one message from r, which is never taken for many: a From_
// line at its beginning is left out, and others are part of the message. It is
// for the pipe of a mail server that hands over one message with its envelope,
// since some (Exim, and Postfix without the flag ">") put a From_ line in front and
// quote none behind it: whoever wrote the message could otherwise append a second
// one, complete with the trace lines of a trusted relay.
func Message(r io.Reader) (Item, error) {
	item := Item{Path: "-"}
	m := newMbox(r, nil)
	switch err := m.single(&item); {
	case errors.Is(err, io.EOF):
		return item, errors.New("read message: the input is empty")
	case err != nil:
		return item, fmt.Errorf("read message: %w", err)
	}
	return item, nil
}

// walker is one walk. Its methods report whether it goes on.
type walker struct {
	yield func(Item, error) bool
	stdin io.Reader
}

func (w *walker) path(path string) bool {
	if path == "-" {
		return w.standardInput()
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return w.yield(Item{Path: path}, fmt.Errorf("read mail: %w", err))
	case info.IsDir():
		return w.folder(path, maxDepth)
	}
	return w.file(path, 0, strings.HasSuffix(path, ".eml"))
}

func (w *walker) standardInput() bool {
	if w.stdin == nil {
		return w.yield(Item{Path: "-"}, errors.New("read mail: standard input can be read once only"))
	}
	in := w.stdin
	w.stdin = nil
	return w.messages("-", newMbox(in, nil), false)
}

// file reads one file; single says that it is one message for certain.
func (w *walker) file(path string, flags int, single bool) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return w.yield(Item{Path: path}, fmt.Errorf("read mail: %w", err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return w.yield(Item{Path: path}, fmt.Errorf("read mail: %w", err))
	}
	if !info.Mode().IsRegular() { // a named pipe, say
		return w.messages(path, newMbox(f, nil), single)
	}
	return w.messages(path, newMbox(f, f), single)
}

// messages yields all messages of one file or stream.
func (w *walker) messages(path string, m *mbox, single bool) bool {
	for index := 0; ; index++ {
		item := Item{Path: path, Index: index}
		read := m.next
		if single {
			read = m.single
		}
		err := read(&item)
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return w.yield(Item{Path: path, Index: index}, fmt.Errorf("read mail from %s, message %d: %w", path, index, err))
		case !w.yield(item, nil):
			return false
		}
	}
}

// folder reads a Maildir or any other folder, depth levels down at most.
func (w *walker) folder(path string, depth int) bool {
	if depth == 0 {
		return w.yield(Item{Path: path}, fmt.Errorf("read mail from %s: folders are nested too deep, give this one by name", path))
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil && !w.yield(Item{Path: path}, fmt.Errorf("read mail: %w", err)) {
		return false
	}
	if isMaildir(entries) {
		return w.maildir(path, entries, depth)
	}
	for _, e := range entries {
		below := filepath.Join(path, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			if !w.folder(below, depth-1) {
				return false
			}
		case e.Type().IsRegular():
			if !w.file(below, inFolder, strings.HasSuffix(below, ".eml")) {
				return false
			}
		}
	}
	return true
}

// inFolder opens what a listing said is a file, unless it has become a link or
// a pipe since.
const inFolder = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func isMaildir(entries []fs.DirEntry) bool {
	found := 0
	for _, e := range entries {
		if e.IsDir() && (e.Name() == "cur" || e.Name() == "new") {
			found++
		}
	}
	return found == 2
}

// maildir reads the messages of a Maildir, each a file of its own, and the
// Maildirs in it.
func (w *walker) maildir(path string, entries []fs.DirEntry, depth int) bool {
	for _, part := range []string{"cur", "new"} {
		if !w.maildirPart(filepath.Join(path, part)) {
			return false
		}
	}
	for _, e := range entries {
		below := filepath.Join(path, e.Name())
		if !e.IsDir() || e.Name() == "cur" || e.Name() == "new" || e.Name() == "tmp" {
			continue
		}
		inside, err := os.ReadDir(below)
		if err == nil && isMaildir(inside) && !w.folder(below, depth-1) {
			return false
		}
	}
	return true
}

func (w *walker) maildirPart(path string) bool {
	entries, err := os.ReadDir(path)
	if err != nil && !w.yield(Item{Path: path}, fmt.Errorf("read mail: %w", err)) {
		return false
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() {
			continue
		}
		if !w.file(filepath.Join(path, e.Name()), inFolder, true) {
			return false
		}
	}
	return true
}

// bufferOf is the size of the buffer for a file, where one can look ahead with
// ReadAt, and for a stream, where the buffer is what one can look ahead in.
func bufferOf(r io.Reader, at io.ReaderAt) *bufio.Reader {
	if at != nil {
		return bufio.NewReaderSize(r, 64<<10)
	}
	return bufio.NewReaderSize(r, MaxRaw+lookAhead)
}
