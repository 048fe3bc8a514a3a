package listing

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Next returns the snapshot that follows s. It costs what the change is large,
// not what the list is. It leaves s as it is, and does not supersede it.
func (s *Snapshot) Next(n Next) *Snapshot {
	d := s.draft()
	// The trie copies a path for each change; many are cheaper in a copy of the
	// whole.
	nets := 0
	for _, p := range n.Removed {
		if !isHost(p) {
			nets++
		}
	}
	for _, e := range n.Added {
		if !isHost(e.Prefix) {
			nets++
		}
	}
	if nets > minNetCopies+s.nets.Size()/64 {
		d.nets, d.own = s.nets.Clone(), true
	}
	d.edits = make([]edit, 0, len(n.Removed)+len(n.Added)-nets)
	for _, p := range n.Removed {
		d.remove(p)
	}
	for _, e := range n.Added {
		d.add(e)
	}
	d.known = len(n.Endings) == len(s.endings) && (len(n.Endings) == 0 || &n.Endings[0] == &s.endings[0])
	return d.finish(n)
}

const (
	// maxEdits is how many hosts are put in at once while a snapshot is built,
	// so that building takes little more memory than the result.
	maxEdits = 1 << 18
	// minNetCopies is how many changes of the trie are made path by path at
	// least.
	minNetCopies = 64
)

// draft is a snapshot that is being made. It holds the lock of its contents
// from [Snapshot.draft] to [draft.finish].
type draft struct {
	*Snapshot
	edits []edit // of hosts, not yet made
	known bool   // the endings are those of the snapshot before, and sorted
	own   bool   // the trie is the draft's own and can be changed in place
}

func (s *Snapshot) draft() *draft {
	s.contents.mu.Lock()
	return &draft{Snapshot: &Snapshot{
		counts: s.counts, hosts: s.hosts, nets: s.nets, contents: s.contents,
		superseded: make(chan struct{}),
	}}
}

func (d *draft) remove(p netip.Prefix) {
	if isHost(p) {
		d.edits = append(d.edits, newEdit(hostOf(p.Addr()), noRef))
		return
	}
	old, ok := d.nets.Get(p)
	if !ok {
		return
	}
	d.note(old.ref, -1)
	if d.own {
		d.nets.Delete(p)
	} else {
		d.nets = d.nets.DeletePersist(p)
	}
}

func (d *draft) add(e Entry) {
	ref := d.contents.ref(content{e.Classes, e.Class, e.Summary})
	if isHost(e.Prefix) {
		d.edits = append(d.edits, newEdit(hostOf(e.Prefix.Addr()), ref))
		return
	}
	if old, ok := d.nets.Get(e.Prefix); ok {
		d.note(old.ref, -1)
	}
	d.note(ref, 1)
	net := netRef{ref, uint8(e.Prefix.Bits())}
	if d.own {
		d.nets.Insert(e.Prefix, net)
	} else {
		d.nets = d.nets.InsertPersist(e.Prefix, net)
	}
}

// flush makes the edits of the hosts.
func (d *draft) flush() {
	d.hosts.apply(d.edits, d.note)
	d.edits = d.edits[:0]
}

// note counts one entry more or less that tells the content of this number.
func (d *draft) note(ref uint32, delta int) {
	if class := d.contents.table[ref].class; int(class) < len(d.counts) {
		d.counts[class] += delta
	}
}

func (d *draft) finish(n Next) *Snapshot {
	defer d.contents.mu.Unlock()
	d.flush()
	s := d.Snapshot
	s.sequence, s.time, s.newest = n.Sequence, n.Time, n.NewestEvidence
	s.endings, s.decommissioned = n.Endings, n.Decommissioned
	if !d.known && !slices.IsSortedFunc(s.endings, compareEndings) {
		s.endings = slices.SortedFunc(slices.Values(s.endings), compareEndings)
	}
	s.table = s.contents.view()
	if len(s.table) > s.contents.limit {
		s.compact()
	}
	return s
}

// compact drops dead contents when more than half of them are.
func (s *Snapshot) compact() {
	live := make([]bool, len(s.table))
	n := 0
	mark := func(ref uint32) {
		if !live[ref] {
			live[ref] = true
			n++
		}
	}
	s.Walk(func(some []Host) bool {
		for _, h := range some {
			mark(h.Told)
		}
		return true
	}, func(Entry) bool { return true })
	for _, net := range s.nets.All() {
		mark(net.ref)
	}
	if n > len(live)/2 {
		s.contents.limit = 2 * len(live)
		return
	}
	fresh, moved := s.contents.compact(live)
	s.hosts.renumber(moved)
	nets := new(bart.Table[netRef])
	for p, net := range s.nets.All() {
		nets.Insert(p, netRef{moved[net.ref], net.bits})
	}
	s.nets, s.contents, s.table = nets, fresh, fresh.view()
}
