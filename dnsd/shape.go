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

// shapes are those of one zone at one sequence, each made when it is first used.
type shapes struct {
	sequence uint64
	all      [len(shapedTypes)]shape
}

// library keeps the shapes of a set of zones. It belongs to one worker.
type library struct {
	zones  *zonefile.Set
	byZone map[*zonefile.Zone]*shapes
}

// get returns a shape that the view answers with, or nil if there is none that
// fits its size.
func (l *library) get(v *View, zone *zonefile.Zone, which int) (*shape, error) {
	if l.zones != v.Zones {
		l.zones, l.byZone = v.Zones, make(map[*zonefile.Zone]*shapes)
	}
	all, ok := l.byZone[zone]
	if !ok {
		all = &shapes{}
		l.byZone[zone] = all
	}
	// What is published at one sequence does not change.
	if sequence := v.Snapshot.Sequence(); all.sequence != sequence {
		*all = shapes{sequence: sequence}
	}
	s := &all.all[which]
	if !s.made {
		var err error
		if *s, err = makeShape(v, zone, shapedTypes[which]); err != nil {
			return nil, err
		}
	}
	return s, nil
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

// makeShape asks the general path for a zone's own name.
func makeShape(v *View, zone *zonefile.Zone, qtype uint16) (shape, error) {
	packet, err := questionFor(zone.Name, qtype)
	if err != nil {
		return shape{}, err
	}
	q, ok := parse(packet)
	if !ok {
		return shape{}, fmt.Errorf("shape of %s: the question cannot be read", zone.Name)
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
