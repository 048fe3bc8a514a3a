package zonefile

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// batch is the files of one publication, beside their places.
type batch struct {
	dir     string
	list    List
	step    func(name string) error
	files   []*batchFile // of the list
	sealing []*batchFile // the manifest, then its signature
	former  []*os.File   // whose places were taken
}

// batchFile is a file of a batch. Writing to it keeps its size.
type batchFile struct {
	besideFile

	trail *trail // how far it is written

	name    string
	format  Format
	entries int
	size    int64
	syncing int64      // so much the disk has begun with
	written uint32     // sum of what was
	sum     []byte     // SHA-256 of what was read back
	gz      *gzipper   // the compressed copy of a file goes through it
	plain   *batchFile // of which it is a compressed copy
}

// syncAtOnce is how much is written before the disk begins with it.
const syncAtOnce = 1 << 20

// quickSum is of sums that tell what was written from what is read back. Only the
// disk and the memory are asked, so it need not withstand anybody.
var quickSum = crc32.MakeTable(crc32.Castagnoli)

// Write implements [io.Writer].
func (f *batchFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.size += int64(n)
	f.written = crc32.Update(f.written, quickSum, p[:n])
	f.trail.reach(f.size)
	if more := f.size - f.syncing; more >= syncAtOnce {
		startSync(f.File, f.syncing, more)
		f.syncing = f.size
	}
	if err == nil && f.gz != nil {
		_, err = f.gz.Write(p)
	}
	return n, err
}

func (b *batch) create(name string) (*batchFile, error) {
	beside, err := createBeside(b.dir, name)
	if err != nil {
		return nil, err
	}
	return &batchFile{besideFile: beside, trail: newTrail(), name: name}, nil
}

// write writes all files of the list, in one walk, while they are read back behind
// it. What is wrong with what is read back is a [RefusedError].
func (b *batch) write(formats []Format, compress bool) error {
	if err := b.createAll(formats, compress); err != nil {
		return err
	}
	checked := make(chan error, 1)
	go func() { checked <- b.verify() }()
	err := b.fill()
	for _, f := range b.files {
		f.trail.end(err) // if it has not
	}
	refused := <-checked
	if err != nil {
		return err
	}
	return refused
}

func (b *batch) createAll(formats []Format, compress bool) error {
	for _, format := range formats {
		plain, err := b.create(format.File(b.list.Zone))
		if err != nil {
			return err
		}
		plain.format = format
		b.files = append(b.files, plain)
		if !compress {
			continue
		}
		packed, err := b.create(plain.name + ".gz")
		if err != nil {
			return err
		}
		packed.plain, plain.gz = plain, newGzipper(packed)
		b.files = append(b.files, packed)
	}
	return nil
}

// fill writes the files.
func (b *batch) fill() error {
	var outputs []Output
	for _, f := range b.files {
		if f.plain == nil {
			outputs = append(outputs, Output{f.format, f})
		}
	}
	stats, err := b.list.WriteAll(outputs...)
	if err != nil {
		return err
	}
	for _, f := range b.files { // a compressed copy stands behind its original
		if f.plain != nil {
			f.entries = f.plain.entries
		} else {
			f.entries, stats = stats[0].Entries, stats[1:]
		}
		if f.gz != nil {
			if err := f.gz.Close(); err != nil {
				return fmt.Errorf("write the copy of %s: %w", f.path, err)
			}
		}
		f.trail.end(nil)
	}
	for _, f := range b.files {
		if err := f.finish(); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

// verify reads all files back, each behind its writer. It is one goroutine, beside the
// one that writes: a server has its questions to answer meanwhile.
func (b *batch) verify() error {
	for _, f := range b.files {
		if err := b.reach("read back " + f.name); err != nil {
			return err
		}
		err := f.follow(func(r io.Reader) (err error) {
			if f.plain == nil {
				f.sum, err = b.list.check(r, f.format)
				return err
			}
			return f.plain.follow(func(plain io.Reader) error {
				f.sum, err = checkPacked(r, plain)
				return err
			})
		})
		if _, unread := errors.AsType[*fs.PathError](err); unread {
			return fmt.Errorf("read back: %w", err) // another time it may do
		}
		if err != nil {
			return refuse("read back %s: %w", f.path, err)
		}
	}
	return nil
}

// follow hands the file to a reader, which it keeps behind the writer and which reads
// to the end. Every byte must be as it was written: also of what means no entry.
func (f *batchFile) follow(fn func(io.Reader) error) error {
	return f.read(func(file *os.File) error {
		in := &behind{file: file, trail: f.trail}
		if err := fn(in); err != nil {
			return err
		}
		if in.sum != f.written {
			return errors.New("has other bytes than were written")
		}
		return nil
	})
}

// checkPacked compares a compressed copy with its original, and returns its sum.
func checkPacked(r, plain io.Reader) ([]byte, error) {
	sum := sha256.New()
	unpacked, err := gzip.NewReader(io.TeeReader(r, sum))
	if err != nil {
		return nil, err
	}
	same, err := equal(unpacked, plain)
	if err == nil && !same {
		err = errors.New("is no compressed copy of the file beside it")
	}
	return sum.Sum(nil), err
}

// sign writes the manifest, and its signature if there is a key.
func (b *batch) sign(key *SigningKey) error {
	m := Manifest{
		Zone: b.list.Zone.bare(), Serial: b.list.Snapshot.Serial(),
		Created: stampAt(b.list.Snapshot, b.list.Now).UTC().Truncate(time.Second),
		Ended:   b.list.Snapshot.Decommissioned().UTC(),

		Published: b.list.Snapshot.Time().UTC(), Settings: b.list.Zone.settingsOf(b.list.Snapshot),
	}
	m.Expires = m.Created.Add(manifestLifetime)
	for _, f := range b.files {
		m.Files = append(m.Files, ManifestFile{Name: f.name, SHA256: hex.EncodeToString(f.sum), Size: f.size, Entries: f.entries})
	}
	text := m.encode()
	if err := b.seal(ManifestName, text); err != nil || key == nil {
		return err
	}
	return b.seal(SignatureName, key.sign(text, m))
}

func (b *batch) seal(name string, text []byte) error {
	f, err := b.create(name)
	if err != nil {
		return err
	}
	b.sealing = append(b.sealing, f)
	_, err = f.Write(text)
	return errors.Join(err, f.finish())
}

// replace lets those files take their places that differ from what is there:
// those of the list, then the manifest, then the signature. What comes behind is
// begun only when what came before is on the disk.
func (b *batch) replace(now time.Time) ([]File, error) {
	var places []beside
	for _, f := range b.all() {
		places = append(places, f.beside)
	}
	mtime := later(now, places)
	groups := [][]*batchFile{b.files}
	for _, f := range b.sealing {
		groups = append(groups, []*batchFile{f})
	}
	var done []File
	for _, group := range groups {
		files, err := b.replaceGroup(group, mtime)
		if err != nil {
			return nil, err
		}
		done = append(done, files...)
	}
	if err := b.dropSignature(); err != nil {
		return nil, err
	}
	return done, b.dropFormats()
}

// dropFormats removes the files of formats that are not written any more, now that
// no manifest names them: what is never renewed must not be taken for the list.
func (b *batch) dropFormats() error {
	dropped := false
	for _, format := range Formats {
		for _, name := range []string{format.File(b.list.Zone), format.File(b.list.Zone) + ".gz"} {
			if slices.ContainsFunc(b.files, func(f *batchFile) bool { return f.name == name }) {
				continue
			}
			if _, err := os.Lstat(filepath.Join(b.dir, name)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := b.reach("remove " + name); err != nil {
				return err
			}
			if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
				return err
			}
			dropped = true
		}
	}
	if !dropped {
		return nil
	}
	return syncDir(b.dir)
}

// dropSignature removes the signature of an earlier manifest when there is no key
// any more: beside another manifest it only says that somebody changed that.
func (b *batch) dropSignature() error {
	if len(b.sealing) > 1 {
		return nil
	}
	name := filepath.Join(b.dir, SignatureName)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := b.reach("remove " + SignatureName); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	return syncDir(b.dir)
}

func (b *batch) replaceGroup(group []*batchFile, mtime time.Time) (done []File, err error) {
	changed := false
	for _, f := range group {
		same, err := f.same()
		if err != nil {
			return nil, err
		}
		done = append(done, File{Name: f.name, Entries: f.entries, Bytes: f.size, Changed: !same})
		if same {
			continue
		}
		changed = true
		if err := b.reach("rename " + f.name); err != nil {
			return nil, err
		}
		former, err := f.replace(mtime)
		b.former = append(b.former, former) // nil where there was none
		if err != nil {
			return nil, err
		}
	}
	if !changed {
		return done, nil
	}
	if err := b.reach("sync after " + group[len(group)-1].name); err != nil {
		return nil, err
	}
	return done, syncDir(b.dir)
}

// reach is called before each step; tests stop there.
func (b *batch) reach(step string) error {
	if b.step == nil {
		return nil
	}
	return b.step(step)
}

func (b *batch) all() []*batchFile { return slices.Concat(b.files, b.sealing) }

// discard removes what did not take its place.
func (b *batch) discard() error {
	var errs []error
	for _, f := range b.all() {
		_ = f.Close() // closed already, but when writing it failed
		errs = append(errs, f.discard())
	}
	return errors.Join(errs...)
}
