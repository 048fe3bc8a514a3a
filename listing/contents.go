package listing

import (
	"math"
	"slices"
	"sync"
)

// content is what an entry tells, without what it is about. Many entries tell
// the same, so a snapshot keeps each content once, in a table, and refers to it
// by number.
type content struct {
	classes ClassSet
	class   Class
	summary Summary
}

// noRef is no number of a content.
const noRef = math.MaxUint32

// minContents is how many contents a table may have before it is looked through
// for dead ones.
const minContents = 4096

// contents numbers contents. All snapshots that descend from one share it, and
// hold the table as it was when they were made; it only grows. When much of it
// may be dead, the next snapshot starts a new one.
type contents struct {
	mu    sync.Mutex // guards all below; readers of snapshots do not come here
	refs  map[content]uint32
	table []content
	limit int // length of the table at which to look for dead contents
}

func newContents() *contents {
	return &contents{refs: make(map[content]uint32), limit: minContents}
}

// ref returns the number of a content. The caller holds the lock.
func (c *contents) ref(v content) uint32 {
	if ref, ok := c.refs[v]; ok {
		return ref
	}
	ref := uint32(len(c.table))
	c.refs[v] = ref
	c.table = append(c.table, v)
	return ref
}

// view returns the table as it is now. Later contents go behind its end, where
// its holder cannot see them. The caller holds the lock.
func (c *contents) view() []content { return slices.Clip(c.table) }

// compact returns a table of the live contents only, and the new number of
// each old one.
func (c *contents) compact(live []bool) (*contents, []uint32) {
	fresh, moved := newContents(), make([]uint32, len(live))
	for ref, alive := range live {
		if alive {
			moved[ref] = fresh.ref(c.table[ref])
		}
	}
	fresh.limit = max(minContents, 2*len(fresh.table))
	return fresh, moved
}
