package listing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/gaissmai/bart"
	"github.com/google/renameio/v2"
	bolt "go.etcd.io/bbolt"
)

// The image of a snapshot is a file beside the store that has what was
// published at one sequence, in the form in which it is in memory: to read it
// takes a fraction of what it takes to read all records. It is written when the
// store stops and now and then, and only ever a short cut: its own checksum, the
// digest of its entries, and the journal from its sequence on must lead to exactly
// the digest of the store, or the records are read.
//
// All numbers are little-endian:
//
//	magic            20 bytes
//	sequence         8
//	digest           8   of the entries
//	contents         4, then 11 each: classes 2, class 1, events 2, days 2 each
//	4096 nodes       1 for what it is; of a leaf see appendLeaf, of a fan 16 leaves
//	other prefixes   4, then 22 each: number of the content 4, prefix as stored, filled up to 18
//	checksum         8   XXH64 of all before
const imageMagic = "backscatter image 2\n"

// errImage says that an image is of no use; why does not matter much.
var errImage = errors.New("the image is not of this store")

// imageFrom is the number of entries from which an image is worth its while.
const imageFrom = 20_000

// imageEvery is how often an image is written while the store runs. What came
// since is read from the journal after a crash.
const imageEvery = 15 * time.Minute

// imageJournal bounds the changes that are made to an image.
const imageJournal = 10_000

func imageName(path string) string { return path + ".image" }

func dropImage(path string) error { return removeAll(imageName(path)) }

// What a node of the tree of hosts is.
const (
	imageEmpty byte = iota
	imageLeaf
	imageFan
)

// encodeImage writes a snapshot as an image.
func encodeImage(s *Snapshot) []byte {
	e := imageEncoder{b: make([]byte, 0, 64+4*s.hosts.n+32*s.nets.Size()+11*len(s.table)+70*4096)}
	e.b = append(e.b, imageMagic...)
	e.u64(s.sequence)
	digest, _ := s.digest()
	e.u64(digest)
	e.u32(uint32(len(s.table)))
	for _, c := range s.table {
		e.u16(uint16(c.classes))
		e.b = append(e.b, byte(c.class))
		for _, v := range []uint16{c.summary.Events, uint16(c.summary.Since), uint16(c.summary.Last), uint16(c.summary.Until)} {
			e.u16(v)
		}
	}
	var none page
	for _, p := range s.hosts.pages {
		if p == nil {
			p = &none
		}
		for i := range p {
			e.node(&p[i])
		}
	}
	e.u32(uint32(s.nets.Size()))
	for p, net := range s.nets.All() {
		e.u32(net.ref)
		key := prefixKey(p)
		e.b = append(append(e.b, key...), make([]byte, keyBytes6-len(key))...)
	}
	return binary.LittleEndian.AppendUint64(e.b, xxhash.Sum64(e.b))
}

type imageEncoder struct{ b []byte }

func (e *imageEncoder) u16(v uint16) { e.b = binary.LittleEndian.AppendUint16(e.b, v) }
func (e *imageEncoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *imageEncoder) u64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }

func (e *imageEncoder) node(n *node) {
	switch {
	case n.fan != nil:
		e.b = append(e.b, imageFan)
		for _, l := range n.fan {
			e.leaf(l)
		}
	default:
		e.leaf(n.leaf)
	}
}

// leaf writes what the leaf is, width, number, ends and data.
func (e *imageEncoder) leaf(l *leaf) {
	if l == nil {
		e.b = append(e.b, imageEmpty)
		return
	}
	e.b = append(e.b, imageLeaf, l.width)
	e.u32(l.same)
	for _, end := range l.ends {
		e.u32(end)
	}
	e.b = append(e.b, l.data...)
}

// image is what was read of one.
type image struct {
	sequence uint64
	digest   uint64
	snapshot *Snapshot
}

// decodeImage takes an image apart, and counts and adds up what is in it.
func decodeImage(b []byte) (*image, error) {
	if len(b) < len(imageMagic)+8 || string(b[:len(imageMagic)]) != imageMagic {
		return nil, errImage
	}
	body := b[:len(b)-8]
	if xxhash.Sum64(body) != binary.LittleEndian.Uint64(b[len(body):]) {
		return nil, errImage
	}
	d := imageDecoder{b: body[len(imageMagic):]}
	img := &image{sequence: d.u64(), digest: d.u64(), snapshot: &Snapshot{
		nets: new(bart.Table[netRef]), contents: newContents(), superseded: make(chan struct{}),
	}}
	s := img.snapshot
	d.contents(s.contents)
	s.table = s.contents.view()
	for i := range s.hosts.pages {
		var p page
		for j := range p {
			p[j] = d.node()
		}
		if p != (page{}) {
			s.hosts.pages[i] = &p
		}
	}
	for range d.u32() {
		ref, key := d.u32(), d.take(keyBytes6)
		if d.err != nil {
			break
		}
		p, _, ok := cutPrefix(key)
		if !ok {
			return nil, errImage
		}
		s.nets.Insert(p, netRef{ref, uint8(p.Bits())})
	}
	if d.err != nil || len(d.b) > 0 {
		return nil, errImage
	}
	s.hosts.n = d.hosts
	s.sequence = img.sequence
	return img, img.count()
}

// count makes sure that the entries are those that were written.
func (img *image) count() error {
	s := img.snapshot
	var digest uint64
	if digest, s.counts = s.digest(); digest != img.digest {
		return errImage
	}
	return nil
}

// imageDecoder reads; after an error all that it reads is zero.
type imageDecoder struct {
	b     []byte
	hosts int
	err   error
}

func (d *imageDecoder) take(n int) []byte {
	if d.err != nil || n > len(d.b) {
		d.err = errImage
		return make([]byte, min(n, 64)) // enough for whoever reads a number
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *imageDecoder) u16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *imageDecoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *imageDecoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

func (d *imageDecoder) contents(c *contents) {
	n := d.u32()
	for range n {
		v := content{classes: ClassSet(d.u16()), class: Class(d.take(1)[0])}
		v.summary = Summary{Events: d.u16(), Since: Date(d.u16()), Last: Date(d.u16()), Until: Date(d.u16())}
		if d.err != nil {
			return
		}
		c.ref(v)
	}
	if len(c.table) != int(n) {
		d.err = errImage // two of them are the same
	}
	c.limit = max(minContents, 2*len(c.table))
}

func (d *imageDecoder) node() node {
	kind := d.take(1)[0]
	if kind != imageFan {
		return node{leaf: d.leaf(kind)}
	}
	var fan [16]*leaf
	for i := range fan {
		fan[i] = d.leaf(d.take(1)[0])
	}
	return node{fan: &fan}
}

func (d *imageDecoder) leaf(kind byte) *leaf {
	if kind == imageEmpty || d.err != nil {
		return nil
	}
	l := &leaf{width: d.take(1)[0], same: d.u32()}
	last := uint32(0)
	for i := range l.ends {
		l.ends[i] = d.u32()
		if l.ends[i] < last || l.ends[i] > 1<<20 {
			d.err = errImage
		}
		last = l.ends[i]
	}
	if kind != imageLeaf || l.width > 4 || d.err != nil {
		d.err = errImage
		return nil
	}
	l.data = bytes.Clone(d.take(l.len() * (2 + int(l.width)))) // the file as a whole is not kept
	d.hosts += l.len()
	return l
}

// readImage reads the image beside a store, if there is one.
func readImage(path string) (img *image, err error) {
	data, err := os.ReadFile(imageName(path))
	if err == nil {
		err = guard(func() error {
			img, err = decodeImage(data)
			return err
		})
	}
	return img, err
}

// fromImage makes what was published out of the image and the journal. Any
// error means that the records must be read.
func (s *Store) fromImage(img *image) (st state, snap *Snapshot, err error) {
	err = s.view(func(tx *bolt.Tx, _ time.Time) error {
		if st, err = readState(tx); err != nil {
			return err
		}
		if snap, err = img.follow(tx, &st); err == nil && img.sequence == snap.sequence {
			s.imaged.Store(img.sequence) // it need not be written again
		}
		return err
	})
	return st, snap, err
}

// follow makes the changes since the image was written.
func (img *image) follow(tx *bolt.Tx, st *state) (*Snapshot, error) {
	m := &st.meta
	if img.sequence > m.Sequence {
		return nil, &aheadError{image: img.sequence, store: m.Sequence}
	}
	if img.sequence < m.Base || m.Sequence-img.sequence > imageJournal {
		return nil, errImage
	}
	snap, digest := img.snapshot, img.digest
	for sequence := img.sequence + 1; sequence <= m.Sequence; sequence++ {
		key := numberKey(sequence)
		one, err := decodeChange(key, bucketOf(tx, bucketJournal).Get(key))
		if err != nil {
			return nil, err
		}
		n := Next{Sequence: sequence, Added: one.Added}
		for _, e := range one.Removed {
			n.Removed = append(n.Removed, e.Prefix)
			digest -= entryHash(e)
		}
		for _, e := range one.Added {
			digest += entryHash(e)
		}
		snap = snap.Next(n)
	}
	if digest != m.Digest || uint64(snap.Len()) != m.Entries {
		return nil, errImage
	}
	return snap.Next(Next{Sequence: m.Sequence, Time: m.Time, NewestEvidence: m.Newest, Decommissioned: st.ended.At}), nil
}

// recoverState makes what was published, from what was read of the image or, where
// that is of no use, from the records.
func (s *Store) recoverState(img *image, err error) (st state, snap *Snapshot, _ error) {
	if err == nil {
		st, snap, err = s.fromImage(img)
	}
	_, ahead := errors.AsType[*aheadError](err)
	if ahead { // unless both were exchanged between one being read and the other being opened
		if img, err = readImage(s.path); err == nil {
			st, snap, err = s.fromImage(img)
		}
		_, ahead = errors.AsType[*aheadError](err)
	}
	if err == nil || ahead {
		return st, snap, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.log.Info("the image is of no use; the records are read", slog.String("path", imageName(s.path)), slog.Any("why", err))
	}
	return s.rebuild()
}

// writeImage writes the image of a snapshot durably. When it cannot be written
// the next start takes longer, and nothing else.
func (s *Store) writeImage(snap *Snapshot) {
	s.imaging.Lock()
	defer s.imaging.Unlock()
	if snap == nil || int64(snap.Len()) < s.imageFrom.Load() || s.imaged.Load() == snap.sequence {
		return
	}
	name := imageName(s.path)
	err := s.at(stageImage)
	if err == nil {
		err = renameio.WriteFile(name, encodeImage(snap), 0o600)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		s.log.Warn("the image cannot be written", slog.Any("err", fmt.Errorf("write %s: %w", name, err)))
		return
	}
	s.imaged.Store(snap.sequence)
}
