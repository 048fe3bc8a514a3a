package evidence

import "slices"

// matcher finds every one of many phrases in one pass over a text (Aho and
// Corasick, 1975), so that a rule more costs nothing for each message. It is a
// complete automaton: one table look-up a byte, whatever the text.
type matcher struct {
	class  [256]uint8 // byte → column; bytes in no phrase share column 0
	width  int
	next   []uint16 // state × width → state
	found  [][]int  // state → conditions that a phrase ending there fulfils
	marked []bool   // found is not empty, in a form that stays in the cache
}

// phrase is a text to find and the condition that it fulfils.
type phrase struct {
	text string
	cond int
}

// newMatcher builds the automaton for the phrases.
func newMatcher(phrases []phrase) *matcher {
	m := &matcher{width: 1}
	for _, p := range phrases {
		for i := range len(p.text) {
			if m.class[p.text[i]] == 0 {
				m.class[p.text[i]] = uint8(m.width)
				m.width++
			}
		}
	}
	m.next = make([]uint16, 0, trieSize(phrases)*m.width)
	m.grow()
	for _, p := range phrases {
		state := 0
		for i := range len(p.text) {
			cell := state*m.width + int(m.class[p.text[i]])
			if m.next[cell] == 0 {
				m.next[cell] = uint16(m.grow())
			}
			state = int(m.next[cell])
		}
		m.found[state] = append(m.found[state], p.cond)
	}
	m.complete()
	return m
}

// trieSize returns how many states the phrases need: one for each beginning.
func trieSize(phrases []phrase) int {
	texts := make([]string, len(phrases))
	for i, p := range phrases {
		texts[i] = p.text
	}
	slices.Sort(texts)
	size, last := 1, ""
	for _, text := range texts {
		common := 0
		for common < min(len(last), len(text)) && last[common] == text[common] {
			common++
		}
		size += len(text) - common
		last = text
	}
	return size
}

// grow adds a state and returns it.
func (m *matcher) grow() int {
	m.next = append(m.next, make([]uint16, m.width)...)
	m.found = append(m.found, nil)
	return len(m.found) - 1
}

// complete fills in, breadth first, where each state goes when the text leaves
// the phrase that it was following.
func (m *matcher) complete() {
	fail := make([]int, len(m.found))
	var queue []int
	for c := range m.width {
		if s := int(m.next[c]); s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		m.found[s] = append(m.found[s], m.found[fail[s]]...)
		for c := range m.width {
			cell, back := s*m.width+c, m.next[fail[s]*m.width+c]
			if t := int(m.next[cell]); t != 0 {
				fail[t] = int(back)
				queue = append(queue, t)
			} else {
				m.next[cell] = back
			}
		}
	}
	m.marked = make([]bool, len(m.found))
	for s := range m.found {
		m.marked[s] = len(m.found[s]) > 0
	}
}

// scan marks in hits the conditions that the text fulfils.
func (m *matcher) scan(text []byte, hits []bool) {
	state := 0
	for _, c := range text {
		state = int(m.next[state*m.width+int(m.class[c])])
		if m.marked[state] {
			for _, cond := range m.found[state] {
				hits[cond] = true
			}
		}
	}
}
