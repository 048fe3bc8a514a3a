package listing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"time"
)

// Every value in the database is one byte for kind and version, a body, and a CRC-32C over
// its key, the version and the body: bbolt has no checksum on its data pages, and
// the key is in so that a value which turns up under another key is found.
// Whole numbers are varints, texts have their length before them, times are
// whole seconds.

// sumBytes is the size of the checksum at the end of a value.
const sumBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// encoder builds one value.
type encoder struct{ b []byte }

// newEncoder starts a value of the given version.
func newEncoder(version byte) *encoder { return newEncoderFor(version, 128) }

// newEncoderFor starts a value of which it is known how large it gets, about.
func newEncoderFor(version byte, size int) *encoder {
	return &encoder{b: append(make([]byte, 0, size), version)}
}

// seal returns the value as it is stored under key.
func (e *encoder) seal(key []byte) []byte {
	return binary.BigEndian.AppendUint32(e.b, checksum(key, e.b))
}

func (e *encoder) byte(v byte)      { e.b = append(e.b, v) }
func (e *encoder) uint(v uint64)    { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) fixed(v []byte)   { e.b = append(e.b, v...) }
func (e *encoder) text(v string)    { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) time(t time.Time) { e.uint(packTime(t)) }

// from writes a time that is near another, which the decoder knows by then.
func (e *encoder) from(base, t time.Time) { e.uint(packTimeFrom(base, t)) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

// The first byte of a written prefix is its length, and for IPv4 this more.
const shortPrefix = 129

// prefix writes only the bytes of the address that the length covers.
func (e *encoder) prefix(p netip.Prefix) {
	first := byte(p.Bits())
	if p.Addr().Is4() {
		first += shortPrefix
	}
	e.byte(first)
	e.b = append(e.b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
}

// decoder takes a value apart. The first fault sticks; what is read after it
// is zero.
type decoder struct {
	b   []byte
	err error
}

// openValue checks the checksum and version of a stored value, which is one of those
// given, and returns its body. The body lives as long as the transaction.
func openValue(key, value []byte, versions ...byte) *decoder {
	d := &decoder{}
	if len(value) < 1+sumBytes {
		d.fail("is %d bytes short", 1+sumBytes-len(value))
		return d
	}
	body, sum := value[:len(value)-sumBytes], value[len(value)-sumBytes:]
	switch {
	case checksum(key, body) != binary.BigEndian.Uint32(sum):
		d.fail("has a wrong checksum")
	case !slices.Contains(versions, body[0]):
		d.fail("has the unknown version %d", body[0])
	default:
		d.b = body[1:]
	}
	return d
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("value "+format+": %w", append(args, ErrDamaged)...)
	}
	d.b = nil
}

// finish returns the first fault; bytes left over are one.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail("has %d bytes too many", len(d.b))
	}
	return d.err
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail("ends early")
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail("has %d for a truth", v)
	}
	return v == 1
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("ends early")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of items, each of which takes at least one byte, so
// that a damaged count cannot ask for more memory than the value itself has.
func (d *decoder) count() int {
	v := d.uint()
	if v > uint64(len(d.b)) {
		d.fail("counts %d items in %d bytes", v, len(d.b))
		return 0
	}
	return int(v)
}

func (d *decoder) text() string     { return string(d.take(d.count())) }
func (d *decoder) fixed(dst []byte) { copy(dst, d.take(len(dst))) }
func (d *decoder) time() time.Time  { return d.from(time.Time{}) }

func (d *decoder) prefix() netip.Prefix {
	addr, bits := make([]byte, 16), int(d.byte())
	if bits >= shortPrefix {
		addr, bits = addr[:4], bits-shortPrefix
	}
	if bits > 8*len(addr) {
		d.fail("has a prefix of %d bits", bits)
		return netip.Prefix{}
	}
	copy(addr, d.take((bits+7)/8))
	from, _ := netip.AddrFromSlice(addr)
	p := netip.PrefixFrom(from, bits)
	if p.Masked() != p {
		d.fail("has a prefix with bits behind its length")
	}
	return p
}

// Times are counted from here, so that those of this program take four bytes.
var epoch = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()

// Times outside of these years are claims that nobody can use.
const (
	minUnix = -62135596800 // year 1
	maxUnix = 253402300799 // year 9999
)

// packTime returns 0 for the zero time and else, plus one, the zigzag form of
// the distance in seconds from the epoch.
func packTime(t time.Time) uint64 { return packTimeFrom(time.Time{}, t) }

// packTimeFrom counts from a base instead, unless that is the zero time.
func packTimeFrom(base, t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	v := clampUnix(t) - origin(base)
	return uint64(v<<1^v>>63) + 1
}

func clampUnix(t time.Time) int64 { return min(max(t.Unix(), minUnix), maxUnix) }

func origin(base time.Time) int64 {
	if base.IsZero() {
		return epoch
	}
	return clampUnix(base)
}

// from reads a time that [encoder.from] wrote.
func (d *decoder) from(base time.Time) time.Time {
	v := d.uint()
	if v == 0 {
		return time.Time{}
	}
	v--
	distance := int64(v>>1) ^ -int64(v&1)
	first := origin(base)
	if distance > maxUnix-first || distance < minUnix-first {
		d.fail("has a time out of range")
		return time.Time{}
	}
	return time.Unix(first+distance, 0).UTC()
}

const (
	keyBytes4  = 1 + 4 + 1  // family, address and length
	keyBytes6  = 1 + 16 + 1 // the same of IPv6
	timeBytes  = 5
	mappedBits = 96 // RFC 4291 §2.5.5.2: ::ffff:0:0/96 holds IPv4
)

// The first byte of a stored prefix.
const (
	family4 byte = 4
	family6 byte = 6
)

// prefixKey returns the bytes under which a prefix is stored: the family, the
// address, and the length. They sort as ComparePrefix does.
func prefixKey(p netip.Prefix) []byte {
	if p.Addr().Is4() {
		a := p.Addr().As4()
		return append(append(append(make([]byte, 0, keyBytes4), family4), a[:]...), byte(p.Bits()))
	}
	a := p.Addr().As16()
	return append(append(append(make([]byte, 0, keyBytes6), family6), a[:]...), byte(p.Bits()))
}

// keysOf returns the least and the greatest key that a prefix inside p can
// have.
func keysOf(p netip.Prefix) (first, last []byte) {
	first = prefixKey(p)
	length := len(first) - 1
	first[length] = 0
	last = bytes.Clone(first)
	last[length] = 0xff
	for i := range last[1:length] {
		switch {
		case i >= (p.Bits()+7)/8:
			last[1+i] = 0xff
		case i == p.Bits()/8:
			last[1+i] |= 0xff >> (p.Bits() % 8)
		}
	}
	return first, last
}

// cutPrefix reads what prefixKey wrote from the front of a longer key.
func cutPrefix(key []byte) (p netip.Prefix, rest []byte, ok bool) {
	switch {
	case len(key) >= keyBytes4 && key[0] == family4:
		p, rest = netip.PrefixFrom(netip.AddrFrom4([4]byte(key[1:])), int(key[keyBytes4-1])), key[keyBytes4:]
	case len(key) >= keyBytes6 && key[0] == family6:
		p, rest = netip.PrefixFrom(netip.AddrFrom16([16]byte(key[1:])), int(key[keyBytes6-1])), key[keyBytes6:]
	default:
		return p, nil, false
	}
	return p, rest, p.IsValid() && p.Masked() == p
}

// prefixOf reads what prefixKey wrote.
func prefixOf(key []byte) (netip.Prefix, bool) {
	p, rest, ok := cutPrefix(key)
	return p, ok && len(rest) == 0
}

// spread returns the length of a prefix in the space of IPv6, in which IPv4
// is mapped.
func spread(p netip.Prefix) int {
	if p.Addr().Is4() {
		return mappedBits + p.Bits()
	}
	return p.Bits()
}

// keyOf reads the key of a record.
func keyOf(b []byte) (Key, error) {
	p, ok := prefixOf(b)
	if !ok {
		return Key{}, fmt.Errorf("key %x is no prefix: %w", b, ErrDamaged)
	}
	key, err := PrefixKey(p)
	if err != nil {
		return Key{}, fmt.Errorf("key %x: %w: %w", b, err, ErrDamaged)
	}
	return key, nil
}

// appendTime appends t as five bytes that sort as time does: seconds since
// 1970, which they hold for the next 34 000 years.
func appendTime(b []byte, t time.Time) []byte {
	v := uint64(max(t.Unix(), 0))
	return append(b, byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func timeOf(b []byte) time.Time {
	return time.Unix(int64(b[0])<<32|int64(binary.BigEndian.Uint32(b[1:])), 0).UTC()
}

// numberKey is the key of a serial or of an audit entry.
func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
