package listing

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// endingsLimit bounds the table of endings: what ends beside so many others
// may be answered with a TTL that outlives it.
const endingsLimit = 1 << 16

// The table of endings is for answers whose TTL must not outlive the listing. It
// reaches twice as far as the longest TTL, so that it is whole until it is made
// again. A change that makes it wrong makes it anew at once; else it is made now and
// then, beside the writer, which may take long where much ends soon.

// renewal is a table that is made beside the writer.
type renewal struct {
	endings []Ending
	err     error
}

// renewEndings makes the table anew.
func (s *Store) renewEndings() {
	s.renewals++
	s.state.soon = s.endingsReach()
	endings, err := s.findEndings(s.snapshot.Load(), s.state.soon, s.state.brakes)
	s.setEndings(renewal{endings, err})
}

// renewBeside begins to make the table anew. What [change.save] finds to end
// before the new table does, makes it in vain.
func (w *writer) renewBeside() {
	w.state.soon = w.endingsReach()
	w.renewing = w.renewals
	snap, soon, on, done := w.snapshot.Load(), w.state.soon, w.state.brakes, make(chan renewal, 1)
	w.renewed = done
	w.background.Go(func() {
		endings, err := w.findEndings(snap, soon, on)
		done <- renewal{endings, err}
	})
}

// finishRenewal puts in force what was made beside the writer, unless there is a
// newer table by now.
func (w *writer) finishRenewal(r renewal) {
	w.renewed = nil
	if w.renewing == w.renewals {
		w.setEndings(r)
	}
}

func (s *Store) endingsReach() time.Time { return s.now().Add(2 * s.settings.Load().Horizon) }

// setEndings publishes a table.
func (s *Store) setEndings(r renewal) {
	if r.err != nil {
		s.log.Error("find the listings that end soon", slog.Any("err", r.err))
		return
	}
	if slices.Equal(r.endings, s.state.endings) {
		return
	}
	s.state.endings = r.endings
	current := s.snapshot.Load()
	s.swap(current.Next(Next{
		Sequence: current.Sequence(), Time: current.Time(), NewestEvidence: current.NewestEvidence(), Endings: r.endings,
		Decommissioned: current.Decommissioned(),
	}))
}

// findEndings returns what of a snapshot ends soon, sorted, as a snapshot has it.
func (s *Store) findEndings(current *Snapshot, soon time.Time, on brakes) (endings []Ending, err error) {
	if !on.Stalled.IsZero() {
		return nil, nil // nothing ends
	}
	err = s.view(func(tx *bolt.Tx, _ time.Time) (err error) {
		endings, err = endingsUntil(tx, current, soon)
		return err
	})
	slices.SortFunc(endings, compareEndings)
	return endings, err
}

func compareEndings(a, b Ending) int { return ComparePrefix(a.Prefix, b.Prefix) }

func endingsUntil(tx *bolt.Tx, current *Snapshot, soon time.Time) (endings []Ending, err error) {
	cursor, lex := tx.Bucket(bucketExpiry).Cursor(), newLexicon(tx)
	for key, _ := cursor.First(); key != nil && len(endings) < endingsLimit; key, _ = cursor.Next() {
		w, ok := wakeOf(key)
		if !ok {
			continue
		}
		if w.at.After(soon) {
			break
		}
		r, err := indexed(tx, lex, w)
		if errors.Is(err, ErrDamaged) {
			continue // told when its time has come
		}
		if err != nil {
			return nil, err
		}
		if r == nil || r.until().IsZero() || r.until().After(soon) {
			continue
		}
		for e := range current.Within(r.Key.Prefix()) {
			endings = append(endings, Ending{Prefix: e.Prefix, Until: r.until()})
		}
	}
	return endings, nil
}
