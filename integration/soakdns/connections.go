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

// holdConnections has one client open many connections, every second of which
// it never asks anything over, while the others send a byte at a time.
func (s *soak) holdConnections(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{})
	if err != nil {
		return err
	}
	defer srv.kill()
	stays, err := dialTCP(ctx, srv.dns, resident)
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
	residentAsks := func() {
		if _, err := askTCP(stays); err != nil {
			failed++
		}
	}
	for i := range s.connections {
		c, err := dialTCP(ctx, srv.dns, nil)
		if err != nil {
			return fmt.Errorf("connection %d of %d: %w", i, s.connections, err)
		}
		held = append(held, c)
		if i%2 == 0 {
			_, _ = c.Write([]byte{0}) // of a length; it may be closed again already
		}
		if i%500 == 0 {
			dribble(held)
			residentAsks()
			now, err := srv.rss()
			if err != nil {
				return err
			}
			most = max(most, now)
		}
	}
	var times []time.Duration
	for range 101 {
		dribble(held[max(0, len(held)-200):])
		began := time.Now()
		c, err := dialTCP(ctx, srv.dns, another)
		if err == nil {
			_, err = askTCP(c)
			c.Close()
		}
		if err != nil {
			failed++
		}
		times = append(times, time.Since(began))
	}
	residentAsks()
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
	s.row(median <= 5*time.Millisecond, fmt.Sprintf("another client connects and asks, %d held", s.connections), "≤ 5 ms",
		"median %s, worst of 101 %s", median.Round(time.Microsecond), worst.Round(time.Microsecond))
	s.row(failed == 0, "questions of other clients that failed", "0", "%d", failed)
	s.row(open <= 512, "connections that are open", "≤ 512", "%.0f", open)
	s.row(most-before <= 10e6, "memory that it took", "≤ 10 MB", "%.1f MB", (most-before)/1e6)
	_, err = srv.stop()
	return err
}

// dribble sends one more octet over every second connection.
func dribble(conns []net.Conn) {
	for i := 0; i < len(conns); i += 2 {
		_, _ = conns[i].Write([]byte{0}) // most have been closed by the server
	}
}

func dialTCP(ctx context.Context, addr string, from net.IP) (net.Conn, error) {
	d := net.Dialer{Timeout: answerWait}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	return d.DialContext(ctx, "tcp", addr)
}

// askTCP asks for a listed address and returns the answer.
func askTCP(c net.Conn) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(answerWait)); err != nil {
		return nil, err
	}
	question := appendQuestion(make([]byte, 2, 64), 1, listedAddress(0))
	binary.BigEndian.PutUint16(question, uint16(len(question)-2))
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	answer, err := readTCP(c)
	if err == nil && !right(answer, 1, true) {
		err = fmt.Errorf("wrong answer: %x", answer)
	}
	return answer, err
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
