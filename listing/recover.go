package listing

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// rebuild reads what was published back from the records and checks it
// against the digest that the last commit left.
func (s *Store) rebuild() (state, *Snapshot, error) {
	var st state
	var published []Entry
	var wide widths
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		if st, err = readState(tx); err != nil {
			return err
		}
		if published, wide, err = visible(tx, st.holes); errors.Is(err, ErrDamaged) {
			wide = st.meta.Widths
			published, err = s.prove(tx, &st.meta, st.holes)
		}
		return err
	})
	if err != nil {
		return st, nil, err
	}
	if err := st.meta.published(published, wide); err != nil {
		return st, nil, err
	}
	snap := NewSnapshot(Build{
		Sequence: st.meta.Sequence, Time: st.meta.Time, NewestEvidence: st.meta.Newest, Decommissioned: st.ended.At,
		Entries: slices.Values(published),
	})
	return st, snap, nil
}

// readState reads all but the records.
func readState(tx *bolt.Tx) (state, error) {
	var st state
	value := tx.Bucket(bucketMeta).Get(keyState)
	if value == nil {
		return st, fmt.Errorf("%w: its state is missing", ErrDamaged)
	}
	var err error
	if st.meta, err = decodeMeta(keyState, value); err != nil {
		return st, fmt.Errorf("its state: %w", err)
	}
	st.wakes = firstWake(tx)
	return st, errors.Join(st.readDecommission(tx), st.readExemptions(tx), st.readReporters(tx), st.readBrakes(tx), strayed(tx))
}

// visible makes the entries to publish out of all records, and counts the
// widths of the operators' prefixes on the way.
func visible(tx *bolt.Tx, holes []netip.Prefix) (published []Entry, wide widths, err error) {
	published, wide, broken := salvage(tx, holes)
	if len(broken) > tellBroken {
		broken = append(broken[:tellBroken], fmt.Errorf("and %d records more", len(broken)-tellBroken))
	}
	return published, wide, errors.Join(broken...)
}

// tellBroken is how many damaged records an error names.
const tellBroken = 10

// salvage does what visible does with the records that can be read, and tells
// what is wrong with each of the others.
func salvage(tx *bolt.Tx, holes []netip.Prefix) (published []Entry, wide widths, broken []error) {
	var listed []Entry
	lex := newLexicon(tx)
	_ = tx.Bucket(bucketRecords).ForEach(func(key, value []byte) error {
		r, err := loadRecord(lex, key, value)
		if err != nil {
			broken = append(broken, err)
			return nil
		}
		if r.listed() {
			listed = append(listed, r.entry())
		}
		if r.Manual != nil && !r.Key.IsHost() {
			wide[spread(r.Key.Prefix())]++
		}
		return nil
	})
	return Visible(listed, holes), wide, broken
}

// published compares what the records make with what was published.
func (m *meta) published(entries []Entry, wide widths) error {
	if digestOf(entries) != m.Digest || uint64(len(entries)) != m.Entries {
		return fmt.Errorf("%w: its records make %d entries that are not the %d that were published; try verify, or restore a backup",
			ErrDamaged, len(entries), m.Entries)
	}
	if wide != m.Widths {
		return fmt.Errorf("%w: operators' prefixes are counted wrongly; try verify --repair", ErrDamaged)
	}
	return nil
}

// still makes sure that the file under an open database is long enough, and that it
// says how long that is. When something was done to it bbolt panics as a transaction
// begins, and keeps its locks: it could not even be closed.
func still(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return precheck(path, info.Size())
}

// begin begins a change, on what the last one left. A damaged meta page has bbolt go
// back by one without a word.
func (s *Store) begin() (*bolt.Tx, error) {
	if err := still(s.path); err != nil {
		return nil, err
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return nil, err
	}
	good := false
	defer func() {
		if !good { // by an error or a panic
			_ = tx.Rollback() // of what wrote nothing it cannot fail
		}
	}()
	tx.DB().AllocSize = int(min(max(tx.Size(), leastGrowth), mostGrowth)) // read by the commit alone
	m, err := decodeMeta(keyState, tx.Bucket(bucketMeta).Get(keyState))
	if err != nil {
		return nil, err
	}
	if m != s.state.meta {
		return nil, fmt.Errorf("%w: it is at commit %d, and %d was the last", ErrDamaged, m.Commits, s.state.meta.Commits)
	}
	good = true
	return tx, nil
}

// broken ends writing after a failed commit: what the disk holds is not known
// until the file was closed, opened and read again. That waits for who reads it, and
// the writer does not; readers of the snapshot notice nothing.
func (w *writer) broken(cause error) {
	w.metrics.commits.WithLabelValues(commitFailed).Inc()
	why := cause.Error()
	w.health.Store(&why)
	w.backoff = min(max(2*w.backoff, retryFirst), retryLimit)
	w.retry.Reset(w.backoff)
	w.log.Error("the store cannot write; the list is served from memory", slog.String("path", w.path),
		slog.Duration("retry_in", w.backoff), slog.Any("err", cause))
	w.dbLock.Lock()
	old := w.db
	w.db = nil
	w.dbLock.Unlock()
	if old == nil {
		return
	}
	closed := make(chan struct{})
	w.former, w.closed = old, closed
	w.background.Go(func() {
		if err := old.Close(); err != nil {
			w.log.Error("close the store after a failed commit", slog.String("path", w.path), slog.Any("err", err))
		}
		close(closed)
	})
}

// errStillRead is why a file is not opened anew yet: who reads it might find that
// changed what he reads.
var errStillRead = errors.New("the file from before is still read, by a backup perhaps")

// reopen opens the file anew, checks that nothing acknowledged is missing, and
// tries a commit. Only then is the store healthy again.
func (w *writer) reopen() {
	err := w.reopenFile()
	if err == nil {
		_, err = w.runAlone(func(c *change) error {
			c.note(AuditEntry{Action: ActionRecover, By: Actor{UID: -1, Name: actorWriter}, Reason: "a commit had failed"})
			return nil
		})
	}
	if err != nil {
		w.broken(err)
		return
	}
	w.renewEndings()
	w.health.Store(nil)
	w.log.Info("the store writes again", slog.String("path", w.path), slog.Uint64("sequence", w.state.meta.Sequence))
}

func (w *writer) reopenFile() error {
	if w.former != nil {
		select {
		case <-w.closed:
		default:
			return errStillRead
		}
		if w.former.spoilt.Load() {
			return errSpoilt
		}
	}
	// What the cache holds may never have reached the disk, and a failed fsync
	// is told only once: read what is really there.
	if err := dropCache(w.path); err != nil {
		return err
	}
	// The name is as little certain, when the store was just compacted.
	if err := syncDir(filepath.Dir(w.path)); err != nil {
		return err
	}
	db, err := openFile(w.path, w.now())
	if err != nil {
		return err
	}
	w.dbLock.Lock()
	w.db = db
	w.dbLock.Unlock()
	if err := w.at(stageReopened); err != nil {
		return err
	}
	st, snap, err := w.rebuild()
	if err == nil && st.meta.Commits < w.state.meta.Commits {
		err = fmt.Errorf("%w: the file went back from commit %d to %d", ErrDamaged, w.state.meta.Commits, st.meta.Commits)
	}
	if err != nil {
		return err
	}
	same := st.meta == w.state.meta
	if !same && st.meta.Commits == w.state.meta.Commits {
		return fmt.Errorf("%w: commit %d is not the one that was made", ErrDamaged, st.meta.Commits)
	}
	if same {
		return nil
	}
	// The failed commit reached the disk after all: whole, and not acknowledged.
	w.setState(st)
	w.swap(snap)
	return nil
}

// aheadError says that the image beside a store is of something that was published
// later than all that the store knows: the store went back, by a disk that lost
// what it had written, or because somebody put an old file there.
type aheadError struct{ image, store uint64 }

func (e *aheadError) Error() string {
	return fmt.Sprintf("%s: it is at serial %d, and its image beside it at %d: what was acknowledged in between is lost; restore a backup, or "+
		"go on from there, under a new serial, with 'verify --repair'", ErrDamaged, SerialOf(e.store), SerialOf(e.image))
}
func (e *aheadError) Unwrap() error { return ErrDamaged }

// imageSequence is that of the image beside a store; 0 when there is none that can
// be read.
func imageSequence(path string) (sequence uint64) {
	data, err := os.ReadFile(imageName(path))
	if err != nil {
		return 0
	}
	_ = guard(func() error {
		img, err := decodeImage(data)
		if err == nil {
			sequence = img.sequence
		}
		return err
	})
	return sequence
}

// aheadOf looks whether the store went back.
func (v *Verdict) aheadOf(path string) {
	if at := imageSequence(path); v.Sequence > 0 && at > v.Sequence {
		ahead := aheadError{image: at, store: v.Sequence}
		v.damage("image", "", repairAhead, ahead.Error())
	}
}

const repairAhead = "goes on under a serial after that: secondaries fetch the whole zone once"
