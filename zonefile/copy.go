package zonefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
	r := &copyReader{builder: listing.NewBuilder(), hasURL: z.URL != ""}
	entries := 0
	for _, f := range files {
		if err := r.file(dir, f); err != nil {
			return nil, err
		}
		entries += f.Entries
	}
	snapshot := r.builder.Snapshot(listing.Build{Sequence: uint64(m.Serial), Time: m.Published, Decommissioned: m.Ended})
	switch {
	case snapshot.Len() != entries:
		return nil, fmt.Errorf("%s: %d entries are there twice", dir, entries-snapshot.Len())
	case !m.Ended.IsZero() && entries > 0:
		return nil, fmt.Errorf("%s: the list has ended, and has %d entries", dir, entries)
	}
	if err := r.points.check(z.testPoints(snapshot)); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
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

// copyReader hands the entries of files that our own writers wrote to a builder.
type copyReader struct {
	builder *listing.Builder
	hasURL  bool
	points  points

	// Of the file that is read:
	told   listing.Entry // what the default line in force says
	point  listing.Class // when it is that of a test point
	hosts  []uint32      // that stand under it, and that the builder does not have yet
	passed bool          // what follows is a data set that repeats what another has
	sets   int           // data sets begun
	number int           // of lines
	n      int           // of entries
}

// file takes all of a file. After an error nothing that came of it must be used.
func (r *copyReader) file(dir string, f ManifestFile) error {
	name := filepath.Join(dir, f.Name)
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	*r = copyReader{builder: r.builder, hasURL: r.hasURL, points: r.points}
	// A file that grows while it is read is not read for ever.
	body := &ahead{in: io.LimitReader(in, f.Size+1), sum: sha256.New()}
	for text := range body.blocks(copyBlock) {
		if err == nil {
			err = r.lines(text)
		}
	}
	r.handOn()
	switch {
	case body.err != nil:
		return fmt.Errorf("%s: %w", name, body.err)
	case body.size != f.Size:
		// Told before what was made of the lines: that is the cause.
		return fmt.Errorf("%s: has not the %d bytes of the manifest", name, f.Size)
	case hex.EncodeToString(body.sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%s: has other bytes than those of the manifest", name)
	case err != nil:
		return fmt.Errorf("%s: line %d: %w", name, r.number, err)
	case r.n != f.Entries:
		return fmt.Errorf("%s: has %d entries, not the %d of the manifest", name, r.n, f.Entries)
	}
	return nil
}

// lines takes whole lines, by far the most of them of hosts.
func (r *copyReader) lines(text []byte) error {
	for len(text) > 0 {
		if len(r.hosts) == cap(r.hosts) {
			r.handOn()
			r.hosts = make([]uint32, 0, hostsTogether)
		}
		n, taken := readHosts(r.hosts[len(r.hosts):cap(r.hosts)], text)
		if n > 0 {
			text = text[taken:]
			r.number += n
			if err := r.take(n); err != nil {
				return err
			}
			continue
		}
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		r.number++
		if !whole {
			return errors.New("no whole line")
		}
		if err := r.line(line); err != nil {
			return err
		}
		text = rest
	}
	return nil
}

// take takes so many hosts that stand behind the others.
func (r *copyReader) take(n int) error {
	switch {
	case r.passed:
		return nil
	case r.told.Class == listing.ClassOther:
		return errors.New("no code is told for it")
	}
	r.hosts = r.hosts[:len(r.hosts)+n]
	r.n += n
	return nil
}

// hostsTogether is how many hosts are kept in a piece of memory.
const hostsTogether = 1 << 15

// handOn has the builder take the hosts so far.
func (r *copyReader) handOn() {
	if len(r.hosts) > 0 {
		r.builder.AddHosts(r.told, r.hosts)
		r.hosts = r.hosts[len(r.hosts):]
	}
}

// line takes any line.
func (r *copyReader) line(line []byte) error {
	if host, n, ok := parseOctets(line); ok && n == 4 {
		return r.host(host)
	}
	switch {
	case len(line) == 0, line[0] == '#':
		return nil
	case line[0] == '!':
		r.points.excluded = r.points.excluded || string(line) == "!127.0.0.1"
		return nil
	case line[0] == '$':
		if bytes.HasPrefix(line, []byte("$DATASET ")) {
			// The first two hold all of the list; those of the sub-zones repeat it.
			r.sets++
			r.passed = r.sets > 2
		}
		return nil
	case line[0] == ':' && !bytes.HasPrefix(line, []byte("::")):
		return r.defaultLine(line)
	case r.passed:
		return nil
	}
	name, value, _ := bytes.Cut(line, []byte(" "))
	if class, is := readPoint(value); is {
		addr, err := netip.ParseAddr(string(name))
		if err != nil {
			return err
		}
		return r.points.add(&r.points.ipv6, addr.Unmap(), class)
	}
	p, err := netip.ParsePrefix(string(name))
	if err != nil || p != p.Masked() || p.Addr().Is4In6() || testNet.Overlaps(p) {
		return fmt.Errorf("%q: no prefix that can be listed", name)
	}
	e, err := readTold(value, string(name), r.hasURL)
	if err != nil {
		return err
	}
	e.Prefix = p
	r.builder.Add(e)
	r.n++
	return nil
}

// host takes an IPv4 host, and the test points.
func (r *copyReader) host(host uint32) error {
	if host>>8 == testNet4 && !r.passed {
		return r.points.add(&r.points.ipv4, hostPrefix(host).Addr(), r.point)
	}
	r.hosts[:cap(r.hosts)][len(r.hosts)] = host
	return r.take(1)
}

// defaultLine takes what the bare addresses that follow tell.
func (r *copyReader) defaultLine(line []byte) (err error) {
	r.handOn()
	r.told = listing.Entry{}
	var is bool
	if r.point, is = readPoint(line); !is {
		r.told, err = readTold(line, "$", r.hasURL)
	}
	return err
}

// points are the test points of a publication (RFC 5782 §5).
type points struct {
	ipv4, ipv6 listing.ClassSet // as what they are listed
	excluded   bool             // 127.0.0.1 is
}

// add takes a test point of one family, listed as one of the class.
func (p *points) add(to *listing.ClassSet, addr netip.Addr, class listing.Class) error {
	if !listing.AllClasses.Has(class) || addr != Code(class) {
		return fmt.Errorf("%s is listed, and must not be (RFC 5782 §5)", addr)
	}
	*to |= listing.ClassSetOf(class)
	return nil
}

// check wants just those that there are to be, in either family.
func (p *points) check(want []listing.Entry) error {
	var classes listing.ClassSet
	for _, e := range want {
		classes |= e.Classes
	}
	if p.ipv4 != classes || p.ipv6 != classes || !p.excluded {
		return fmt.Errorf("has not the test points of its classes, %s, and 127.0.0.1 excluded (RFC 5782 §5)", classes)
	}
	return nil
}

// readPoint reads the value of a line that is about a test point, and returns as
// what that is listed.
func readPoint(value []byte) (class listing.Class, is bool) {
	if !bytes.Contains(value, testPointWords) {
		return listing.ClassOther, false
	}
	code, _, _ := bytes.Cut(bytes.TrimPrefix(value, []byte(":")), []byte(":"))
	class, _ = readCode(code)
	return class, true
}

var testPointWords = []byte(" backscatter: test point, ")
