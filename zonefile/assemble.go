package zonefile

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"backscatter/listing"
)

// Bounds of what a primary may send: it is trusted to know the list, and not to be
// without faults.
const (
	maxWaiting = 1 << 16 // names of which one of two records is there
	maxOpen    = 1 << 12 // prefixes of which some names are missing
)

// Assemble makes a copy of a zone out of its records (AXFR, RFC 5936), in any
// order, the SOA once. All of them must be just those that this package would make
// of the copy: so it answers what the primary does, and has the test points.
// Forbidden tells why something must not be listed.
func Assemble(zone string, records iter.Seq2[Record, error], forbidden func(netip.Prefix) error) (*Copy, error) {
	a := assembly{
		head: newHead(zone), forbidden: forbidden,
		waiting: map[netip.Prefix]said{}, open: map[netip.Prefix]*unfinished{},
	}
	snapshot := listing.NewSnapshot(listing.Build{Entries: func(yield func(listing.Entry) bool) {
		for r, err := range records {
			goOn := err == nil
			if goOn {
				goOn, err = a.record(&r, yield)
			}
			if err != nil {
				a.err = err
			}
			if !goOn {
				return
			}
		}
		a.err = a.finish()
	}})
	if a.err != nil {
		return nil, a.err
	}
	if snapshot.Len() != a.n {
		return nil, fmt.Errorf("%d entries are there twice", a.n-snapshot.Len())
	}
	var former netip.Prefix
	for e := range snapshot.All() {
		if former.IsValid() && covers(former, e.Prefix) {
			return nil, fmt.Errorf("%s lies in %s, which is listed too", e.Prefix, former)
		}
		former = e.Prefix
	}
	return a.head.copy(snapshot, &a.wording, a.ttl)
}

// assembly is a copy that is being made.
type assembly struct {
	head      *head
	wording   wording
	forbidden func(netip.Prefix) error
	err       error
	n         int    // entries
	ttl       uint32 // of the entries; 0: there was none yet

	piece   netip.Prefix          // of the record before
	said    said                  // about it
	waiting map[netip.Prefix]said // other names of which a record is missing
	open    map[netip.Prefix]*unfinished
}

// unfinished is an entry of several names, some of which are missing.
type unfinished struct {
	entry   listing.Entry
	missing map[netip.Prefix]bool
}

// record takes in one record, and yields the entry that it completes.
func (a *assembly) record(r *Record, yield func(listing.Entry) bool) (bool, error) {
	piece, ok := r.entryPiece()
	if !ok {
		return true, a.head.add(r)
	}
	if a.ttl == 0 {
		a.ttl = r.TTL
	}
	if r.TTL != a.ttl {
		return false, fmt.Errorf("%s: has a TTL of %d, others of %d", piece, r.TTL, a.ttl)
	}
	if piece != a.piece {
		if err := a.wait(piece); err != nil {
			return false, err
		}
	}
	if err := a.said.add(r); err != nil {
		return false, fmt.Errorf("%s: %w", piece, err)
	}
	if !a.said.whole() {
		return true, nil
	}
	e, done, err := a.complete()
	if err != nil || !done {
		return err == nil, err
	}
	if a.n++; a.n > maxItems {
		return false, fmt.Errorf("more than %d entries", maxItems)
	}
	return yield(e), nil
}

// wait goes on to another name. The records of one mostly follow each other.
func (a *assembly) wait(piece netip.Prefix) error {
	if !a.said.none() {
		if len(a.waiting) >= maxWaiting {
			return fmt.Errorf("%d names have one record only", maxWaiting)
		}
		a.waiting[a.piece] = a.said
	}
	a.piece, a.said = piece, a.waiting[piece]
	delete(a.waiting, piece)
	return nil
}

// complete returns the entry of the name, if all its names were there.
func (a *assembly) complete() (e listing.Entry, done bool, err error) {
	e, err = a.wording.entry(a.piece, a.said)
	if err == nil {
		err = a.forbidden(e.Prefix)
	}
	if err != nil {
		return e, false, err
	}
	piece := a.piece
	a.piece, a.said = netip.Prefix{}, said{}
	if isHost4(e.Prefix) && e.Prefix == piece {
		return e, true, nil
	}
	u := a.open[e.Prefix]
	if u == nil {
		if len(a.open) >= maxOpen {
			return e, false, fmt.Errorf("%d prefixes have not all their names", maxOpen)
		}
		u = &unfinished{entry: e, missing: map[netip.Prefix]bool{}}
		for p := range pieces(e.Prefix) {
			u.missing[p] = true
		}
		a.open[e.Prefix] = u
	}
	if u.entry != e || !u.missing[piece] {
		return e, false, fmt.Errorf("%s: is no name of %s, or one of several that do not say the same", piece, e.Prefix)
	}
	if delete(u.missing, piece); len(u.missing) > 0 {
		return e, false, nil
	}
	delete(a.open, e.Prefix)
	return e, true, nil
}

// finish wants all to be complete.
func (a *assembly) finish() error {
	if a.err != nil {
		return a.err
	}
	if !a.said.none() {
		a.waiting[a.piece] = a.said
	}
	for piece := range a.waiting {
		return fmt.Errorf("%s: has not both an address and a text", piece)
	}
	for prefix, u := range a.open {
		return fmt.Errorf("%s: %d of its names are missing", prefix, len(u.missing))
	}
	return nil
}

// ErrMismatch is wrapped by the error about an incremental transfer that does not
// fit to what there is: the whole zone is to be taken.
var ErrMismatch = errors.New("it does not fit")

// Edit is a record that an incremental transfer brings or takes away.
type Edit struct {
	Record

	Removed bool
}

// maxPatched is how many names may change at once; beyond it the whole zone is
// cheaper.
const maxPatched = 1 << 20

// Patch makes the copy that follows (IXFR, RFC 1995). It leaves this one as it is.
// Of what changes it wants what [Assemble] wants of everything.
func (c *Copy) Patch(edits iter.Seq2[Edit, error], forbidden func(netip.Prefix) error) (*Copy, error) {
	z := c.Zones.All()[0]
	p := patch{
		head: newHead(z.Name), zone: z, snapshot: c.Snapshot, forbidden: forbidden,
		names: map[netip.Prefix]*said{}, wording: wording{url: z.URL, known: true},
	}
	if err := p.head.fill(z.head(c.Snapshot)); err != nil {
		return nil, err
	}
	for e, err := range edits {
		if err == nil {
			err = p.edit(&e)
		}
		if err != nil {
			return nil, err
		}
	}
	added, err := p.added()
	if err != nil {
		return nil, err
	}
	left := c.Snapshot.Next(listing.Next{Removed: p.removed})
	for _, e := range added {
		if around, ok := left.Lookup(e.Prefix.Addr()); ok {
			return nil, fmt.Errorf("%w: %s and %s overlap", ErrMismatch, e.Prefix, around.Prefix)
		}
		for inside := range left.Within(e.Prefix) {
			return nil, fmt.Errorf("%w: %s and %s overlap", ErrMismatch, e.Prefix, inside.Prefix)
		}
	}
	next := left.Next(listing.Next{Added: added})
	return p.head.copy(next, &p.wording, z.TTLSeconds())
}

// patch is the copy that follows another, in the making.
type patch struct {
	head      *head
	wording   wording
	zone      *Zone
	snapshot  *listing.Snapshot
	forbidden func(netip.Prefix) error
	names     map[netip.Prefix]*said // those that any change is about, and all of the same entries
	removed   []netip.Prefix         // whose names these were
}

// edit makes one change.
func (p *patch) edit(e *Edit) error {
	piece, ok := e.entryPiece()
	switch {
	case !ok && e.Removed:
		return p.head.remove(&e.Record)
	case !ok:
		return p.head.add(&e.Record)
	case e.TTL != p.zone.TTLSeconds():
		return fmt.Errorf("%w: %s: has another TTL", ErrMismatch, piece)
	}
	name := p.name(piece)
	if len(p.names) > maxPatched {
		return fmt.Errorf("%w: more than %d names change", ErrMismatch, maxPatched)
	}
	change := name.add
	if e.Removed {
		change = name.remove
	}
	if err := change(&e.Record); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMismatch, piece, err)
	}
	return nil
}

// name returns what a name says now. With it come all names of its entry.
func (p *patch) name(piece netip.Prefix) *said {
	if s := p.names[piece]; s != nil {
		return s
	}
	if e, ok := p.zone.Lookup(p.snapshot, piece.Addr()); ok && covers(e.Prefix, piece) {
		text := p.zone.AppendText(nil, e)
		for part := range pieces(e.Prefix) {
			if p.names[part] == nil {
				p.names[part] = &said{e.Class, text}
			}
		}
		p.removed = append(p.removed, e.Prefix)
	}
	if p.names[piece] == nil {
		p.names[piece] = &said{}
	}
	return p.names[piece]
}

// added returns the entries that the names make up now, without overlaps.
func (p *patch) added() ([]listing.Entry, error) {
	missing := map[netip.Prefix]int{}
	entries := map[netip.Prefix]listing.Entry{}
	for piece, s := range p.names {
		if s.none() {
			continue
		}
		if !s.whole() {
			return nil, fmt.Errorf("%w: %s: has not both an address and a text", ErrMismatch, piece)
		}
		e, err := p.wording.entry(piece, *s)
		if err == nil {
			err = p.forbidden(e.Prefix)
		}
		if err != nil {
			return nil, err
		}
		if former, known := entries[e.Prefix]; !known {
			entries[e.Prefix] = e
			for range pieces(e.Prefix) {
				missing[e.Prefix]++
			}
		} else if former != e {
			return nil, fmt.Errorf("%w: the names of %s do not say the same", ErrMismatch, e.Prefix)
		}
		missing[e.Prefix]--
	}
	return p.disjoint(entries, missing)
}

// disjoint wants all names of each entry, and no entry inside another.
func (p *patch) disjoint(entries map[netip.Prefix]listing.Entry, missing map[netip.Prefix]int) ([]listing.Entry, error) {
	added := make([]listing.Entry, 0, len(entries))
	for prefix, e := range entries {
		if missing[prefix] != 0 {
			return nil, fmt.Errorf("%w: %d names of %s are missing", ErrMismatch, missing[prefix], prefix)
		}
		added = append(added, e)
	}
	slices.SortFunc(added, func(a, b listing.Entry) int { return listing.ComparePrefix(a.Prefix, b.Prefix) })
	for i := 1; i < len(added); i++ {
		if covers(added[i-1].Prefix, added[i].Prefix) {
			return nil, fmt.Errorf("%w: %s and %s overlap", ErrMismatch, added[i-1].Prefix, added[i].Prefix)
		}
	}
	return added, nil
}
