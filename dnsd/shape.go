package dnsd

import (
	"encoding/binary"
	"fmt"

	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// shape is all that follows the question in the answers that are the same for
// every question of a sort: those for a zone's own name, one for each type, and
// those that hold nothing but its SOA. The general path makes it, so it cannot
// say anything else.
type shape struct {
	made     bool
	usable   bool
	records  [3]uint16 // in each section
	tail     []byte    // as it stands behind a question for the zone's own name
	pointers []int     // where tail holds compressed names
}

// The types that a zone's own name has an answer of its own for. All others
// share one, which is also that of all negative answers.
var shapedTypes = [...]uint16{dns.TypeSOA, dns.TypeNS, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeANY, negativeType}

const (
	negativeType  = dns.TypeNULL // of no zone's own name
	negativeShape = len(shapedTypes) - 1
)

// hostTypes are the types that the name of a name server has an answer of its own
// for, where it has such an address.
var hostTypes = [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeANY}

// shapes are those of one zone at one sequence, each made when it is first used.
type shapes struct {
	sequence uint64
	all      [len(shapedTypes)]shape
	hosts    []hostShapes
	hosted   bool // hosts were made
}

// hostShapes are those of a name server whose name lies in the zone.
type hostShapes struct {
	name []byte // on the wire, without the root label
	all  [len(hostTypes)]shape
}

// library keeps the shapes of a set of zones. It belongs to one worker.
type library struct {
	zones  *zonefile.Set
	byZone map[*zonefile.Zone]*shapes
	zone   *zonefile.Zone // that was asked for last
	last   *shapes        // its
}

// of returns the shapes of a zone that the view answers with.
func (l *library) of(v *View, zone *zonefile.Zone) *shapes {
	if l.zones != v.Zones {
		*l = library{zones: v.Zones, byZone: make(map[*zonefile.Zone]*shapes)}
	}
	all := l.last
	if l.zone != zone {
		if all = l.byZone[zone]; all == nil {
			all = &shapes{}
			l.byZone[zone] = all
		}
		l.zone, l.last = zone, all
	}
	// What is published at one sequence does not change.
	if sequence := v.Snapshot.Sequence(); all.sequence != sequence {
		*all = shapes{sequence: sequence}
	}
	return all
}

// get returns a shape of a zone's own name.
func (l *library) get(v *View, zone *zonefile.Zone, which int) (*shape, error) {
	s := &l.of(v, zone).all[which]
	if !s.made {
		var err error
		if *s, err = makeShape(v, zone.Name, shapedTypes[which]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// host returns the answer for a name server of the zone, or nil where that has
// nothing of the type; and whether the name is one at all.
func (l *library) host(v *View, zone *zonefile.Zone, name []byte, qtype uint16) (s *shape, known bool, err error) {
	all := l.of(v, zone)
	if !all.hosted {
		if all.hosts, err = makeHosts(v, zone); err != nil {
			return nil, false, err
		}
		all.hosted = true
	}
	for i := range all.hosts {
		h := &all.hosts[i]
		if !zonefile.SameName(h.name, name) {
			continue
		}
		for t, shaped := range hostTypes {
			if shaped == qtype && h.all[t].records[0] > 0 {
				return &h.all[t], true, nil
			}
		}
		return nil, true, nil
	}
	return nil, false, nil
}

// makeHosts asks the general path for the name servers that have addresses of
// the zone.
func makeHosts(v *View, zone *zonefile.Zone) ([]hostShapes, error) {
	var hosts []hostShapes
	for _, ns := range zone.NS {
		if len(zone.HostRecords(ns)) == 0 {
			continue
		}
		h := hostShapes{}
		for i, qtype := range hostTypes {
			packet, err := questionFor(dns.Fqdn(ns), qtype)
			if err != nil {
				return nil, err
			}
			h.name = packet[headerSize : len(packet)-fixedQuestion-1]
			if h.all[i], err = makeShape(v, dns.Fqdn(ns), qtype); err != nil {
				return nil, err
			}
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// shapeOf returns which shape answers a type for a zone's own name.
func shapeOf(qtype uint16) int {
	for i, t := range shapedTypes {
		if t == qtype {
			return i
		}
	}
	return negativeShape
}

// makeShape asks the general path for a name.
func makeShape(v *View, name string, qtype uint16) (shape, error) {
	packet, err := questionFor(name, qtype)
	if err != nil {
		return shape{}, err
	}
	q, ok := parse(packet)
	if !ok {
		return shape{}, fmt.Errorf("shape of %s: the question cannot be read", name)
	}
	r := v.resolve(&q, UDP)
	out, err := r.pack(nil, &q, false)
	if err != nil {
		return shape{}, err
	}
	s := shape{
		made:    true,
		usable:  r.authoritative && r.rcode == dns.RcodeSuccess,
		records: [3]uint16{uint16(len(r.answer)), uint16(len(r.authority)), uint16(len(r.additional))},
		tail:    out[len(packet):],
	}
	if qtype == negativeType {
		s.pointers = soaPointers(s.tail)
	}
	return s, nil
}

func questionFor(name string, qtype uint16) ([]byte, error) {
	packet := make([]byte, headerSize+maxName+fixedQuestion)
	binary.BigEndian.PutUint16(packet[4:], 1)
	end, err := dns.PackDomainName(name, packet, headerSize, nil, false)
	if err != nil {
		return nil, fmt.Errorf("pack name %s: %w", name, err)
	}
	binary.BigEndian.PutUint16(packet[end:], qtype)
	binary.BigEndian.PutUint16(packet[end+2:], dns.ClassINET)
	return packet[:end+fixedQuestion], nil
}

// soaPointers returns where a SOA record has compressed names: the owner and
// the first two fields of its data (RFC 1035 §3.3.13) may end in one.
func soaPointers(record []byte) []int {
	var at []int
	off := 0
	for field := range 3 {
		for record[off] != 0 && record[off]&pointerMask != pointerMask {
			off += 1 + int(record[off])
		}
		if record[off] == 0 {
			off++
		} else {
			at = append(at, off)
			off += 2
		}
		if field == 0 {
			off += fixedRecord
		}
	}
	return at
}

// appendTo appends the tail to a message whose question has so many bytes more
// than the zone's name: all that a compressed name can point to, the zone's name
// in the question or an earlier name of the tail, stands that much further back.
func (s *shape) appendTo(out []byte, more int) []byte {
	base := len(out)
	out = append(out, s.tail...)
	for _, at := range s.pointers {
		pointer := out[base+at:]
		binary.BigEndian.PutUint16(pointer, binary.BigEndian.Uint16(pointer)+uint16(more))
	}
	return out
}
