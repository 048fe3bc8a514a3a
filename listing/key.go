package listing

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
)

// The widest prefixes that an operator may list.
const (
	MinBits4 = 24
	MinBits6 = 48
	hostBits = 64 // an IPv6 host is listed with the /64 that it lives in
)

// ErrKey is wrapped by every error about text or an address that cannot be
// listed.
var ErrKey = errors.New("cannot be listed")

// Key is what can be listed: an IPv4 address, an IPv6 /64, or a prefix that an
// operator set (IPv4 from /24, IPv6 from /48 to /64). It is always unmapped and
// masked. The zero Key is no key.
type Key struct {
	prefix netip.Prefix
}

// HostKey returns the key under which evidence against addr is kept: the
// address itself for IPv4 (also when it comes mapped into IPv6), its /64 for IPv6.
func HostKey(addr netip.Addr) (Key, error) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return Key{}, fmt.Errorf("no address: %w", ErrKey)
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = hostBits
	}
	return Key{netip.PrefixFrom(addr, bits).Masked()}, nil
}

// PrefixKey returns the key for a prefix that an operator lists. Host bits
// must be clear, and the prefix no wider than /24 or /48, since a typing error
// must not list a provider. IPv6 is never told apart below /64: a longer prefix,
// a single address included, stands for the /64 that it lies in.
func PrefixKey(p netip.Prefix) (Key, error) {
	if !p.IsValid() {
		return Key{}, fmt.Errorf("no prefix: %w", ErrKey)
	}
	p, err := unmapPrefix(p)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", err, ErrKey)
	}
	if p.Masked() != p {
		return Key{}, fmt.Errorf("%s has bits set behind its length, did you mean %s: %w", p, p.Masked(), ErrKey)
	}
	switch {
	case p.Addr().Is4() && p.Bits() < MinBits4:
		return Key{}, &WideError{p, MinBits4}
	case p.Addr().Is6() && p.Bits() < MinBits6:
		return Key{}, &WideError{p, MinBits6}
	case p.Addr().Is6() && p.Bits() > hostBits:
		return HostKey(p.Addr())
	}
	return Key{p}, nil
}

// ParseKey reads an address or a prefix in text form.
func ParseKey(text string) (Key, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return HostKey(addr)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return Key{}, keyError(text)
	}
	return PrefixKey(p)
}

// keyError is a text that is no key. It may have been given for anything: to be
// delisted, to be shown.
type keyError string

func (e keyError) Error() string {
	return fmt.Sprintf("%q is no IPv4 or IPv6 address and no prefix", string(e))
}
func (e keyError) Unwrap() error { return ErrKey }

// Prefix returns the addresses that the key stands for.
func (k Key) Prefix() netip.Prefix { return k.prefix }

// IsValid reports whether k is a key at all.
func (k Key) IsValid() bool { return k.prefix.IsValid() }

// IsHost reports whether evidence can list the key by itself: an IPv4 address
// or an IPv6 /64.
func (k Key) IsHost() bool {
	return k.prefix.IsValid() && (k.prefix.Addr().Is4() && k.prefix.Bits() == 32 || k.prefix.Addr().Is6() && k.prefix.Bits() == hostBits)
}

// Contains reports whether addr lies in the key.
func (k Key) Contains(addr netip.Addr) bool { return k.prefix.Contains(addr.Unmap()) }

// Covers reports whether every address of other lies in k.
func (k Key) Covers(other Key) bool {
	return k.prefix.Bits() <= other.prefix.Bits() && k.prefix.Contains(other.prefix.Addr())
}

// Compare orders keys: IPv4 before IPv6, then by address, then the wider first.
func (k Key) Compare(other Key) int { return ComparePrefix(k.prefix, other.prefix) }

// ComparePrefix orders prefixes: IPv4 before IPv6, then by address, then the
// wider first.
func ComparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

// String writes an IPv4 host as a bare address and all else as a prefix.
func (k Key) String() string {
	if !k.IsValid() {
		return "invalid key"
	}
	if k.prefix.Addr().Is4() && k.prefix.IsSingleIP() {
		return k.prefix.Addr().String()
	}
	return k.prefix.String()
}

// MarshalText writes the key as String does.
func (k Key) MarshalText() ([]byte, error) {
	if !k.IsValid() {
		return nil, fmt.Errorf("write key: %w", ErrKey)
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}
