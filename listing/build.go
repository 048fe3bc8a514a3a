package listing

import (
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// Build is what a snapshot is made from.
type Build struct {
	Sequence       uint64
	Time           time.Time       // of the commit that made the sequence
	NewestEvidence time.Time       // zero: none
	Entries        iter.Seq[Entry] // in any order, each prefix once; nil: none
	Endings        []Ending        // in any order; kept, so not to be changed any more
	Decommissioned time.Time       // zero: the list is in use; else it has no entries
}

// NewSnapshot builds a snapshot from nothing.
func NewSnapshot(b Build) *Snapshot { return NewBuilder().Snapshot(b) }

// Builder makes a snapshot of what it is given bit by bit. It belongs to one
// goroutine, and makes one snapshot.
type Builder struct {
	draft *draft
	parts [256][]part // what came by AddHosts, by /8
}

// part is some hosts of one /8 that tell the same.
type part struct {
	hosts []uint32
	ref   uint32
}

// NewBuilder returns a builder that was given nothing.
func NewBuilder() *Builder {
	empty := &Snapshot{nets: new(bart.Table[netRef]), contents: newContents()}
	b := &Builder{draft: empty.draft()}
	b.draft.own = true
	return b
}

// Add takes an entry, each prefix once.
func (b *Builder) Add(e Entry) {
	b.draft.add(e)
	if len(b.draft.edits) >= maxEdits {
		b.draft.flush()
	}
}

// AddHosts takes IPv4 hosts, as numbers and in any order, that all tell what the
// entry does, whatever its prefix. Like those of Add, each comes once. The hosts are
// kept where they are, and must not be changed any more: so a list of millions takes
// four bytes of each until the snapshot is made, on all processors.
func (b *Builder) AddHosts(told Entry, hosts []uint32) {
	ref := b.draft.contents.ref(content{told.Classes, told.Class, told.Summary})
	for len(hosts) > 0 {
		page, n := hosts[0]>>24, 1
		for n < len(hosts) && hosts[n]>>24 == page {
			n++
		}
		b.parts[page] = append(b.parts[page], part{hosts[:n], ref})
		hosts = hosts[n:]
	}
}

// Snapshot returns the snapshot of what was given, and of the entries of from.
func (b *Builder) Snapshot(from Build) *Snapshot {
	if from.Entries != nil {
		for e := range from.Entries {
			b.Add(e)
		}
	}
	b.draft.flush()
	b.draft.fill(&b.parts)
	return b.draft.finish(Next{
		Sequence: from.Sequence, Time: from.Time, NewestEvidence: from.NewestEvidence, Endings: from.Endings, Decommissioned: from.Decommissioned,
	})
}

// fill puts in the hosts of all parts. A /8 is not touched by what is done to
// another, so each processor takes the next that is left.
func (d *draft) fill(parts *[256][]part) {
	var (
		next    atomic.Int32
		workers sync.WaitGroup
		mu      sync.Mutex // guards d.counts and d.hosts.n
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			var s sorter
			used := make([]int, len(d.contents.table)) // how often each number is
			for i := next.Add(1) - 1; int(i) < len(parts); i = next.Add(1) - 1 {
				if len(parts[i]) > 0 {
					d.hosts.applyPage(s.sorted(parts[i]), func(ref uint32, delta int) { used[ref] += delta })
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for ref, n := range used {
				d.note(uint32(ref), n)
				d.hosts.n += n
			}
		})
	}
	workers.Wait()
}

// sorter brings the hosts of one /8 after the other into order. It counts them by
// halves of what differs, the lower half first, and so compares none.
type sorter struct {
	lower, upper    [halfMask + 1]int // how many there are, and then where the next of them goes
	byLower, byBoth []edit
}

const halfMask = 1<<12 - 1

// sorted returns the hosts as edits, each once. They are valid until the next call.
func (s *sorter) sorted(parts []part) []edit {
	s.lower, s.upper = [halfMask + 1]int{}, [halfMask + 1]int{}
	n := 0
	for _, p := range parts {
		n += len(p.hosts)
		for _, host := range p.hosts {
			s.lower[host&halfMask]++
			s.upper[host>>12&halfMask]++
		}
	}
	toPlaces(&s.lower)
	toPlaces(&s.upper)
	s.byLower, s.byBoth = slices.Grow(s.byLower[:0], n)[:n], slices.Grow(s.byBoth[:0], n)[:n]
	for _, p := range parts {
		for _, host := range p.hosts {
			place := &s.lower[host&halfMask]
			s.byLower[*place] = newEdit(host, p.ref)
			*place++
		}
	}
	for _, e := range s.byLower {
		place := &s.upper[e.host()>>12&halfMask]
		s.byBoth[*place] = e
		*place++
	}
	return slices.CompactFunc(s.byBoth, sameHost)
}

// toPlaces makes of how many there are of each where the first of them goes.
func toPlaces(counts *[halfMask + 1]int) {
	sum := 0
	for i, n := range counts {
		counts[i] = sum
		sum += n
	}
}
