package zonefile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"backscatter/listing"
)

// Copy is a publication as a mirror answers from it.
type Copy struct {
	Manifest Manifest
	Zones    *Set
	Snapshot *listing.Snapshot
}

// Load reads the files of a manifest that was found in the directory, and
// compares each with it. It takes rbldnsd's, which have all that is answered and
// are the quickest to read: ip4set and ip6trie, or combined.
func (m Manifest) Load(dir string) (*Copy, error) {
	zones, err := m.zoneSet()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestName), err)
	}
	files, err := m.served()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestName), err)
	}
	z := zones.All()[0]
	r := &copyReader{hasURL: z.URL != ""}
	b := listing.Build{
		Sequence: uint64(m.Serial), Time: m.Published, Decommissioned: m.Ended,
		Entries: func(yield func(listing.Entry) bool) {
			for _, f := range files {
				if !r.file(dir, f, yield) {
					return
				}
			}
		},
	}
	snapshot := listing.NewSnapshot(b)
	if r.err != nil {
		return nil, r.err
	}
	if !m.Ended.IsZero() && snapshot.Len() > 0 {
		return nil, fmt.Errorf("%s: the list has ended, and has %d entries", dir, snapshot.Len())
	}
	return &Copy{Manifest: m, Zones: zones, Snapshot: snapshot}, nil
}

// served returns the files that a mirror reads.
func (m Manifest) served() ([]ManifestFile, error) {
	named := func(f Format) []ManifestFile {
		i := slices.IndexFunc(m.Files, func(file ManifestFile) bool { return file.Name == m.Zone+"."+string(f) })
		if i < 0 {
			return nil
		}
		return m.Files[i : i+1]
	}
	if both := slices.Concat(named(IP4Set), named(IP6Trie)); len(both) == 2 {
		return both, nil
	}
	if all := named(Combined); all != nil {
		return all, nil
	}
	return nil, fmt.Errorf("has neither %s and %s nor %s, one of which a mirror needs: ask the publisher for these formats", IP4Set, IP6Trie, Combined)
}

// copyReader reads the entries of files that our own writers wrote.
type copyReader struct {
	hasURL bool
	err    error

	told   listing.Entry // what the default line in force says
	passed bool          // what follows is a data set that repeats what another has
	sets   int           // data sets begun
	n      int           // entries of the file
}

// copyBuffer is how much is read at once; no line of ours is nearly so long.
const copyBuffer = 1 << 20

// file yields the entries of one file. When it returns false, yield did, or the
// error says why what was yielded must not be used.
func (r *copyReader) file(dir string, f ManifestFile, yield func(listing.Entry) bool) bool {
	r.told, r.passed, r.sets, r.n = listing.Entry{}, false, 0, 0
	name := filepath.Join(dir, f.Name)
	in, err := os.Open(name)
	if err != nil {
		r.err = err
		return false
	}
	defer func() { _ = in.Close() }() // it was only read
	sum := &counted{Hash: sha256.New()}
	// A file that grows while it is read is not read for ever.
	body := bufio.NewReaderSize(io.TeeReader(io.LimitReader(in, f.Size+1), sum), int(min(copyBuffer, f.Size+1)))
	goOn, err := r.lines(body, yield)
	if !goOn && err == nil {
		return false
	}
	if _, drained := io.Copy(io.Discard, body); drained != nil && err == nil {
		err = drained
	}
	switch {
	case sum.n != f.Size:
		// Told before what it made of the lines: that is the cause.
		err = fmt.Errorf("%s: has not the %d bytes of the manifest", name, f.Size)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		err = fmt.Errorf("%s: has other bytes than those of the manifest", name)
	case err != nil:
		err = fmt.Errorf("%s: %w", name, err)
	case r.n != f.Entries:
		err = fmt.Errorf("%s: has %d entries, not the %d of the manifest", name, r.n, f.Entries)
	}
	r.err = err
	return err == nil
}

// counted is a hash that knows of how much.
type counted struct {
	hash.Hash

	n int64
}

// Write implements [io.Writer].
func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Hash.Write(p)
}

// lines yields what the lines list; false when there was an error or yield said
// so.
func (r *copyReader) lines(in *bufio.Reader, yield func(listing.Entry) bool) (bool, error) {
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return true, nil
		case err != nil:
			return false, fmt.Errorf("line %d: no whole line: %w", number, err)
		}
		line = line[:len(line)-1]
		if host, ok := parseHost(line); ok { // by far the most
			if r.passed {
				continue
			}
			r.told.Prefix = netip.PrefixFrom(host, 32)
			if goOn, err := r.entry(r.told, yield); !goOn {
				return false, at(number, err)
			}
			continue
		}
		e, listed, err := r.line(line)
		if err != nil {
			return false, at(number, err)
		}
		if listed && !r.passed {
			if goOn, err := r.entry(e, yield); !goOn {
				return false, at(number, err)
			}
		}
	}
}

func at(line int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line %d: %w", line, err)
}

// entry yields an entry, but for the test points, which every zone has.
func (r *copyReader) entry(e listing.Entry, yield func(listing.Entry) bool) (bool, error) {
	if e.Prefix.Addr().Is4() && testNet.Overlaps(e.Prefix) {
		return true, nil
	}
	if e.Class == listing.ClassOther {
		return false, fmt.Errorf("%s: no code is told for it", e.Prefix)
	}
	r.n++
	return yield(e), nil
}

// line takes what is no bare IPv4 address.
func (r *copyReader) line(line []byte) (e listing.Entry, listed bool, err error) {
	switch {
	case len(line) == 0, line[0] == '#', line[0] == '!':
		return e, false, nil
	case line[0] == '$':
		if bytes.HasPrefix(line, []byte("$DATASET ")) {
			// The first two hold all of the list; those of the sub-zones repeat it.
			r.sets++
			r.passed = r.sets > 2
		}
		return e, false, nil
	case line[0] == ':' && !bytes.HasPrefix(line, []byte("::")):
		if bytes.Contains(line, testPointWords) {
			return e, false, nil
		}
		r.told, err = readTold(line, "$", r.hasURL)
		return e, false, err
	}
	name, value, _ := bytes.Cut(line, []byte(" "))
	if bytes.Contains(value, testPointWords) {
		return e, false, nil
	}
	p, err := netip.ParsePrefix(string(name))
	if err != nil || p != p.Masked() || p.Addr().Is4In6() {
		return e, false, fmt.Errorf("%q: no prefix that can be listed", name)
	}
	e, err = readTold(value, string(name), r.hasURL)
	e.Prefix = p
	return e, err == nil, err
}

var testPointWords = []byte(" backscatter: test point, ")

// parseHost reads a bare IPv4 address of four octets, and nothing else. It is
// what the time of reading a large file goes into.
func parseHost(line []byte) (netip.Addr, bool) {
	var v4 [4]byte
	n, value, digits := 0, 0, 0
	for _, c := range line {
		switch {
		case c >= '0' && c <= '9':
			value = 10*value + int(c-'0')
			if digits++; digits > 3 || value > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && n < 3:
			v4[n] = byte(value)
			n, value, digits = n+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if n != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	v4[3] = byte(value)
	return netip.AddrFrom4(v4), true
}
