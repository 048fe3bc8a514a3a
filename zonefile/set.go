package zonefile

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dataVersion is part of the digest of published settings. It is raised when
// this package presents the same entries in other words, so that a new program
// moves the serial and secondaries take the zone anew.
const dataVersion = 1

// Set is the zones of one server. It is immutable.
type Set struct {
	zones  []*Zone          // sorted by name
	first  *Zone            // as they were given; nil when there is none
	byWire map[string]*Zone // by lower-case wire name without the root label
	sizes  [256]bool        // lengths that occur among the keys of byWire
	above  map[string]bool  // as byWire: names that exist only because a zone or a name server lies below
}

// NewSet returns the set of the given zones. All that is wrong with any of
// them is reported at once. A zone may lie inside another (the longest wins)
// if its name cannot be taken for an address in the outer one.
func NewSet(zones ...*Zone) (*Set, error) {
	s := &Set{byWire: make(map[string]*Zone, len(zones)), zones: slices.Clone(zones)}
	if len(zones) > 0 {
		s.first = zones[0]
	}
	slices.SortFunc(s.zones, func(a, b *Zone) int { return strings.Compare(a.Name, b.Name) })
	var errs []error
	for _, z := range s.zones {
		if err := z.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		wire, _ := appendWire(nil, z.Name)
		if _, twice := s.byWire[string(wire)]; twice {
			errs = append(errs, fmt.Errorf("zone %q: configured twice", z.Name))
		}
		s.byWire[string(wire)] = z
		s.sizes[len(wire)] = true
	}
	for _, z := range s.zones {
		errs = append(errs, s.checkNested(z))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.findAbove()
	return s, nil
}

// findAbove notes the names between a zone's name and those of its name
// servers, and of the zones inside it.
func (s *Set) findAbove() {
	s.above = map[string]bool{}
	for _, z := range s.zones {
		names := []string{z.Name}
		for _, ns := range z.NS {
			if z.holds(ns) {
				names = append(names, ns)
			}
		}
		for _, name := range names {
			wire, _ := appendWire(nil, strings.ToLower(name)) // Validate made sure that it is one
			for len(wire) > 0 {
				wire = wire[1+int(wire[0]):]
				if zone, cut := s.FindWire(wire); zone == nil || cut == 0 {
					break
				}
				s.above[string(wire)] = true
			}
		}
	}
}

// HasBelow reports whether a zone or the name of a name server lies below a
// name (wire format, without its root label, any case) that is none itself. To
// say that such a name does not exist would deny what is below it (RFC 8020 §2).
func (s *Set) HasBelow(name []byte) bool {
	if len(s.above) == 0 || len(name) >= maxWire {
		return false
	}
	var buf [maxWire]byte
	return s.above[string(lowerWire(&buf, name))]
}

// lowerWire writes a name into buf in lower case. A length is at most 63, so no
// length is a letter.
func lowerWire(buf *[maxWire]byte, name []byte) []byte {
	for i, c := range name {
		buf[i] = lowerByte(c)
	}
	return buf[:len(name)]
}

// checkNested wants the label that tells a zone from the zone around it to be
// none that addresses have there: two characters at least, one of them no
// digit (RFC 5782 §2.3).
func (s *Set) checkNested(z *Zone) error {
	wire, ok := appendWire(nil, z.Name)
	if !ok || len(wire) == 0 {
		return nil // reported by Validate
	}
	outer, cut := s.FindWire(wire[1+int(wire[0]):])
	if outer == nil {
		return nil
	}
	if label := lastLabel(wire[:1+int(wire[0])+cut]); !isFreeLabel(label) {
		return fmt.Errorf("zone %q: lies in zone %q, so its label %q must have two characters at least, one of them no digit (RFC 5782 §2.3)", z.Name, outer.Name, label)
	}
	return nil
}

// All returns the zones, sorted by name.
func (s *Set) All() []*Zone { return slices.Clone(s.zones) }

// Named returns the zone with this name (any case, with or without the final dot),
// with no name the one that was given first, or nil.
func (s *Set) Named(name string) *Zone {
	if name == "" {
		return s.first
	}
	wire, ok := appendWire(nil, strings.ToLower(name))
	if !ok {
		return nil
	}
	return s.byWire[string(wire)]
}

// Find returns the zone with the longest name that qname (presentation format,
// any case, with or without the final dot) lies in, or nil.
func (s *Set) Find(qname string) *Zone {
	var buf [maxWire]byte
	wire, ok := appendWire(buf[:0], qname)
	if !ok {
		return nil
	}
	z, _ := s.FindWire(wire)
	return z
}

// FindWire returns the zone with the longest name that a name in wire format
// (uncompressed, without its root label, any case) lies in, and how many bytes
// of it stand before the zone's name: these are what [ParseLabels] takes. It
// returns nil when no zone holds the name or the name is malformed.
func (s *Set) FindWire(name []byte) (zone *Zone, cut int) {
	if len(name) >= maxWire {
		return nil, 0
	}
	var buf [maxWire]byte
	lower := lowerWire(&buf, name)
	for at := 0; at < len(lower); at += 1 + int(lower[at]) {
		if !s.sizes[len(lower)-at] {
			continue
		}
		if z, ok := s.byWire[string(lower[at:])]; ok {
			return z, at
		}
	}
	return nil, 0
}

// Digest identifies the published settings of all zones: when it changes,
// what secondaries hold is out of date although no listing changed.
func (s *Set) Digest() [sha256.Size]byte {
	h := sha256.New()
	enc := json.NewEncoder(h)
	// Neither can fail: a hash takes everything, and a Zone is plain values.
	_ = enc.Encode(dataVersion)
	for _, z := range s.zones {
		_ = enc.Encode(z)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
