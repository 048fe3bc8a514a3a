package dnsd

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	dnstap "github.com/dnstap/golang-dnstap"
	framestream "github.com/farsightsec/golang-framestream"
	"google.golang.org/protobuf/proto"
)

const (
	// tapPatience is how long who reads dnstap may take for what it is sent, and to
	// say that it takes it. Samples wait meanwhile, as many as there is room for.
	tapPatience = time.Second
	// tapPause is how soon a reader that has gone is looked for again.
	tapPause = time.Second
	// tapLeave is how long a reader may take for the last of it: a server that ends
	// for the next one waits for it, and nobody answers meanwhile.
	tapLeave = 100 * time.Millisecond
)

// Tap says where samples of the questions and answers are sent to, as dnstap
// (dnstap.info): frame streams over a unix socket, a frame for each message.
type Tap struct {
	Socket   string // path of the socket, on which somebody else listens
	Sample   int    // one question in so many
	Identity string // of this server, told in each frame; empty: not told
	Version  string // the same
}

// Tap has samples sent from now on, in place of what was sent so far; nil sends
// none. What was sent so far is finished by Serve.
func (s *Server) Tap(t *Tap) {
	stream := &s.streams[dnsTap]
	if t == nil {
		stream.set(nil, 0)
		return
	}
	to := &tapped{stream: stream, server: s, socket: t.Socket}
	if t.Identity != "" {
		to.identity = []byte(t.Identity)
	}
	if t.Version != "" {
		to.version = []byte(t.Version)
	}
	stream.set(to, t.Sample)
}

// tapped writes samples as frames. While nobody reads them they are lost; it
// looks for a reader by itself.
type tapped struct {
	stream            *stream
	server            *Server
	socket            string
	identity, version []byte

	mu      sync.Mutex // guards conn and leaving against hurry
	conn    net.Conn
	leaving bool

	out     *framestream.Writer // nil: nobody reads
	tried   time.Time           // when one was looked for last
	waiting int                 // samples that are in out, and may not have been sent
}

func (t *tapped) take(e *sample) {
	if t.out == nil && !t.connect() {
		t.stream.count(lostPeer, 1)
		return
	}
	t.waiting++
	for _, kind := range []dnstap.Message_Type{dnstap.Message_AUTH_QUERY, dnstap.Message_AUTH_RESPONSE} {
		if kind == dnstap.Message_AUTH_RESPONSE && len(e.response) == 0 {
			break
		}
		frame, err := t.frame(e, kind)
		if err == nil {
			_, err = t.out.WriteFrame(frame)
		}
		if err != nil {
			t.fail(err)
			return
		}
	}
}

// connect looks for a reader, unless it did so a moment ago.
func (t *tapped) connect() bool {
	if t.ending() || time.Since(t.tried) < tapPause {
		return false
	}
	defer func() { t.tried = time.Now() }()
	ctx, cancel := context.WithTimeout(context.Background(), tapPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", t.socket)
	if err != nil {
		t.tell(err)
		return false
	}
	return t.use(conn)
}

func (t *tapped) ending() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leaving
}

// use agrees with a reader, unless it is too late for one.
func (t *tapped) use(conn net.Conn) bool {
	t.mu.Lock()
	t.conn = conn
	t.mu.Unlock()
	if t.ending() {
		_ = conn.Close() // nothing was sent
		return false
	}
	var err error
	t.out, err = framestream.NewWriter(conn, &framestream.WriterOptions{
		ContentTypes: [][]byte{dnstap.FSContentType}, Bidirectional: true, Timeout: tapPatience,
	})
	if err != nil {
		t.out = nil
		_ = conn.Close() // it never worked
		t.tell(fmt.Errorf("agree with the reader on %s: %w", t.socket, err))
		return false
	}
	t.server.log.Info("dnstap is read", "socket", t.socket)
	return true
}

// frame returns one message as dnstap has it.
func (t *tapped) frame(e *sample, kind dnstap.Message_Type) ([]byte, error) {
	family, protocol := dnstap.SocketFamily_INET, dnstap.SocketProtocol_UDP
	client, server := e.client.Addr().Unmap(), e.server.Addr().Unmap()
	if client.Is6() {
		family = dnstap.SocketFamily_INET6
	}
	if e.over == TCP {
		protocol = dnstap.SocketProtocol_TCP
	}
	m := &dnstap.Message{
		Type: &kind, SocketFamily: &family, SocketProtocol: &protocol,
		QueryAddress: client.AsSlice(), QueryPort: new(uint32(e.client.Port())),
		ResponsePort: new(uint32(e.server.Port())),
		QueryTimeSec: new(uint64(e.asked.Unix())), QueryTimeNsec: new(uint32(e.asked.Nanosecond())),
	}
	if !server.IsUnspecified() { // a socket for every address does not tell which
		m.ResponseAddress = server.AsSlice()
	}
	if kind == dnstap.Message_AUTH_QUERY {
		m.QueryMessage = e.query
	} else {
		m.ResponseTimeSec = new(uint64(e.answered.Unix()))
		m.ResponseTimeNsec = new(uint32(e.answered.Nanosecond()))
		m.ResponseMessage = e.response
	}
	return proto.Marshal(&dnstap.Dnstap{
		Type: dnstap.Dnstap_MESSAGE.Enum(), Identity: t.identity, Version: t.version, Message: m,
	})
}

func (t *tapped) flush() {
	if t.waiting == 0 {
		return
	}
	if err := t.out.Flush(); err != nil {
		t.fail(err)
		return
	}
	t.stream.count(written, t.waiting)
	t.waiting = 0
}

// fail gives a reader up, with what it has not taken.
func (t *tapped) fail(err error) {
	t.stream.count(lostPeer, t.waiting)
	t.waiting = 0
	t.out = nil
	_ = t.conn.Close() // it has failed already
	t.tell(err)
}

func (t *tapped) tell(err error) {
	t.stream.loud.Do(func() { t.server.log.Warn("dnstap is not read; trying again", "socket", t.socket, "err", err) })
}

// hurry leaves a reader tapLeave for all that is still to be done, and has no other
// one looked for.
func (t *tapped) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leaving {
		return
	}
	t.leaving = true
	if conn := t.conn; conn != nil {
		time.AfterFunc(tapLeave, func() { _ = conn.Close() }) // closed or not: it is over
	}
}

// close takes leave of the reader, who has until the end of tapLeave to hear of it.
func (t *tapped) close() {
	if t.out == nil {
		return
	}
	t.flush()
	if t.out == nil {
		return
	}
	if err := t.out.Close(); err != nil {
		t.tell(err)
	}
	_ = t.conn.Close() // whoever read has all, or never will
}
