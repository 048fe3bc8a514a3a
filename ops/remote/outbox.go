package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"

	"backscatter/evidence/durable"
)

// ErrFull says that a report was not taken, as the queue holds all that it may.
var ErrFull = errors.New("the queue is full")

// Outbox is the queue of one reporter for one list, in a folder on disk. Several
// processes may put reports in at a time, and one of them sends. What [Outbox.Add]
// took is on disk, across a crash of the process or of the machine, until the
// list has answered for it. A crash between the two sends it twice, which counts
// once.
//
// A report is a file in new, whose name begins with the time and ends with its
// size. It is written in tmp first, as in a Maildir. What the list will never
// take is in refused, and waits for a person.
type Outbox struct {
	dir    string
	most   int64
	number atomic.Uint64 // of reports put in by this process, so that names differ
}

// Bounds of the queue.
const (
	maxQueued    = 200_000        // reports
	leftOver     = 36 * time.Hour // after which a file in tmp is nobody's
	firstBackoff = time.Minute    // after the first failure; doubled with each further one
	maxBackoff   = time.Hour
)

// OpenOutbox opens the queue in a folder that may hold so many octets, and makes
// it if it is not there.
func OpenOutbox(dir string, most int64) (*Outbox, error) {
	for _, sub := range []string{"tmp", "new", "refused"} {
		if err := durable.Folder(filepath.Join(dir, sub)); err != nil {
			return nil, fmt.Errorf("open the queue: %w", err)
		}
	}
	return &Outbox{dir: dir, most: most}, nil
}

// Add puts reports in, which are lines as [intake.Record] makes them, all or
// none, and returns their names.
func (o *Outbox) Add(lines ...[]byte) (names []string, err error) {
	var size int64
	for _, line := range lines {
		size += int64(len(line))
	}
	waiting, held, err := o.waiting()
	switch {
	case err != nil:
		return nil, fmt.Errorf("queue a report: %w", err)
	case held+size > o.most || len(waiting)+len(lines) > maxQueued:
		return nil, fmt.Errorf("queue a report: %s holds %d in %d octets: %w", o.dir, len(waiting), held, ErrFull)
	}
	defer func() {
		if err != nil {
			for _, name := range names {
				_ = errors.Join(os.Remove(o.path("tmp", name)), os.Remove(o.path("new", name))) // what cannot be removed is sent, which does no harm
			}
			names, err = nil, fmt.Errorf("queue a report: %w", err)
		}
	}()
	for _, line := range lines {
		name := fmt.Sprintf("%020d-%d-%d.%d", time.Now().UnixNano(), os.Getpid(), o.number.Add(1), len(line))
		names = append(names, name)
		if err := durable.Write(o.path("tmp", name), 0o600, line); err != nil {
			return names, err
		}
	}
	for _, name := range names {
		if err := os.Rename(o.path("tmp", name), o.path("new", name)); err != nil {
			return names, err
		}
	}
	return names, durable.Sync(filepath.Join(o.dir, "new"))
}

func (o *Outbox) path(sub, name string) string { return filepath.Join(o.dir, sub, name) }

// queued is a report in the queue, by the name of its file.
type queued struct {
	name string
	size int64
}

// waiting returns what waits, the oldest first, and how many octets that is. The
// names tell, so that a long queue need not be looked at file by file.
func (o *Outbox) waiting() (out []queued, held int64, err error) {
	entries, err := os.ReadDir(filepath.Join(o.dir, "new")) // sorted, so by time
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		_, text, _ := strings.Cut(e.Name(), ".")
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil || size < 0 {
			continue // nothing of ours
		}
		out = append(out, queued{e.Name(), size})
		held += size
	}
	return out, held, nil
}

// Waiting returns how many reports wait, and how many octets they take.
func (o *Outbox) Waiting() (reports int, octets int64, err error) {
	waiting, held, err := o.waiting()
	return len(waiting), held, err
}

// Sent tells what became of a report: the answer of the list, or that it will
// never take it.
type Sent struct {
	Name    string // as [Outbox.Add] told it
	Answer  Answer
	Refused bool // put aside
}

// Flush sends what waits, the oldest first, until nothing is left or the list
// does not take any. Each is told as soon as it is out of the queue. Without force
// nothing is tried before the time that an earlier failure left to the list.
//
// The error says why reports are left. Where another process is sending, it sends
// these, too, and there is no error.
func (o *Outbox) Flush(ctx context.Context, s *Sender, force bool, each func(Sent)) error {
	for {
		release, got, err := lockFile(filepath.Join(o.dir, "lock"))
		if err != nil {
			return fmt.Errorf("send the queue: %w", err)
		}
		if !got {
			return nil
		}
		err = o.flush(ctx, s, force, each)
		if err := errors.Join(err, release()); err != nil {
			return err
		}
		// Who put one in and found the lock held goes away: it is for us to send.
		if waiting, _, err := o.waiting(); err != nil || len(waiting) == 0 {
			return err
		}
	}
}

func (o *Outbox) flush(ctx context.Context, s *Sender, force bool, each func(Sent)) error {
	o.sweep()
	past := o.pace()
	if wait := time.Until(past.NotBefore); wait > 0 && !force {
		return &WaitError{Until: past.NotBefore, Why: past.Why}
	}
	for {
		waiting, _, err := o.waiting()
		if err != nil || len(waiting) == 0 {
			return errors.Join(err, o.setPace(pace{}))
		}
		batch := firstBatch(waiting, s.Limits)
		if err := o.send(ctx, s, batch, each); err != nil {
			if ctx.Err() != nil {
				return err // nobody failed but us
			}
			return errors.Join(err, o.setPace(past.after(err, time.Now())))
		}
	}
}

// firstBatch returns the reports that go into the next request: one at least.
func firstBatch(waiting []queued, l Limits) []queued {
	n, size := 0, int64(0)
	for n < len(waiting) && n < l.Reports {
		size += waiting[n].size + 1
		if n > 0 && size > int64(l.Body) {
			break
		}
		n++
	}
	return waiting[:n]
}

// send sends a batch and takes out of the queue what was answered.
func (o *Outbox) send(ctx context.Context, s *Sender, batch []queued, each func(Sent)) error {
	var body []byte
	present := batch[:0:0]
	for _, q := range batch {
		line, err := os.ReadFile(o.path("new", q.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the queue: %w", err)
		}
		present = append(present, q)
		body = append(append(body, line...), '\n')
	}
	if len(present) == 0 {
		return nil
	}
	answers, err := s.Send(ctx, body, len(present))
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.tooLarge() {
		if len(present) > 1 {
			half := len(present) / 2
			return errors.Join(o.send(ctx, s, present[:half], each), o.send(ctx, s, present[half:], each))
		}
		if err := os.Rename(o.path("new", present[0].name), o.path("refused", present[0].name)); err != nil {
			return err
		}
		each(Sent{Name: present[0].name, Refused: true})
		return nil
	}
	if err != nil {
		return err
	}
	for i, q := range present {
		if err := os.Remove(o.path("new", q.name)); err != nil {
			return fmt.Errorf("take a report out of the queue: %w", err)
		}
		each(Sent{Name: q.name, Answer: answers[i]})
	}
	return nil
}

// sweep removes what a process left behind that ended in the middle of Add. What
// cannot be removed is in nobody's way.
func (o *Outbox) sweep() {
	entries, _ := os.ReadDir(filepath.Join(o.dir, "tmp"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > leftOver {
			_ = os.Remove(o.path("tmp", e.Name()))
		}
	}
}

// WaitError says that the list is left alone for a while, since it failed before.
type WaitError struct {
	Until time.Time
	Why   string
}

// Error tells until when, and why.
func (e *WaitError) Error() string {
	return fmt.Sprintf("not tried before %s: %s", e.Until.UTC().Format(time.RFC3339), e.Why)
}

// pace is how often the list failed, and how long it is left alone for that.
type pace struct {
	Failures  int       `json:"failures"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Why       string    `json:"why,omitempty"`
}

// after returns the pace after one more failure.
func (p pace) after(err error, now time.Time) pace {
	wait := firstBackoff << min(p.Failures, 10)
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.RetryAfter > 0 {
		wait = refused.RetryAfter
	}
	return pace{Failures: p.Failures + 1, NotBefore: now.Add(min(wait, maxBackoff)), Why: err.Error()}
}

const paceName = "pace.json"

// pace reads the pace. Without one, or with one that is damaged or was made by a
// clock that is set back, the list is tried.
func (o *Outbox) pace() pace {
	var p pace
	text, err := os.ReadFile(filepath.Join(o.dir, paceName))
	if err != nil || json.Unmarshal(text, &p) != nil || time.Until(p.NotBefore) > maxBackoff {
		return pace{}
	}
	return p
}

func (o *Outbox) setPace(p pace) error {
	name := filepath.Join(o.dir, paceName)
	if p.Failures == 0 {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return renameio.WriteFile(name, text, 0o600)
}
