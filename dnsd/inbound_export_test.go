package dnsd

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"backscatter/zonefile"
)

// canned answers a question with a stream of messages, whatever the question is.
type canned struct {
	net.Conn

	stream []byte
}

// Write gives all messages of the stream the question's number.
func (c *canned) Write(p []byte) (int, error) {
	for at := 0; at+2*lengthSize <= len(c.stream); at += lengthSize + int(binary.BigEndian.Uint16(c.stream[at:])) {
		copy(c.stream[at+lengthSize:], p[lengthSize:2*lengthSize])
	}
	return len(p), nil
}

func (c *canned) Read(p []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.stream)
	c.stream = c.stream[n:]
	return n, nil
}

func (*canned) SetDeadline(time.Time) error { return nil }

// Taken returns what is taken when a stream answers for the whole zone, and when
// it answers for what changed.
func Taken(stream []byte, have *zonefile.Copy) []*zonefile.Copy {
	allowed := func(netip.Prefix) error { return nil }
	var out []*zonefile.Copy
	for _, take := range []func(x *exchange) (*zonefile.Copy, error){
		func(x *exchange) (*zonefile.Copy, error) { return x.whole(allowed, time.Unix(0, 0)) },
		func(x *exchange) (*zonefile.Copy, error) {
			c, _, err := x.changes(have, allowed, time.Unix(0, 0))
			return c, err
		},
	} {
		c := &canned{stream: slices.Clone(stream)}
		zone, _ := wireName("bl.example.")
		if c, err := take(&exchange{Conn: c, name: "bl.example.", zone: zone, in: bufio.NewReader(c)}); err == nil {
			out = append(out, c)
		}
	}
	return out
}
