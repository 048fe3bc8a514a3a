package listing

import (
	"encoding/binary"
	"math/bits"
)

// The digest of what is published is a sum of [entryHash]. Of hosts alone, nearly
// all of a list, it takes a fraction of the time: what XXH64 makes of the 28 bytes
// of an entry depends for the last twelve on what the entry tells, which many tell
// alike, and for the first eight on nothing.

// The primes of XXH64.
const (
	prime1 uint64 = 11400714785074694791
	prime2 uint64 = 14029467366897019727
	prime3 uint64 = 1609587929392839161
	prime4 uint64 = 9650029242287828579
	prime5 uint64 = 2870177450012600261
)

// xxRound is a round of XXH64 over eight bytes.
func xxRound(v uint64) uint64 { return bits.RotateLeft64(v*prime2, 31) * prime1 }

func xxMerge(h, round uint64) uint64 { return bits.RotateLeft64(h^round, 27)*prime1 + prime4 }

// tail is what the last twelve bytes of a host's entry put into its hash.
type tail struct{ eight, four uint64 }

func (c *content) tail() tail {
	b := entryBytes(Entry{Prefix: hostPrefix(0), Classes: c.classes, Class: c.class, Summary: c.summary})
	return tail{xxRound(binary.LittleEndian.Uint64(b[16:])), uint64(binary.LittleEndian.Uint32(b[24:])) * prime1}
}

// hostHash is entryHash of a host.
func hostHash(host uint32, t tail) uint64 {
	const mapped = 0xffff0000 // RFC 4291 §2.5.5.2: the four bytes before an IPv4 address, as they are read
	h := prime5 + entrySize
	h = xxMerge(h, 0)
	h = xxMerge(h, xxRound(uint64(bits.ReverseBytes32(host))<<32|mapped))
	h = xxMerge(h, t.eight)
	h = bits.RotateLeft64(h^t.four, 23)*prime2 + prime3
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// digest adds up the hashes of all entries, and counts them by the class that
// decides their answer.
func (s *Snapshot) digest() (sum uint64, counts [ClassManual + 1]int) {
	tails, uses := make([]tail, len(s.table)), make([]int, len(s.table))
	for ref := range s.table {
		tails[ref] = s.table[ref].tail()
	}
	for i, p := range s.hosts.pages {
		if p == nil {
			continue
		}
		for j := range p {
			for _, l := range p[j].leaves() {
				sum += l.digest(uint32(i)<<24|uint32(j)<<20, tails, uses)
			}
		}
	}
	for p, net := range s.nets.All() {
		sum += entryHash(s.entry(p, net.ref))
		uses[net.ref]++
	}
	for ref, n := range uses {
		if class := s.table[ref].class; int(class) < len(counts) {
			counts[class] += n
		}
	}
	return sum, counts
}

// digest adds up the hashes of the hosts of a leaf whose /12 begins at base, and
// counts the uses of each number. It is [leaf.between] without a call for each host.
func (l *leaf) digest(base uint32, tails []tail, uses []int) (sum uint64) {
	if l == nil {
		return 0
	}
	for sub := range uint32(len(l.ends)) {
		first := base | sub<<16
		start, end := l.bounds(sub)
		if l.width > 0 {
			for i := start; i < end; i++ {
				ref := l.ref(i)
				uses[ref]++
				sum += hostHash(first|uint32(l.low(i)), tails[ref])
			}
			continue
		}
		uses[l.same] += int(end - start)
		t := tails[l.same]
		for i := start; i < end; i++ {
			sum += hostHash(first|uint32(binary.LittleEndian.Uint16(l.data[2*i:])), t)
		}
	}
	return sum
}
