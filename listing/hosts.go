package listing

import "slices"

// hosts is the set of listed IPv4 hosts, each with the number of what it tells.
// It is a tree of three steps: 256 pages of a /8, in each 16 nodes of a /12, and
// in a node either one leaf or, where the hosts are dense, a leaf for each /16.
// So a leaf is large enough to pay for itself where hosts are scattered over the
// whole Internet, and small enough to be copied for one change where they are not.
//
// The set is persistent: [hosts.apply] changes only the copy that it is called
// on, and what did not change is shared.
type hosts struct {
	pages [256]*page
	n     int
}

type page [16]node

type node struct {
	leaf *leaf      // when fan is nil
	fan  *[16]*leaf // a leaf for each /16
}

// maxPacked is how many hosts of a /12 stay in one leaf. A fan goes back to one
// leaf at half of it.
const maxPacked = 8192

// find returns the number of what a host tells.
func (h *hosts) find(host uint32) (ref uint32, ok bool) {
	p := h.pages[host>>24]
	if p == nil {
		return 0, false
	}
	n := &p[host>>20&15]
	l := n.leaf
	if n.fan != nil {
		l = n.fan[host>>16&15]
	}
	if l == nil {
		return 0, false
	}
	i, ok := l.position(host)
	if !ok {
		return 0, false
	}
	return l.ref(i), true
}

// between adds the hosts from lo to hi to the run, in order, until that says no.
func (h *hosts) between(lo, hi uint32, run *hostRun) bool {
	for i := lo >> 24; i <= hi>>24; i++ {
		p := h.pages[i]
		if p == nil {
			continue
		}
		for j := range uint32(16) {
			base := i<<24 | j<<20
			if base|0xfffff < lo || base > hi {
				continue
			}
			for _, l := range p[j].leaves() {
				if !l.between(base, lo, hi, run) {
					return false
				}
			}
		}
	}
	return true
}

// apply makes the edits, which it sorts; of several for one host that with the
// lowest number holds, so that adding goes before taking away. It tells note of
// each number that is used once more or once less.
func (h *hosts) apply(edits []edit, note func(ref uint32, delta int)) {
	if !slices.IsSorted(edits) {
		slices.Sort(edits)
	}
	edits = slices.CompactFunc(edits, sameHost)
	count := func(ref uint32, delta int) {
		h.n += delta
		note(ref, delta)
	}
	for part := range runs(edits, 24) {
		h.applyPage(part, count)
	}
}

// applyPage makes edits of one /8, which are sorted, one for a host. It leaves
// their number to note.
func (h *hosts) applyPage(edits []edit, note func(ref uint32, delta int)) {
	i := edits[0].host() >> 24
	var p page
	if h.pages[i] != nil {
		p = *h.pages[i]
	}
	for part := range runs(edits, 20) {
		n := &p[part[0].host()>>20&15]
		*n = n.merge(part, note)
	}
	h.pages[i] = &p
	if p == (page{}) {
		h.pages[i] = nil
	}
}

// runs yields the runs of edits whose addresses agree but for their last bits.
func runs(edits []edit, bits int) func(yield func([]edit) bool) {
	return func(yield func([]edit) bool) {
		for len(edits) > 0 {
			n := 1
			for n < len(edits) && edits[n].host()>>bits == edits[0].host()>>bits {
				n++
			}
			if !yield(edits[:n]) {
				return
			}
			edits = edits[n:]
		}
	}
}

func (n *node) leaves() []*leaf {
	if n.fan != nil {
		return n.fan[:]
	}
	return []*leaf{n.leaf}
}

// merge returns the node after the edits.
func (n *node) merge(edits []edit, note func(ref uint32, delta int)) node {
	if n.fan == nil {
		l := n.leaf.merge(edits, note)
		if l.len() <= maxPacked {
			return node{leaf: l}
		}
		subs := l.split()
		return node{fan: &subs}
	}
	subs := *n.fan
	for part := range runs(edits, 16) {
		sub := part[0].host() >> 16 & 15
		subs[sub] = subs[sub].merge(part, note)
	}
	total := 0
	for _, l := range subs {
		total += l.len()
	}
	if total <= maxPacked/2 {
		return node{leaf: join(&subs)}
	}
	return node{fan: &subs}
}

// renumber replaces each number.
func (h *hosts) renumber(moved []uint32) {
	for i, old := range h.pages {
		if old == nil {
			continue
		}
		var p page
		for j, n := range old {
			if n.fan == nil {
				p[j].leaf = n.leaf.renumber(moved)
				continue
			}
			var subs [16]*leaf
			for k, l := range n.fan {
				subs[k] = l.renumber(moved)
			}
			p[j].fan = &subs
		}
		h.pages[i] = &p
	}
}
