package dnsd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	lengthSize = 2 // octets before each message (RFC 1035 §4.2.2)
	tcpBuffer  = 2048
	// lastCall is for how long a server that stops lets in who had connected.
	lastCall = 100 * time.Millisecond
)

// serveTCP accepts connections until the listener is closed or its deadline has
// passed, and returns when the last one has ended. A deadline is how a stop is
// told: those whose questions the kernel has taken already, for connections that
// wait to be accepted, are let in still; closing would reset them.
func (s *Server) serveTCP(ctx context.Context, l *net.TCPListener, counts *tally) error {
	var open sync.WaitGroup
	defer open.Wait()
	for last := false; ; {
		conn, err := l.AcceptTCP()
		switch {
		case err == nil:
			cl := s.clients.enter(conn)
			open.Go(func() { s.serveClient(cl, counts) })
		case errors.Is(err, os.ErrDeadlineExceeded):
			if last {
				_ = l.Close() // its only error is that it is closed already
				return nil
			}
			last = true
			_ = l.SetDeadline(time.Now().Add(lastCall)) // an error means that it is closed
		case errors.Is(err, net.ErrClosed):
			return ended(ctx, fmt.Errorf("accept dns connections on %s: %w", l.Addr(), err))
		default: // no more file descriptors, or the client has left again
			s.loud.Do(func() { s.log.Warn("dns connection could not be accepted", "err", err) })
			if pause(ctx, errorPause) != nil {
				return nil
			}
		}
	}
}

// outgoing is what is sent to a client: a message behind its length, or a
// transfer, whose messages are made while they are sent.
type outgoing struct {
	message  []byte
	transfer *transfer
	began    time.Time // when the question had been read
}

// serveClient answers the questions of one connection. Nothing that an answer
// needs is waited for, so they are made one after the other as they are read; it
// is sending that can wait, so another goroutine does that, and questions are
// read and answered while earlier answers are on their way (RFC 7766 §6.2.1.1).
// When a client does not take its answers, no more of its questions are read.
func (s *Server) serveClient(cl *client, counts *tally) {
	defer s.clients.leave(cl)
	answers := make(chan outgoing, s.limits.TCPPipeline)
	var sender sync.WaitGroup
	sender.Go(func() { s.send(cl, answers, counts) })
	s.readQuestions(cl, answers, counts)
	close(answers)
	sender.Wait()
	_ = cl.conn.Close() // all was sent, or never will be
}

// readQuestions reads until the client is done, too slow, or closed.
func (s *Server) readQuestions(cl *client, answers chan<- outgoing, counts *tally) {
	in := bufio.NewReaderSize(cl.conn, tcpBuffer)
	for {
		packet, err := s.readQuestion(cl, in)
		if err != nil {
			return // whatever it is, it is the client's affair, and there are many
		}
		began := time.Now()
		s.clients.active(cl)
		out, t := s.handle(make([]byte, lengthSize, minUDP), packet, cl, counts)
		if len(out) == lengthSize && t == nil {
			continue
		}
		binary.BigEndian.PutUint16(out, uint16(len(out)-lengthSize))
		answers <- outgoing{out, t, began} // the sender takes them until the channel is closed
	}
}

// readQuestion reads one message. Between messages a client may be idle, but
// once one has begun, all of it must come soon. Memory is taken as octets
// come in, not as they are announced.
func (s *Server) readQuestion(cl *client, in *bufio.Reader) ([]byte, error) {
	if in.Buffered() == 0 {
		if err := s.clients.awaitQuestion(cl, s.limits.TCPIdle); err != nil {
			return nil, err
		}
		if _, err := in.Peek(1); err != nil {
			return nil, err
		}
	}
	if err := s.clients.awaitQuestion(cl, s.limits.TCPRead); err != nil {
		return nil, err
	}
	var length [lengthSize]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	var packet bytes.Buffer
	_, err := io.CopyN(&packet, in, int64(binary.BigEndian.Uint16(length[:])))
	return packet.Bytes(), err
}

// send writes the answers to a connection until the channel is closed. After
// an error it closes the connection, which ends the reader, and lets the rest go.
func (s *Server) send(cl *client, answers <-chan outgoing, counts *tally) {
	out := bufio.NewWriterSize(cl.conn, tcpBuffer)
	broken := false
	for answer := range answers {
		if !broken {
			if answer.transfer != nil {
				broken = s.sendTransfer(cl, out, answer.transfer, counts) != nil
			} else {
				last := len(answers) == 0
				broken = s.write(cl, out, answer.message, last) != nil
				if last && !broken {
					counts.timed.end(answer.began, 1)
				}
			}
			if broken {
				reset(cl.conn)
			}
		}
		if broken {
			counts.dropped[notSent].Add(1)
		}
	}
}

// write writes an answer, and makes sure that it leaves if it is the last for now.
func (s *Server) write(cl *client, out *bufio.Writer, answer []byte, last bool) error {
	if err := s.clients.awaitSent(cl, s.limits.TCPWrite); err != nil {
		return err
	}
	if _, err := out.Write(answer); err != nil {
		return err
	}
	if !last {
		return nil
	}
	return out.Flush()
}
