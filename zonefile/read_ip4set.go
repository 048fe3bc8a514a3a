package zonefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

var errRange = errors.New("want an IPv4 address, a prefix like 192.0.2.0/28 or 192.0.2, or a range like 192.0.2.8-192.0.2.15")

// ip4set takes a line of rbldnsd's syntax (rbldnsd(8), "ip4set Dataset").
func (r *reader) ip4set(text []byte) error {
	if special, ok := cutSpecial(text); ok {
		return r.special(string(special))
	}
	switch text[0] {
	case '#', ';':
		return nil
	case ':':
		return checkValue(text)
	}
	rest, exclude := bytes.CutPrefix(text, []byte("!"))
	rest = bytes.TrimLeft(rest, " \t")
	end := bytes.IndexAny(rest, " \t:#;")
	if end < 0 {
		end = len(rest)
	}
	first, last, err := parseRange(string(rest[:end]))
	if err != nil {
		return err
	}
	if size := uint64(last-first) + 1; r.most > 0 && size > r.most {
		return fmt.Errorf("has %d addresses, and the file's $MAXRANGE4 allows %d", size, r.most)
	}
	if exclude {
		for p := range prefixes(first, last) {
			if err := r.exclude(p); err != nil {
				return err
			}
		}
		return nil
	}
	if value := bytes.TrimLeft(rest[end:], " \t"); len(value) > 0 && value[0] == ':' {
		if err := checkValue(value); err != nil {
			return err
		}
	}
	return r.addRange(first, last)
}

// cutSpecial recognises "$…", and "#$…", ";$…", ":$…", which rbldnsd takes for
// the same.
func cutSpecial(text []byte) ([]byte, bool) {
	if len(text) > 1 && strings.IndexByte("#;:", text[0]) >= 0 {
		text = text[1:]
	}
	return bytes.CutPrefix(text, []byte("$"))
}

// special takes what follows a '$'. Only what changes the meaning of the
// entries matters here.
func (r *reader) special(text string) error {
	keyword, value, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	switch value = strings.TrimSpace(value); strings.ToUpper(keyword) {
	case "DATASET":
		return errors.New("this is a file of format combined: cut out one data set")
	case "MAXRANGE4":
		n, err := strconv.ParseUint(strings.TrimPrefix(value, "/"), 10, 32)
		switch {
		case err != nil, strings.HasPrefix(value, "/") && n > 32, n == 0 && value[0] != '/':
			return errors.New("want $MAXRANGE4 with a prefix length like /32 or a number of addresses")
		case value[0] == '/':
			n = 1 << (32 - n)
		}
		if r.most == 0 || n < r.most { // it can only be made smaller
			r.most = n
		}
	}
	return nil
}

// checkValue wants ":code:text" or ":code", the code in full or as its last
// octet. What it says is not taken over: it is another list's.
func checkValue(text []byte) error {
	code, _, _ := strings.Cut(string(text[1:]), ":")
	code = strings.TrimSpace(code)
	if code == "" {
		return nil
	}
	if !strings.Contains(code, ".") {
		code = "127.0.0." + code
	}
	addr, err := netip.ParseAddr(code)
	if err != nil || !addr.Is4() || addr.As4()[0] != 127 {
		// RFC 5782 §2.1: the answer lies in 127.0.0.0/8.
		return fmt.Errorf("%q is no code: want 127.0.0.2 or 2 between colons", code)
	}
	return nil
}

func (r *reader) addRange(first, last uint32) error {
	var keys []netip.Prefix
	for p := range prefixes(first, last) {
		key, err := r.key(p)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	for _, key := range keys {
		r.put(key)
	}
	return nil
}

// parseRange reads an address, leading octets of one, either with a prefix
// length, or a range of two. In a range the second half is completed with 255s,
// and when it is a single octet it stands for the last one of the first half.
func parseRange(text string) (first, last uint32, err error) {
	from, to, isRange := strings.Cut(text, "-")
	from, length, hasLength := strings.Cut(from, "/")
	octets, n, ok := parseOctets(from)
	if !ok || isRange && hasLength {
		return 0, 0, errRange
	}
	switch {
	case hasLength:
		size, err := strconv.ParseUint(length, 10, 8)
		if err != nil || size > 32 || length != strconv.FormatUint(size, 10) {
			return 0, 0, fmt.Errorf("prefix length %q: want 0 to 32", length)
		}
		host := uint32(uint64(1)<<(32-size) - 1)
		if octets&host != 0 {
			return 0, 0, fmt.Errorf("bits are set behind the prefix length /%d", size)
		}
		return octets, octets | host, nil
	case isRange:
		end, m, ok := parseOctets(to)
		if !ok {
			return 0, 0, errRange
		}
		if m == 1 && n > 1 {
			shift := 32 - 8*n
			end = octets&^(0xff<<shift) | end>>24<<shift
			m = n
		}
		end |= openBits(m)
		if end < octets {
			return 0, 0, errors.New("the range ends before it begins")
		}
		return octets, end, nil
	default:
		return octets, octets | openBits(n), nil
	}
}

// openBits are the bits that n leading octets leave open.
func openBits(n int) uint32 { return uint32(uint64(1)<<(32-8*n) - 1) }

// parseOctets reads one to four octets, the first as the highest.
func parseOctets[T string | []byte](text T) (value uint32, n int, ok bool) {
	for begin := 0; begin <= len(text); {
		end := begin
		for end < len(text) && text[end] != '.' {
			end++
		}
		v, ok := octet(text[begin:end])
		if !ok || n == 4 {
			return 0, 0, false
		}
		value |= uint32(v) << (24 - 8*n)
		n++
		begin = end + 1
	}
	return value, n, true
}

// prefixes cuts a range into the fewest prefixes.
func prefixes(first, last uint32) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for at := uint64(first); at <= uint64(last); {
			size := min(bits.TrailingZeros64(at|1<<32), bits.Len64(uint64(last)-at+1)-1)
			var v4 [4]byte
			binary.BigEndian.PutUint32(v4[:], uint32(at))
			if !yield(netip.PrefixFrom(netip.AddrFrom4(v4), 32-size)) {
				return
			}
			at += 1 << size
		}
	}
}
