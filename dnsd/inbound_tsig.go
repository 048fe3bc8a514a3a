package dnsd

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/miekg/dns"
)

// maxUnsigned is how many messages may follow each other without a signature
// (RFC 8945 §5.3.1).
const maxUnsigned = 99

// inboundSeal verifies the messages of an answer, of which not each need be signed:
// a signature covers all since the one before it. It belongs to one goroutine.
type inboundSeal struct {
	key      *key
	sum      hash.Hash // of what the next signature covers
	later    bool      // there was one
	unsigned int       // messages since the last one; at first as if there was one
}

func newInboundSeal(asked *seal) *inboundSeal {
	s := &inboundSeal{key: asked.key, unsigned: 1}
	s.begin(asked.last.mac)
	return s
}

// begin begins what follows a signature.
func (s *inboundSeal) begin(prior []byte) {
	s.sum = hmac.New(s.key.hash, s.key.secret)
	s.sum.Write(binary.BigEndian.AppendUint16(nil, uint16(len(prior))))
	s.sum.Write(prior)
}

// verify takes in a message whose signature begins at off; 0: it has none.
func (s *inboundSeal) verify(packet []byte, off int, now time.Time) error {
	if off == 0 {
		if s.unsigned++; !s.later || s.unsigned > maxUnsigned {
			return errors.New("the answer is not signed")
		}
		s.sum.Write(packet)
		return nil
	}
	t, err := readSignature(packet, off)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(t.name, s.key.name), !bytes.Equal(t.algorithm, s.key.algorithm):
		return errors.New("the answer is signed with another key")
	case t.fault != dns.RcodeSuccess:
		return fmt.Errorf("our signature was refused: %s; compare names, secrets and clocks of the key", dns.RcodeToString[int(t.fault)])
	}
	s.sum.Write(unsigned(packet[:off], t.id))
	s.sum.Write(t.variables(!s.later))
	seconds := uint64(max(0, now.Unix()))
	switch {
	case !hmac.Equal(t.mac, s.sum.Sum(nil)):
		return errors.New("the signature of the answer is wrong")
	case seconds > t.time+uint64(t.fudge), t.time > seconds+uint64(t.fudge):
		return errors.New("the answer was signed at another time; compare the clocks")
	}
	s.begin(t.mac)
	s.later, s.unsigned = true, 0
	return nil
}
