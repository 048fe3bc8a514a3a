package listing

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gaissmai/bart"
)

// Snapshot is the immutable set of published entries at one sequence. All
// methods may be called from any goroutine; none takes a lock, reads a clock or
// touches the database.
//
// IPv4 hosts, which are nearly all of a list, are kept in [hosts] at a few
// bytes each; all else in a trie. Both refer to one table of what entries tell,
// since many entries tell the same. A changed snapshot shares with the former
// all that did not change.
type Snapshot struct {
	sequence       uint64
	time           time.Time
	newest         time.Time
	decommissioned time.Time
	counts         [ClassManual + 1]int
	hosts          hosts
	nets           *bart.Table[netRef]
	contents       *contents
	table          []content // of contents, as long as it was when the snapshot was made
	endings        []Ending  // sorted
	once           sync.Once
	superseded     chan struct{}
}

// netRef is what the trie keeps of an entry that is no IPv4 host.
type netRef struct {
	ref  uint32 // in the table
	bits uint8  // length of the entry's prefix
}

// Next is what makes the next snapshot out of one.
type Next struct {
	Sequence       uint64
	Time           time.Time
	NewestEvidence time.Time
	Removed        []netip.Prefix // those that are not there are passed over
	Added          []Entry        // replaces an entry of the same prefix; each prefix once
	Endings        []Ending       // the whole table, which replaces the former; as in [Build]
	Decommissioned time.Time      // as in [Build]
}

// Sequence returns the stored counter of published states.
func (s *Snapshot) Sequence() uint64 { return s.sequence }

// Serial returns the sequence as the DNS shows it.
func (s *Snapshot) Serial() uint32 { return SerialOf(s.sequence) }

// Time returns when the commit was made that published this state.
func (s *Snapshot) Time() time.Time { return s.time }

// NewestEvidence returns when the newest counted observation was received;
// zero when there is none.
func (s *Snapshot) NewestEvidence() time.Time { return s.newest }

// Decommissioned returns since when the list has ended (RFC 6471 §3.4); zero while
// it is in use. Such a snapshot has no entries.
func (s *Snapshot) Decommissioned() time.Time { return s.decommissioned }

// Lookup returns the entry that covers the address, which may be IPv4 mapped
// into IPv6.
func (s *Snapshot) Lookup(addr netip.Addr) (Entry, bool) {
	addr = addr.Unmap()
	if addr.Is4() {
		if ref, ok := s.hosts.find(hostOf(addr)); ok {
			return s.entry(netip.PrefixFrom(addr, 32), ref), true
		}
		if s.nets.Size4() == 0 {
			return Entry{}, false
		}
	}
	addr = addr.WithZone("")
	net, ok := s.nets.Lookup(addr)
	if !ok {
		return Entry{}, false
	}
	return s.entry(netip.PrefixFrom(addr, int(net.bits)).Masked(), net.ref), true
}

// Get returns the entry of exactly this prefix.
func (s *Snapshot) Get(p netip.Prefix) (Entry, bool) {
	p, err := unmapPrefix(p)
	if err != nil {
		return Entry{}, false
	}
	var ref uint32
	ok := false
	if isHost(p) {
		ref, ok = s.hosts.find(hostOf(p.Addr()))
	} else if p.IsValid() {
		var net netRef
		net, ok = s.nets.Get(p)
		ref = net.ref
	}
	if !ok {
		return Entry{}, false
	}
	return s.entry(p.Masked(), ref), true
}

// Len returns the number of entries.
func (s *Snapshot) Len() int { return s.hosts.n + s.nets.Size() }

// Counts returns the number of entries by the class that decides their answer.
func (s *Snapshot) Counts() map[Class]int {
	out := make(map[Class]int)
	for class, n := range s.counts {
		if n > 0 {
			out[Class(class)] = n
		}
	}
	return out
}

// All yields every entry, sorted by [ComparePrefix].
func (s *Snapshot) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, all := range []netip.Prefix{all4, all6} {
			for e := range s.Within(all) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// overlaps reports whether anything is published of p.
func (s *Snapshot) overlaps(p netip.Prefix) bool {
	for range s.Within(p) {
		return true
	}
	_, wider := s.Lookup(p.Addr())
	return wider
}

// Within yields the entries that lie inside p, sorted by [ComparePrefix].
func (s *Snapshot) Within(p netip.Prefix) iter.Seq[Entry] {
	p, err := unmapPrefix(p)
	if err != nil || !p.IsValid() {
		return func(func(Entry) bool) {}
	}
	p = p.Masked()
	if p.Addr().Is4() {
		return func(yield func(Entry) bool) {
			s.walk4(p, func(some []Host) bool {
				for _, h := range some {
					if !yield(s.entry(hostPrefix(h.Addr), h.Told)) {
						return false
					}
				}
				return true
			}, yield)
		}
	}
	return func(yield func(Entry) bool) {
		for q, net := range s.nets.Subnets(p) {
			if !yield(s.entry(q, net.ref)) {
				return
			}
		}
	}
}

// Until returns when the entry that covers the address ends, if that is so soon
// that an answer's TTL may have to be cut.
func (s *Snapshot) Until(addr netip.Addr) (time.Time, bool) {
	if len(s.endings) == 0 {
		return time.Time{}, false
	}
	addr = addr.Unmap().WithZone("")
	i, found := slices.BinarySearchFunc(s.endings, addr, func(e Ending, a netip.Addr) int {
		return e.Prefix.Addr().Compare(a)
	})
	if !found {
		i-- // the last that begins before the address
	}
	if i < 0 || !s.endings[i].Prefix.Contains(addr) {
		return time.Time{}, false
	}
	return s.endings[i].Until, true
}

// Superseded returns a channel that is closed when a newer snapshot has taken
// the place of this one.
func (s *Snapshot) Superseded() <-chan struct{} { return s.superseded }

// Supersede closes the channel. It may be called more than once.
func (s *Snapshot) Supersede() { s.once.Do(func() { close(s.superseded) }) }

func (s *Snapshot) entry(p netip.Prefix, ref uint32) Entry {
	c := &s.table[ref]
	return Entry{Prefix: p, Classes: c.classes, Class: c.class, Summary: c.summary}
}

var (
	all4 = netip.MustParsePrefix("0.0.0.0/0")
	all6 = netip.MustParsePrefix("::/0")
)

func isHost(p netip.Prefix) bool { return p.Addr().Is4() && p.Bits() == 32 }

// hostOf returns an IPv4 address as a number.
func hostOf(addr netip.Addr) uint32 {
	a := addr.As4()
	return binary.BigEndian.Uint32(a[:])
}

// hostPrefix returns the prefix of one IPv4 host.
func hostPrefix(host uint32) netip.Prefix {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], host)
	return netip.PrefixFrom(netip.AddrFrom4(a), 32)
}
