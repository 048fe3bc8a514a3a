package listing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
)

// Where bbolt keeps what is read here, from the start of a page: a header of
// 16 bytes, then the meta. Pages 0 and 1 have one each; a transaction writes the
// one of its parity, last of all.
const (
	boltMagic    = 0xED0CDAED
	boltHeader   = 16
	boltMetaSize = 64
	boltMinPage  = 1 << 10
	boltMaxPage  = 1 << 24
)

// boltMeta is what a meta page says.
type boltMeta struct {
	page     uint64 // which it is
	pageSize int64
	root     uint64 // page of the tree of buckets
	free     uint64 // page of the free list
	end      uint64 // page after the last
	txid     uint64
}

// readMeta reads the start of a page. It is meant to be a meta page when it has
// the magic, and is one when its checksum is right.
func readMeta(b []byte) (m boltMeta, meant, good bool) {
	if len(b) < boltHeader+boltMetaSize {
		return m, false, false
	}
	b = b[boltHeader:][:boltMetaSize]
	h := fnv.New64a()
	h.Write(b[:56])
	m = boltMeta{
		pageSize: int64(binary.NativeEndian.Uint32(b[8:])),
		root:     binary.NativeEndian.Uint64(b[16:]),
		free:     binary.NativeEndian.Uint64(b[32:]),
		end:      binary.NativeEndian.Uint64(b[40:]),
		txid:     binary.NativeEndian.Uint64(b[48:]),
	}
	meant = binary.NativeEndian.Uint32(b) == boltMagic
	good = meant && h.Sum64() == binary.NativeEndian.Uint64(b[56:]) && m.pageSize >= boltMinPage && m.pageSize <= boltMaxPage
	return m, meant, good
}

// newestMeta returns the meta page that counts. When one of the two is damaged,
// that is the other, if it is certain that it came last: bbolt would take it all
// the same, and what was written last would be gone without a word.
func newestMeta(data []byte) (boltMeta, error) {
	first, _, good := readMeta(data)
	pageSize := first.pageSize
	if !good {
		for pageSize = boltMinPage; pageSize <= boltMaxPage && pageSize < int64(len(data)); pageSize *= 2 {
			if m, _, good := readMeta(data[pageSize:]); good && m.pageSize == pageSize {
				break
			}
		}
	}
	if pageSize > boltMaxPage || pageSize >= int64(len(data)) {
		return first, &pageError{page: 0, what: "is no meta page, nor is page 1"}
	}
	second, _, alsoGood := readMeta(data[pageSize:])
	second.page = 1
	switch {
	case good && alsoGood:
		if first.txid > second.txid {
			return first, nil
		}
		return second, nil
	case good && before(data[pageSize:], first):
		return first, nil
	case alsoGood && before(data, second):
		return second, nil
	case good:
		return first, &lostMetaError{page: 1, left: first}
	}
	return second, &lostMetaError{page: 0, left: second}
}

// before reports whether a damaged meta page was written before the other: by the
// transaction before, or in a file that was a backup by that before that one.
func before(page []byte, good boltMeta) bool {
	age := good.txid - txidOf(page, good)
	return age == 1 || age == 2
}

// txidOf returns the transaction that wrote a damaged meta page. What the page says
// of it may be the damage: when its checksum is right with another that it can have
// been, it was that.
func txidOf(page []byte, good boltMeta) uint64 {
	as := bytes.Clone(page[:min(len(page), boltHeader+boltMetaSize)])
	m, _, _ := readMeta(as)
	for _, txid := range []uint64{good.txid + 1, good.txid - 1, good.txid - 2} {
		if len(as) < boltHeader+boltMetaSize {
			break
		}
		binary.NativeEndian.PutUint64(as[boltHeader+48:], txid)
		if _, _, right := readMeta(as); right {
			return txid
		}
	}
	return m.txid
}

// precheck reads the two meta pages without mapping the file: bbolt would map
// a truncated file beyond its end, and fault there.
func precheck(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	found := false
	need, newest := int64(0), uint64(0)
	try := func(offset int64) (pageSize int64) {
		var page [boltHeader + boltMetaSize]byte
		if _, err := f.ReadAt(page[:], offset); err != nil {
			return 0
		}
		m, meant, good := readMeta(page[:])
		found = found || meant
		if !good {
			return 0
		}
		if need == 0 || m.txid > newest {
			newest = m.txid
			need = int64(min(m.end, 1<<40)) * m.pageSize
		}
		return m.pageSize
	}
	pageSize := try(0)
	if pageSize != 0 {
		try(pageSize)
	} else {
		for at := int64(boltMinPage); at <= boltMaxPage && at < size && try(at) == 0; at *= 2 {
			continue
		}
	}
	switch {
	case !found:
		return fmt.Errorf("%w: it is not even a bbolt database", ErrForeign)
	case need == 0:
		return fmt.Errorf("%w: both of its meta pages are", ErrDamaged)
	case size < need:
		return fmt.Errorf("%w: it is cut off at %d of at least %d bytes; restore a backup", ErrDamaged, size, need)
	}
	return nil
}
