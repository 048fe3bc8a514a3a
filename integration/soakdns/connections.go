package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Two more clients, each in a network of its own.
var (
	another  = net.IPv4(127, 0, 1, 1)
	resident = net.IPv4(127, 0, 2, 1)
)

// openedAtOnce is after how many connections of one client another asks.
const openedAtOnce = 100

// holdConnections has one client open many connections, every second of which
// it never asks anything over, while the others send a byte at a time.
func (s *soak) holdConnections(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{})
	if err != nil {
		return err
	}
	defer srv.kill()
	stays, err := s.dialTCP(ctx, srv.dns, resident)
	if err != nil {
		return err
	}
	defer stays.Close()
	before, err := srv.rss()
	if err != nil {
		return err
	}
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	failed, most := 0, before
	for len(held) < s.connections {
		more, err := s.openMany(ctx, srv.dns, min(openedAtOnce, s.connections-len(held)))
		held = append(held, more...)
		if err != nil {
			return fmt.Errorf("after %d connections: %w", len(held), err)
		}
		dribble(held)
		if s.askTCP(stays) != nil {
			failed++
		}
		now, err := srv.rss()
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	times, unanswered := s.askOften(ctx, srv.dns, held)
	failed += unanswered
	if s.askTCP(stays) != nil {
		failed++
	}
	after, err := srv.rss()
	if err != nil {
		return err
	}
	most = max(most, after)
	open, err := srv.metric(ctx, "backscatter_dns_tcp_connections")
	if err != nil {
		return err
	}
	median, worst := quantile(times, 0.5), quantile(times, 1)
	s.speed(median <= 5*time.Millisecond, fmt.Sprintf("another client connects and asks, %d held", s.connections), "≤ 5 ms",
		"median %s, worst of 101 %s", median.Round(time.Microsecond), worst.Round(time.Microsecond))
	s.row(failed == 0, "questions of other clients that failed", "0", "%d", failed)
	s.row(open <= 512, "connections that are open", "≤ 512", "%.0f", open)
	s.row(most-before <= 10e6, "memory that it took", "≤ 10 MB", "%.1f MB", (most-before)/1e6)
	_, err = srv.stop()
	return err
}

// openMany opens so many connections of one client, and sends the first octet of
// a length over every second.
func (s *soak) openMany(ctx context.Context, addr string, n int) (conns []net.Conn, err error) {
	for i := range n {
		c, err := s.dialTCP(ctx, addr, nil)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if i%2 == 0 {
			_, _ = c.Write([]byte{0}) // it may be closed again already
		}
	}
	return conns, nil
}

// askAnew is another client, which connects and asks.
func (s *soak) askAnew(ctx context.Context, addr string) error {
	c, err := s.dialTCP(ctx, addr, another)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.askTCP(c)
}

// askOften has another client connect and ask again and again, and returns how
// long each took.
func (s *soak) askOften(ctx context.Context, addr string, held []net.Conn) (times []time.Duration, failed int) {
	for range 101 {
		dribble(held[max(0, len(held)-200):])
		began := time.Now()
		if s.askAnew(ctx, addr) != nil {
			failed++
		}
		times = append(times, time.Since(began))
	}
	return times, failed
}

// dribble sends one more octet over every second connection.
func dribble(conns []net.Conn) {
	for i := 0; i < len(conns); i += 2 {
		_, _ = conns[i].Write([]byte{0}) // most have been closed by the server
	}
}

func (s *soak) dialTCP(ctx context.Context, addr string, from net.IP) (net.Conn, error) {
	d := net.Dialer{Timeout: s.wait}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	return d.DialContext(ctx, "tcp", addr)
}

// askTCP asks for a listed address, and wants the right answer.
func (s *soak) askTCP(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(s.wait)); err != nil {
		return err
	}
	question := appendQuestion(make([]byte, 2, 64), 1, listedAddress(0))
	binary.BigEndian.PutUint16(question, uint16(len(question)-2))
	if _, err := c.Write(question); err != nil {
		return err
	}
	answer, err := readTCP(c)
	if err == nil && !right(answer, 1, true) {
		err = fmt.Errorf("wrong answer: %x", answer)
	}
	return err
}

func readTCP(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, answer)
	return answer, err
}
