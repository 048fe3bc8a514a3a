package dnsd

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// fudge is how many seconds the clocks of two servers may differ, for what we
// sign (RFC 8945 §10).
const fudge = 300

// Key is a secret that another server has too, by which both know each other's
// messages (TSIG, RFC 8945).
type Key struct {
	Name      string // a domain name; both sides must call the key the same
	Algorithm string // one of [Algorithms]
	Secret    []byte
}

// algorithms are those of RFC 8945 §6 that are still to be used, without those
// of which less than the whole is sent.
var algorithms = map[string]func() hash.Hash{
	"hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
}

// Algorithms returns the names of the algorithms that a [Key] can have.
func Algorithms() []string { return slices.Sorted(maps.Keys(algorithms)) }

// key is a [Key] with its names as they are signed: in wire format, lower case.
type key struct {
	name      []byte
	algorithm []byte
	hash      func() hash.Hash
	secret    []byte
}

func (k Key) compile() (*key, error) {
	name, err := wireName(k.Name)
	if err != nil || len(name) < 2 {
		return nil, fmt.Errorf("key %q: the name is no domain name", k.Name)
	}
	newHash, ok := algorithms[strings.TrimSuffix(k.Algorithm, ".")]
	if !ok {
		return nil, fmt.Errorf("key %q: algorithm %q: want one of %s", k.Name, k.Algorithm, strings.Join(Algorithms(), ", "))
	}
	if len(k.Secret) == 0 {
		return nil, fmt.Errorf("key %q: the secret is empty", k.Name)
	}
	algorithm, err := wireName(k.Algorithm)
	return &key{name: name, algorithm: algorithm, hash: newHash, secret: slices.Clone(k.Secret)}, err
}

// wireName returns a name in wire format, in lower case.
func wireName(name string) ([]byte, error) {
	wire := make([]byte, maxName+1)
	end, err := dns.PackDomainName(dns.CanonicalName(name), wire, 0, nil, false)
	if err != nil {
		return nil, err
	}
	return wire[:end], nil
}

// mac signs a message: what it follows, the message itself, and the variables of
// its signature (RFC 8945 §4.3).
func (k *key) mac(prior, message, variables []byte) []byte {
	h := hmac.New(k.hash, k.secret)
	if len(prior) > 0 {
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(prior))))
		h.Write(prior)
	}
	h.Write(message)
	h.Write(variables)
	return h.Sum(nil)
}

// signature is a TSIG record (RFC 8945 §4.2).
type signature struct {
	name      []byte // in wire format, lower case
	algorithm []byte // likewise
	time      uint64
	fudge     uint16
	mac       []byte
	id        uint16
	fault     uint16
	other     []byte
}

var errSignature = errors.New("the signature cannot be read")

// readSignature reads the record at off. The algorithm's name must not be compressed
// (RFC 8945 §4.2): it would be longer in an answer than it is here.
func readSignature(packet []byte, off int) (t signature, err error) {
	name, off, err := dns.UnpackDomainName(packet, off)
	if err != nil || len(packet)-off < fixedRecord {
		return t, errSignature
	}
	fixed, data := packet[off:off+fixedRecord], off+fixedRecord
	if binary.BigEndian.Uint16(fixed[2:]) != dns.ClassANY || binary.BigEndian.Uint32(fixed[4:]) != 0 {
		return t, errSignature
	}
	length := int(binary.BigEndian.Uint16(fixed[8:]))
	off, whole := skipName(packet, data, false)
	if !whole || off-data > length || len(packet)-data < length {
		return t, errSignature
	}
	algorithm, _, err := dns.UnpackDomainName(packet, data)
	if err != nil {
		return t, errSignature
	}
	rest := packet[off : data+length]
	if len(rest) < 10 {
		return t, errSignature
	}
	t.time = uint64(binary.BigEndian.Uint16(rest))<<32 | uint64(binary.BigEndian.Uint32(rest[2:]))
	t.fudge = binary.BigEndian.Uint16(rest[6:])
	size := int(binary.BigEndian.Uint16(rest[8:]))
	if rest = rest[10:]; len(rest) < size+6 {
		return t, errSignature
	}
	t.mac, rest = slices.Clone(rest[:size]), rest[size:]
	t.id, t.fault, t.other = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:]), slices.Clone(rest[6:])
	if len(t.other) != int(binary.BigEndian.Uint16(rest[4:])) {
		return t, errSignature
	}
	t.name, err = wireName(name)
	if err == nil {
		t.algorithm, err = wireName(algorithm)
	}
	return t, err
}

// variables are what of a signature is signed: all of it, or for all messages
// behind the first of a transfer the times alone (RFC 8945 §4.3.3, §5.3.1).
func (t *signature) variables(all bool) []byte {
	if !all {
		return t.appendTimes(nil)
	}
	out := slices.Clone(t.name)
	out = append(out, 0, byte(dns.ClassANY), 0, 0, 0, 0)
	out = t.appendTimes(append(out, t.algorithm...))
	out = binary.BigEndian.AppendUint16(out, t.fault)
	out = binary.BigEndian.AppendUint16(out, uint16(len(t.other)))
	return append(out, t.other...)
}

func (t *signature) appendTimes(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(t.time>>32))
	dst = binary.BigEndian.AppendUint32(dst, uint32(t.time))
	return binary.BigEndian.AppendUint16(dst, t.fudge)
}

// appendRecord writes the record behind a message.
func (t *signature) appendRecord(dst []byte) []byte {
	dst = append(dst, t.name...)
	dst = binary.BigEndian.AppendUint16(dst, dns.TypeTSIG)
	dst = append(dst, 0, byte(dns.ClassANY), 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.algorithm)+16+len(t.mac)+len(t.other)))
	dst = t.appendTimes(append(dst, t.algorithm...))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.mac)))
	dst = binary.BigEndian.AppendUint16(append(dst, t.mac...), t.id)
	dst = binary.BigEndian.AppendUint16(dst, t.fault)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.other)))
	return append(dst, t.other...)
}

// seal signs the messages of one exchange, each with the signature of the one
// before it (RFC 8945 §5.3). It belongs to one goroutine.
type seal struct {
	key   *key      // nil: the other side's is not known
	last  signature // of what came or went last
	later bool      // messages were signed with it
}

// keys are those that we have, by their names as they are signed.
type keys map[string]*key

// authenticate tells what the signature that begins at off is worth: the seal for
// the answer, and an rcode (RFC 8945 §5.2). NOTAUTH is explained by the seal.
func (k keys) authenticate(packet []byte, off int, now uint64) (*seal, int) {
	t, err := readSignature(packet, off)
	if err != nil {
		return nil, dns.RcodeFormatError
	}
	s := &seal{key: k[string(t.name)], last: t}
	if s.key == nil || !bytes.Equal(s.key.algorithm, t.algorithm) {
		return s.refuse(dns.RcodeBadKey)
	}
	want := s.key.mac(nil, unsigned(packet[:off], t.id), t.variables(true))
	switch {
	case len(t.mac) > len(want), len(t.mac) < max(10, len(want)/2): // §5.2.2.1
		return nil, dns.RcodeFormatError
	case !hmac.Equal(t.mac, want[:len(t.mac)]):
		return s.refuse(dns.RcodeBadSig)
	case now > t.time+uint64(t.fudge), t.time > now+uint64(t.fudge):
		return s.refuse(dns.RcodeBadTime)
	case len(t.mac) < len(want):
		return s.refuse(dns.RcodeBadTrunc)
	}
	return s, dns.RcodeSuccess
}

// authenticate finds out what the signature of a request is worth.
func (v *View) authenticate(q *request) {
	seal, rcode := v.Secondaries.have().authenticate(q.packet, q.signed, v.seconds())
	if q.seal = seal; rcode != dns.RcodeSuccess {
		q.fault = rcode
	}
}

func (v *View) seconds() uint64 { return uint64(max(0, v.Now.Unix())) }

func (s *seal) refuse(fault uint16) (*seal, int) {
	s.last.fault = fault
	return s, dns.RcodeNotAuth
}

// unsigned returns a message as it was before it was signed and sent on.
func unsigned(message []byte, id uint16) []byte {
	out := slices.Clone(message)
	binary.BigEndian.PutUint16(out, id)
	binary.BigEndian.PutUint16(out[10:], binary.BigEndian.Uint16(out[10:])-1)
	return out
}

// anonymous reports whether who asks has not shown that he knows a key of ours.
func (s *seal) anonymous() bool {
	return s.last.fault == dns.RcodeBadKey || s.last.fault == dns.RcodeBadSig
}

// size is how much longer a signed message is.
func (s *seal) size() int {
	const times = 6 // of the server, beside BADTIME
	size := len(s.last.name) + fixedRecord + len(s.last.algorithm) + 16
	if !s.anonymous() {
		size += s.key.hash().Size() + times
	}
	return size
}

// spareSeal leaves out why a signature is not taken where the answer would be longer
// than its question, or than the asker takes, as it is if the question has the key's
// name compressed: it would pay to ask in somebody's name.
func (q *request) spareSeal(over Transport) {
	if q.seal == nil || over == TCP || !q.seal.anonymous() {
		return
	}
	if headerSize+len(q.question)+q.optSize()+q.seal.size() > min(len(q.packet), q.most(over)) {
		q.seal = nil
	}
}

// sign signs the message that begins at base. Who does not know our key, or
// whose signature was wrong, gets the reason unsigned (§5.3.2).
func (s *seal) sign(dst []byte, base int, now uint64) []byte {
	message := dst[base:]
	t := signature{
		name: s.last.name, algorithm: s.last.algorithm, time: now, fudge: fudge,
		id: binary.BigEndian.Uint16(message), fault: s.last.fault,
	}
	switch t.fault {
	case dns.RcodeBadKey, dns.RcodeBadSig:
		t.fudge = s.last.fudge
	case dns.RcodeBadTime: // the time is the client's, ours stands beside it (§5.2.3)
		t.time, t.fudge = s.last.time, s.last.fudge
		t.other = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, uint16(now>>32)), uint32(now))
		fallthrough
	default:
		t.mac = s.key.mac(s.last.mac, message, t.variables(!s.later))
	}
	s.last, s.later = t, true
	binary.BigEndian.PutUint16(message[10:], binary.BigEndian.Uint16(message[10:])+1)
	return t.appendRecord(dst)
}

// signRequest signs a message that begins an exchange.
func (k *key) signRequest(message []byte, now uint64) ([]byte, *seal) {
	s := &seal{key: k, last: signature{name: k.name, algorithm: k.algorithm}}
	return s.sign(message, 0, now), s
}
