package dnsd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSketch counts a stream of few frequent and many rare keys beside an exact
// count: what is promised of the sketch must hold, and its memory must not grow.
func TestSketch(t *testing.T) {
	t.Parallel()
	const size, stream = 200, 200_000
	for seed := range uint64(5) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s, exact := newSketch[int](size), map[int]uint64{}
		for range stream {
			// Zipf's law with half of all in a long tail.
			key := int(math.Exp(rnd.Float64() * math.Log(1e6)))
			s.add(key)
			exact[key]++
		}
		if len(s.places) != size || len(s.rarest) != size {
			t.Fatalf("seed %d: %d places, %d in the heap, want %d", seed, len(s.places), len(s.rarest), size)
		}
		got := map[int]Counted[int]{}
		for _, c := range s.top(size) {
			got[c.Key] = c
			if n := exact[c.Key]; c.Count < n || c.Count-c.Over > n || c.Over > stream/size {
				t.Errorf("seed %d: key %d: %d, over by at most %d; it came %d times", seed, c.Key, c.Count, c.Over, n)
			}
		}
		for key, n := range exact {
			if _, there := got[key]; n > stream/size && !there {
				t.Errorf("seed %d: key %d came %d times and is not there", seed, key, n)
			}
		}
		// The most frequent ones are the right ones, in their order.
		for i, c := range s.top(5) {
			if c.Key != i+1 {
				t.Errorf("seed %d: place %d has key %d", seed, i+1, c.Key)
			}
		}
	}
}

// TestSketchOfFew wants exact counts as long as there is a place for each key.
func TestSketchOfFew(t *testing.T) {
	t.Parallel()
	s := newSketch[string](3)
	for _, key := range []string{"a", "b", "a", "c", "a", "b"} {
		s.add(key)
	}
	want := []Counted[string]{{"a", 3, 0}, {"b", 2, 0}}
	if got := s.top(2); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := s.top(10); len(got) != 3 {
		t.Errorf("got %v, want all three", got)
	}
}
