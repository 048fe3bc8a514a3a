package dnsd

import (
	"cmp"
	"container/heap"
	"slices"
)

// Counted is how often something was seen, among the most frequent.
type Counted[K comparable] struct {
	Key   K
	Count uint64 // at least so often as that it was seen
	Over  uint64 // by how much Count may be too high
}

// sketch counts the most frequent of any number of keys in memory that does not
// grow (Metwally, Agrawal, El Abbadi: Space-Saving, 2005). When it is full, a new
// key takes the place of the rarest one, and its count with it. So no count is too
// low, none is too high by more than all that was seen divided by the size, and
// whatever was seen more often than that is there.
type sketch[K comparable] struct {
	size   int
	places map[K]*place[K]
	rarest rarest[K]
}

type place[K comparable] struct {
	Counted[K]

	at int // in the heap
}

func newSketch[K comparable](size int) *sketch[K] {
	return &sketch[K]{size: size, places: make(map[K]*place[K], size)}
}

// add counts one occurrence.
func (s *sketch[K]) add(key K) {
	p, known := s.places[key]
	switch {
	case known:
		p.Count++
		heap.Fix(&s.rarest, p.at)
	case len(s.places) < s.size:
		p = &place[K]{Counted: Counted[K]{Key: key, Count: 1}}
		s.places[key] = p
		heap.Push(&s.rarest, p)
	default:
		p = s.rarest[0]
		delete(s.places, p.Key)
		p.Counted = Counted[K]{Key: key, Count: p.Count + 1, Over: p.Count}
		s.places[key] = p
		heap.Fix(&s.rarest, 0)
	}
}

// top returns the n most frequent keys, the most frequent first; those that are
// certain to be so frequent before those that may not be.
func (s *sketch[K]) top(n int) []Counted[K] {
	all := make([]Counted[K], 0, len(s.places))
	for _, p := range s.rarest {
		all = append(all, p.Counted)
	}
	slices.SortFunc(all, func(a, b Counted[K]) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Over, b.Over))
	})
	return all[:min(n, len(all))]
}

// rarest is a heap with the least frequent key on top.
type rarest[K comparable] []*place[K]

func (r rarest[K]) Len() int           { return len(r) }
func (r rarest[K]) Less(i, j int) bool { return r[i].Count < r[j].Count }

func (r rarest[K]) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].at, r[j].at = i, j
}

// Push implements [heap.Interface].
func (r *rarest[K]) Push(x any) {
	p := x.(*place[K])
	p.at = len(*r)
	*r = append(*r, p)
}

// Pop implements [heap.Interface].
func (r *rarest[K]) Pop() any {
	last := len(*r) - 1
	p := (*r)[last]
	*r = (*r)[:last]
	return p
}
