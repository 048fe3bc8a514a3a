package listing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What a page of a bbolt file is. The file is a tree of pages: a header, then as
// many elements of 16 bytes as the header counts, then the keys and values that
// the elements point at. A page that does not suffice goes on in those after it.
const (
	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageMeta     = 0x04
	pageFreelist = 0x10

	elementSize  = 16
	bucketHeader = 16     // root page, sequence
	elementIsBox = 0x01   // the value of a leaf's element is a bucket
	manyFree     = 0xFFFF // in a free list: the first element is the count
)

// pageError is what is wrong with a page. It wraps [ErrDamaged].
type pageError struct {
	page uint64
	what string
	keys bool // no more than that: all can be read, and put in order
}

func (e *pageError) Error() string {
	return fmt.Sprintf("%s: page %d %s", ErrDamaged, e.page, e.what)
}
func (e *pageError) Unwrap() error { return ErrDamaged }

// pages is a bbolt file, looked at without bbolt, which follows whatever a page
// says: a branch that leads back to itself makes it call itself until the stack
// is full, and that ends the process, whoever recovers.
type pages struct {
	data []byte // of the whole file
	size uint64 // of a page
	end  uint64 // page after the last that is in use
	seen []uint64
	used uint64 // pages seen
	look looking
}

// looking is how much of a file is looked at.
type looking uint8

const (
	lookEnds looking = iota // all branches, and the first and last element of each leaf that a start may read
	lookDeep                // all elements of all pages; and that no page is lost
	lookMeta                // what leads to the bucket meta, and no other
	lookLeft                // as lookDeep; what is left of a file whose newest meta page may be lost
)

// span is a page that is to be looked at, and what its keys must lie between;
// an empty limit is none.
type span struct {
	page     uint64
	depth    int // branches before it
	from, to []byte
}

// checkFile walks through all pages that lead to data and through the free list:
// each page has one place in one of them. The file must be locked, and no shorter
// than its meta pages say.
func checkFile(path string, look looking) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, release, err := mapFile(f)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	defer release()
	return guard(func() error { return checkPages(data, look) })
}

// checkTx walks through all pages that a read transaction can see: they stay as
// they are for as long as it lasts. f is the file of its database.
func checkTx(tx *bolt.Tx, f *os.File) error {
	return eachTree(tx, f, func(name []byte, err error) error {
		if err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
		return nil
	})
}

// eachTree walks through the pages of each bucket, and calls fn with what is wrong with
// them, until it returns an error.
func eachTree(tx *bolt.Tx, f *os.File, fn func(name []byte, err error) error) error {
	data, release, err := mapFile(f)
	if err != nil {
		return fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer release()
	size := uint64(tx.DB().Info().PageSize)
	p := pages{data: data, size: size, end: uint64(tx.Size()) / size, look: lookDeep}
	p.seen = make([]uint64, p.end/64+1)
	for _, name := range buckets {
		b := tx.Bucket(name)
		if b == nil || b.RootPage() == 0 {
			continue // told by who reads it; and it is within a page that was read to get here
		}
		if err := fn(name, p.tree(uint64(b.RootPage()), toAll, nil)); err != nil {
			return err
		}
	}
	return nil
}

// steadyMeta looks at the meta pages of a file that is written to: what is found in
// the middle of a write is not found again. It may wait, so no transaction may be
// open meanwhile, for whose end the writer might wait.
func steadyMeta(f *os.File) error {
	data, release, err := mapFile(f)
	if err != nil {
		return fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer release()
	for range 3 {
		if _, err = newestMeta(data); err == nil {
			return nil
		}
		<-time.After(10 * time.Millisecond)
	}
	return err
}

func checkPages(data []byte, look looking) error {
	m, err := newestMeta(data)
	if _, lost := errors.AsType[*lostMetaError](err); err != nil && (look != lookLeft || !lost) {
		return err
	}
	p := pages{data: data, size: uint64(m.pageSize), end: m.end, look: look}
	if m.end < 2 || m.end > uint64(len(data))/p.size {
		return &pageError{page: m.page, what: fmt.Sprintf("counts %d pages in a file of %d bytes", m.end, len(data))}
	}
	p.seen = make([]uint64, m.end/64+1)
	if err := p.metas(); err != nil {
		return err
	}
	if err := p.tree(m.root, toEnds, p.box); err != nil || look == lookMeta {
		return err
	}
	if err := p.freelist(m.free); err != nil {
		return err
	}
	if p.deep() && p.used < p.end {
		return &pageError{page: m.free, what: fmt.Sprintf("is a free list that lacks %d pages", p.end-p.used)}
	}
	return nil
}

func (p *pages) deep() bool { return p.look == lookDeep || p.look == lookLeft }

// metas looks at what nobody needs to know of the meta pages.
func (p *pages) metas() error {
	for page := range uint64(2) {
		s := sheet{page: page, data: p.data[page*p.size:][:p.size]}
		if p.look == lookDeep && (binary.NativeEndian.Uint64(s.data) != page || s.flags() != pageMeta) {
			return &pageError{page: page, what: "does not say that it is a meta page; the next change mends that"}
		}
	}
	return p.take(0, 1)
}

// take notes that the n pages after the first are part of it; none may be of
// anything else.
func (p *pages) take(page, more uint64) error {
	if page >= p.end || more >= p.end-page {
		return &pageError{page: page, what: fmt.Sprintf("and %d pages after it are beyond the last, %d", more, p.end-1)}
	}
	for id := page; id <= page+more; id++ {
		if p.seen[id/64]&(1<<(id%64)) != 0 {
			return &pageError{page: id, what: "is in two places"}
		}
		p.seen[id/64] |= 1 << (id % 64)
	}
	p.used += more + 1
	return nil
}

// open returns a page that nothing led to before, with those that it goes on in.
func (p *pages) open(page uint64) (sheet, error) {
	if page < 2 || page >= p.end {
		return sheet{}, &pageError{page: page, what: fmt.Sprintf("is none of those with data, 2 to %d", p.end-1)}
	}
	s := sheet{page: page, data: p.data[page*p.size:][:p.size]}
	if id := binary.NativeEndian.Uint64(s.data); id != page {
		return sheet{}, &pageError{page: page, what: fmt.Sprintf("says that it is page %d", id)}
	}
	more := uint64(binary.NativeEndian.Uint32(s.data[12:]))
	if err := p.take(page, more); err != nil {
		return sheet{}, err
	}
	s.data = p.data[page*p.size:][:(1+more)*p.size]
	return s, nil
}

// boxed is called with each bucket that a leaf has.
type boxed func(page uint64, name, value []byte) error

// reach is how far down a tree is looked at.
type reach uint8

const (
	toBranches reach = iota // leaves are not: in a large store they are nearly all of it
	toEnds                  // first and last element of a leaf
	toAll
)

// tree walks through a tree. Only that of all buckets has any, and a box.
func (p *pages) tree(root uint64, far reach, box boxed) error {
	bottom, first, err := p.depth(root)
	if err != nil {
		return err
	}
	left := []span{{page: root}}
	for len(left) > 0 {
		at := left[len(left)-1]
		left = left[:len(left)-1]
		if at.depth == bottom && far == toBranches && at.page != first {
			if err := p.take(at.page, 0); err != nil {
				return err
			}
			continue
		}
		s, err := p.open(at.page)
		if err != nil {
			return err
		}
		switch s.flags() {
		case pageBranch:
			left, err = s.branch(at, left)
		case pageLeaf:
			err = s.leaf(at, far == toAll || box != nil, box)
		default:
			err = &pageError{page: at.page, what: fmt.Sprintf("is neither branch nor leaf, but %#x", s.flags())}
		}
		if err == nil && p.look == lookDeep {
			err = s.begins(at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// depth returns how many branches lead to a leaf, as many to each in a tree of
// bbolt's, and the first leaf.
func (p *pages) depth(page uint64) (n int, leaf uint64, err error) {
	for ; uint64(n) < p.end; n++ {
		if page < 2 || page >= p.end {
			return 0, 0, &pageError{page: page, what: fmt.Sprintf("is none of those with data, 2 to %d", p.end-1)}
		}
		s := sheet{page: page, data: p.data[page*p.size:][:p.size]}
		if s.flags() != pageBranch {
			break
		}
		page = binary.NativeEndian.Uint64(s.element(0)[8:])
	}
	return n, page, nil
}

// box looks at a bucket: a tree of its own, or, when it is small, a leaf within
// the value.
func (p *pages) box(page uint64, name, value []byte) error {
	if p.look == lookMeta && !bytes.Equal(name, bucketMeta) {
		return nil
	}
	if len(value) < bucketHeader {
		return &pageError{page: page, what: fmt.Sprintf("has a bucket of %d bytes", len(value))}
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		far := toEnds
		switch {
		case p.deep():
			far = toAll
		case bytes.Equal(name, bucketObservations), bytes.Equal(name, bucketSeen):
			far = toBranches
		}
		return p.tree(root, far, nil)
	}
	s := sheet{page: page, data: value[bucketHeader:]}
	if len(s.data) < boltHeader || s.flags() != pageLeaf {
		return &pageError{page: page, what: "has a bucket that is no leaf"}
	}
	return s.leaf(span{}, true, nil)
}

// freelist looks at the list of free pages: one that is in use as well would be
// written over.
func (p *pages) freelist(page uint64) error {
	s, err := p.open(page)
	if err != nil {
		return fmt.Errorf("the free list: %w", err)
	}
	if s.flags() != pageFreelist {
		return &pageError{page: page, what: fmt.Sprintf("is no free list, but %#x", s.flags())}
	}
	ids := s.data[boltHeader:]
	n := uint64(s.count())
	if n == manyFree {
		n = binary.NativeEndian.Uint64(ids)
		ids = ids[8:]
	}
	if n > uint64(len(ids))/8 {
		return &pageError{page: page, what: fmt.Sprintf("is a free list of %d, and has room for %d", n, len(ids)/8)}
	}
	for i := range n {
		id := binary.NativeEndian.Uint64(ids[8*i:])
		if err := p.take(id, 0); err != nil {
			return fmt.Errorf("the free list, page %d: %w", page, err)
		}
	}
	return nil
}

// sheet is a page with all that it goes on in.
type sheet struct {
	page uint64
	data []byte
}

func (s sheet) flags() uint16 { return binary.NativeEndian.Uint16(s.data[8:]) }
func (s sheet) count() int    { return int(binary.NativeEndian.Uint16(s.data[10:])) }

// element returns the 16 bytes of the ith element; all of them must be there.
func (s sheet) element(i int) []byte { return s.data[boltHeader+i*elementSize:][:elementSize] }

// content returns what the ith element points at, which begins after all
// elements.
func (s sheet) content(i int, pos, size uint64) ([]byte, error) {
	from := uint64(boltHeader+i*elementSize) + pos
	if from < uint64(boltHeader+s.count()*elementSize) || size > uint64(len(s.data)) || from > uint64(len(s.data))-size {
		return nil, &pageError{page: s.page, what: fmt.Sprintf("has an element %d that lies outside it", i)}
	}
	return s.data[from : from+size], nil
}

// key returns the key of the ith element.
func (s sheet) key(i int) ([]byte, error) {
	e := s.element(i)
	pos, size := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
	if s.flags() == pageLeaf {
		pos, size = size, binary.NativeEndian.Uint32(e[8:])
	}
	key, err := s.content(i, uint64(pos), uint64(size))
	if err == nil && len(key) == 0 {
		err = &pageError{page: s.page, what: fmt.Sprintf("has an element %d without a key", i)}
	}
	return key, err
}

// counted makes sure that as many elements as the page counts have room in it.
func (s sheet) counted(least int) error {
	if n := s.count(); n < least || n > (len(s.data)-boltHeader)/elementSize {
		return &pageError{page: s.page, what: fmt.Sprintf("counts %d elements", n)}
	}
	return nil
}

// within makes sure that a key lies where the way to it says.
func (s sheet) within(at span, i int, key []byte) error {
	if at.from != nil && bytes.Compare(key, at.from) < 0 || at.to != nil && bytes.Compare(key, at.to) >= 0 {
		return &pageError{page: s.page, what: fmt.Sprintf("has a key %d where a search does not look", i), keys: true}
	}
	return nil
}

// begins makes sure that a page begins with the key by which the branch above knows it.
// All is found if it does not, but bbolt would put the page there a second time with the
// first change in it.
func (s sheet) begins(at span) error {
	if at.from == nil || s.count() == 0 {
		return nil
	}
	key, err := s.key(0)
	if err == nil && !bytes.Equal(key, at.from) {
		err = &pageError{page: s.page, what: "begins with another key than the branch above says", keys: true}
	}
	return err
}

// branch adds the pages that a branch leads to.
func (s sheet) branch(at span, left []span) ([]span, error) {
	if err := s.counted(1); err != nil {
		return nil, err
	}
	to := at.to
	for i := s.count() - 1; i >= 0; i-- {
		key, err := s.key(i)
		if err != nil {
			return nil, err
		}
		if err := s.within(span{from: at.from, to: to}, i, key); err != nil {
			return nil, err
		}
		left = append(left, span{page: binary.NativeEndian.Uint64(s.element(i)[8:]), depth: at.depth + 1, from: key, to: to})
		to = key
	}
	return left, nil
}

// leaf looks at the first and last element of a leaf, or at all of them.
func (s sheet) leaf(at span, all bool, box boxed) error {
	if err := s.counted(0); err != nil {
		return err
	}
	step := max(s.count()-1, 1)
	if all {
		step = 1
	}
	var last []byte
	for i := 0; i < s.count(); i += step {
		key, err := s.key(i)
		if err != nil {
			return err
		}
		if err := s.within(at, i, key); err != nil {
			return err
		}
		if last != nil && bytes.Compare(last, key) >= 0 {
			return &pageError{page: s.page, what: fmt.Sprintf("has a key %d that does not come after those before it", i), keys: true}
		}
		last = key
		if err := s.value(i, key, box); err != nil {
			return err
		}
	}
	return nil
}

// value looks at the value of the ith element of a leaf.
func (s sheet) value(i int, key []byte, box boxed) error {
	e := s.element(i)
	pos, size := uint64(binary.NativeEndian.Uint32(e[4:])), uint64(binary.NativeEndian.Uint32(e[12:]))
	value, err := s.content(i, pos+uint64(len(key)), size)
	if err != nil {
		return err
	}
	want := uint32(0)
	if box != nil {
		want = elementIsBox
	}
	if flags := binary.NativeEndian.Uint32(e); flags != want {
		return &pageError{page: s.page, what: fmt.Sprintf("has an element %d that is %#x, and not %#x", i, flags, want)}
	}
	if box != nil {
		return box(s.page, key, value)
	}
	return nil
}
