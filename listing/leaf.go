package listing

import "encoding/binary"

// leaf holds IPv4 hosts of one /12, sorted, with the number of what each tells.
// It is immutable once made. The nil leaf is empty.
//
// A host takes two bytes for the lower half of its address, and none, one, two
// or four for the number: none when all of the leaf tell the same.
type leaf struct {
	data  []byte     // of each host its lower half and, behind it, its number
	same  uint32     // the number of each host when width is 0
	width uint8      // bytes of a number
	ends  [16]uint32 // for each /16: how many hosts of the leaf lie in it or before it
}

func (l *leaf) len() int {
	if l == nil {
		return 0
	}
	return int(l.ends[15])
}

// bounds returns where the hosts of a /16 begin and end.
func (l *leaf) bounds(sub uint32) (start, end uint32) {
	if sub > 0 {
		start = l.ends[sub-1]
	}
	return start, l.ends[sub]
}

// grow makes room for as many hosts as ends says.
func (l *leaf) grow() { l.data = make([]byte, uint32(l.len())*l.stride()) }

// stride is how many bytes a host takes.
func (l *leaf) stride() uint32 { return 2 + uint32(l.width) }

func (l *leaf) low(i uint32) uint16 { return binary.LittleEndian.Uint16(l.data[i*l.stride():]) }

func (l *leaf) ref(i uint32) uint32 {
	number := l.data[i*l.stride()+2:]
	switch l.width {
	case 1:
		return uint32(number[0])
	case 2:
		return uint32(binary.LittleEndian.Uint16(number))
	case 4:
		return binary.LittleEndian.Uint32(number)
	default:
		return l.same
	}
}

func (l *leaf) set(i uint32, low uint16, ref uint32) {
	at := l.data[i*l.stride():]
	binary.LittleEndian.PutUint16(at, low)
	switch l.width {
	case 1:
		at[2] = byte(ref)
	case 2:
		binary.LittleEndian.PutUint16(at[2:], uint16(ref))
	case 4:
		binary.LittleEndian.PutUint32(at[2:], ref)
	}
}

// position returns where host is, or would be. It begins where the host would
// be if the hosts of its /16 stood evenly, and goes from there in growing steps:
// for scattered hosts, the usual case, all that it reads is in one or two lines of
// the processor's cache.
func (l *leaf) position(host uint32) (uint32, bool) {
	start, end := l.bounds(host >> 16 & 15)
	low, stop := uint16(host), end
	guess := start + uint32(uint64(low)*uint64(end-start)>>16)
	if guess < end && l.low(guess) < low {
		start = guess + 1
		for step := uint32(4); start+step < end; step *= 2 {
			if l.low(start+step) >= low {
				end = start + step
				break
			}
			start += step + 1
		}
	} else {
		end = guess
		for step := uint32(4); start+step < end; step *= 2 {
			if l.low(end-step) < low {
				start = end - step + 1
				break
			}
			end -= step
		}
	}
	for start < end {
		middle := (start + end) / 2
		if l.low(middle) < low {
			start = middle + 1
		} else {
			end = middle
		}
	}
	return start, start < stop && l.low(start) == low
}

// between adds the hosts from lo to hi, which are addresses of the leaf's /12 or
// outside it, to the run; base is its first. It returns false when the run does.
func (l *leaf) between(base, lo, hi uint32, run *hostRun) bool {
	if l == nil {
		return true
	}
	for sub := range uint32(16) {
		first := base | sub<<16
		if first|0xffff < lo || first > hi {
			continue
		}
		start, end := l.bounds(sub)
		if first < lo {
			start, _ = l.position(lo)
		}
		if hi < first|0xffff {
			at, found := l.position(hi)
			if end = at; found {
				end++
			}
		}
		for start < end {
			if len(run.some) == cap(run.some) && !run.handOn() {
				return false
			}
			n := min(end-start, uint32(cap(run.some)-len(run.some)))
			run.some = l.appendHosts(run.some, first, start, start+n)
			start += n
		}
	}
	return true
}

// appendHosts appends hosts of a /16, whose first address is given.
func (l *leaf) appendHosts(dst []Host, first, start, end uint32) []Host {
	w := l.stride()
	data := l.data[start*w : end*w]
	switch l.width {
	case 0:
		for ; len(data) >= 2; data = data[2:] {
			dst = append(dst, Host{first | uint32(binary.LittleEndian.Uint16(data)), l.same})
		}
	case 1:
		for ; len(data) >= 3; data = data[3:] {
			dst = append(dst, Host{first | uint32(binary.LittleEndian.Uint16(data)), uint32(data[2])})
		}
	default: // few lists tell so much that is different
		for i := start; i < end; i++ {
			dst = append(dst, Host{first | uint32(l.low(i)), l.ref(i)})
		}
	}
	return dst
}

// edit is one change of the hosts: the address in its upper half, the number
// of what it tells now in the lower; noRef takes the host away. In the order of
// numbers, edits are in the order of addresses.
type edit uint64

func newEdit(host, ref uint32) edit { return edit(host)<<32 | edit(ref) }

func (e edit) host() uint32  { return uint32(e >> 32) }
func (e edit) ref() uint32   { return uint32(e) }
func (e edit) removes() bool { return e.ref() == noRef }

func sameHost(a, b edit) bool { return a.host() == b.host() }

// place is where an edit meets a leaf.
type place struct {
	at    uint32
	found bool
}

// merge returns the leaf after the edits, which are sorted, one for a host.
// It tells note of each number that is used once more or once less.
func (l *leaf) merge(edits []edit, note func(ref uint32, delta int)) *leaf {
	if l == nil {
		return newLeaf(edits, note)
	}
	places := make([]place, len(edits))
	var added [16]int // hosts more or less, by /16
	kept := l.len()   // hosts that no edit touches
	for i, e := range edits {
		at, found := l.position(e.host())
		places[i] = place{at, found}
		if found {
			note(l.ref(at), -1)
			added[e.host()>>16&15]--
			kept--
		}
		if !e.removes() {
			note(e.ref(), 1)
			added[e.host()>>16&15]++
		}
	}
	out := &leaf{}
	sum := 0
	for sub := range l.ends {
		sum += added[sub]
		out.ends[sub] = uint32(int(l.ends[sub]) + sum)
	}
	if out.len() == 0 {
		return nil
	}
	out.fit(l, kept, edits)
	out.grow()
	from, to := uint32(0), uint32(0)
	for i, e := range edits {
		p := places[i]
		out.take(to, l, from, p.at)
		to += p.at - from
		from = p.at
		if p.found {
			from++
		}
		if !e.removes() {
			out.set(to, uint16(e.host()), e.ref())
			to++
		}
	}
	out.take(to, l, from, l.ends[15])
	return out
}

// newLeaf returns the hosts that edits, sorted and one for a host, add to nothing.
// It tells note as [leaf.merge] does.
func newLeaf(edits []edit, note func(ref uint32, delta int)) *leaf {
	out := &leaf{}
	var refs refRange
	for _, e := range edits {
		if !e.removes() {
			out.ends[e.host()>>16&15]++
			refs.add(e.ref())
			note(e.ref(), 1)
		}
	}
	for sub := 1; sub < len(out.ends); sub++ {
		out.ends[sub] += out.ends[sub-1]
	}
	if out.len() == 0 {
		return nil
	}
	out.width, out.same = refs.width(), refs.least
	out.grow()
	at := uint32(0)
	for _, e := range edits {
		if !e.removes() {
			out.set(at, uint16(e.host()), e.ref())
			at++
		}
	}
	return out
}

// fit sets the width that the numbers need when kept hosts of old and those of
// the edits come together. It never narrows old's while any of its hosts stays:
// that is left to [leaf.renumber].
func (l *leaf) fit(old *leaf, kept int, edits []edit) {
	var refs refRange
	if kept > 0 && old.width == 0 {
		refs.add(old.same)
	}
	for _, e := range edits {
		if !e.removes() {
			refs.add(e.ref())
		}
	}
	l.width, l.same = refs.width(), refs.least
	if kept > 0 && old.width > 0 {
		l.width = max(old.width, widthOf(refs.most))
	}
}

// take copies the hosts from start to end of other to l, from position at on.
func (l *leaf) take(at uint32, other *leaf, start, end uint32) {
	if l.width != other.width {
		for i := start; i < end; i++ {
			l.set(at+i-start, other.low(i), other.ref(i))
		}
		return
	}
	w := l.stride()
	copy(l.data[w*at:], other.data[w*start:w*end])
}

// renumber returns the leaf with each number replaced, as narrow as it can be.
func (l *leaf) renumber(moved []uint32) *leaf {
	if l == nil {
		return nil
	}
	var refs refRange
	for i := range l.ends[15] {
		refs.add(moved[l.ref(i)])
	}
	out := &leaf{ends: l.ends, width: refs.width(), same: refs.least}
	out.grow()
	for i := range l.ends[15] {
		out.set(i, l.low(i), moved[l.ref(i)])
	}
	return out
}

// split returns the hosts of each /16 as a leaf of its own.
func (l *leaf) split() (subs [16]*leaf) {
	for sub := range subs {
		start, end := l.bounds(uint32(sub))
		if start == end {
			continue
		}
		out := &leaf{width: l.width, same: l.same}
		for i := sub; i < len(out.ends); i++ {
			out.ends[i] = end - start
		}
		out.grow()
		out.take(0, l, start, end)
		subs[sub] = out
	}
	return subs
}

// join returns the hosts of leaves, each of which holds one /16, as one leaf.
func join(subs *[16]*leaf) *leaf {
	out := &leaf{}
	var refs refRange
	for sub, l := range subs {
		if sub > 0 {
			out.ends[sub] = out.ends[sub-1]
		}
		if l == nil {
			continue
		}
		out.ends[sub] += l.ends[15]
		for i := range l.ends[15] {
			refs.add(l.ref(i))
		}
	}
	if out.len() == 0 {
		return nil
	}
	out.width, out.same = refs.width(), refs.least
	out.grow()
	for sub, l := range subs {
		if l != nil {
			start, _ := out.bounds(uint32(sub))
			out.take(start, l, 0, l.ends[15])
		}
	}
	return out
}

// refRange is the range of a set of numbers.
type refRange struct {
	least, most uint32
	any         bool
}

func (r *refRange) add(ref uint32) {
	if !r.any {
		*r = refRange{ref, ref, true}
	}
	r.least, r.most = min(r.least, ref), max(r.most, ref)
}

// width returns how many bytes a number of the range takes in a leaf that has
// no others.
func (r *refRange) width() uint8 {
	if r.least == r.most {
		return 0
	}
	return widthOf(r.most)
}

func widthOf(ref uint32) uint8 {
	switch {
	case ref < 1<<8:
		return 1
	case ref < 1<<16:
		return 2
	}
	return 4
}
