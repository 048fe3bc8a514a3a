package listing

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrPrefix is wrapped by every error about a prefix that is none.
var ErrPrefix = errors.New("is no prefix")

// ParsePrefix reads an address or a prefix of any length, as an exemption may
// name it: unmapped, and without bits behind its length. A bare address is the
// prefix of that address alone.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q has a zone: %w", text, ErrPrefix)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q: no IPv4 or IPv6 address and no address/length: %w", text, ErrPrefix)
	}
	if p, err = unmapPrefix(p); err != nil {
		return netip.Prefix{}, err
	}
	return plainPrefix(p)
}

// unmapPrefix turns a prefix of IPv4-mapped addresses (RFC 4291 §2.5.5.2) into
// the IPv4 prefix that it stands for, and leaves others alone.
func unmapPrefix(p netip.Prefix) (netip.Prefix, error) {
	if !p.Addr().Is4In6() {
		return p, nil
	}
	if p.Bits() < 96 {
		return netip.Prefix{}, fmt.Errorf("%s is wider than all of IPv4: %w", p, ErrPrefix)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), nil
}

// plainPrefix returns p if it is unmapped and has no bits behind its length.
func plainPrefix(p netip.Prefix) (netip.Prefix, error) {
	switch {
	case !p.IsValid():
		return netip.Prefix{}, fmt.Errorf("%q: no address/length: %w", p.String(), ErrPrefix)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%s is IPv4 in IPv6, write it as IPv4: %w", p, ErrPrefix)
	case p.Masked() != p:
		return netip.Prefix{}, fmt.Errorf("%s has bits set behind its length, did you mean %s: %w", p, p.Masked(), ErrPrefix)
	}
	return p, nil
}

// covers reports whether every address of q lies in p.
func covers(p, q netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) }

// halves returns the two prefixes, one bit longer, that p consists of. p must
// not be a single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits()
	low = netip.PrefixFrom(p.Addr(), bits+1)
	bytes := p.Addr().AsSlice()
	bytes[bits/8] |= 0x80 >> (bits % 8)
	addr, _ := netip.AddrFromSlice(bytes)
	return low, netip.PrefixFrom(addr, bits+1)
}

// subtract appends to out the fewest prefixes that hold the addresses of p
// that are in none of holes, in order. The holes are sorted, do not overlap,
// and each overlaps p.
func subtract(out []netip.Prefix, p netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	if len(holes) == 0 {
		return append(out, p)
	}
	if covers(holes[0], p) {
		return out
	}
	low, high := halves(p)
	n := 0
	for n < len(holes) && holes[n].Overlaps(low) {
		n++
	}
	out = subtract(out, low, holes[:n])
	return subtract(out, high, holes[n:])
}
