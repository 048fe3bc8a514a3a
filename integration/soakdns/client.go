package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// listedAddress returns one of the listed addresses, all of three digits an
// octet, so that questions for them are of one length.
func listedAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(130 + i/1_000_000%20), byte(100 + i/10_000%100), byte(100 + i/100%100), byte(100 + i%100)})
}

// clean is an address that nobody lists, of the same length.
func clean(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(201 + i/1_000_000%20), byte(100 + i/10_000%100), byte(100 + i/100%100), byte(100 + i%100)})
}

// appendQuestion writes the question for the A record of an address.
func appendQuestion(out []byte, id uint16, addr netip.Addr) []byte {
	out = binary.BigEndian.AppendUint16(out, id)
	out = append(out, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	v := addr.As4()
	for _, octet := range slices.Backward(v[:]) {
		label := fmt.Append(nil, octet)
		out = append(append(out, byte(len(label))), label...)
	}
	out = append(out, "\x02bl\x07example\x00"...)
	return append(out, 0, 1, 0, 1)
}

// right reports whether a packet answers a question as it must be answered.
func right(answer []byte, id uint16, listed bool) bool {
	if len(answer) < 12 || binary.BigEndian.Uint16(answer) != id || answer[2]&0x84 != 0x84 {
		return false
	}
	rcode, records := answer[3]&0xF, binary.BigEndian.Uint16(answer[6:])
	if listed {
		return rcode == 0 && records == 1
	}
	return rcode == 3 && records == 0
}

func dialUDP(ctx context.Context, addr string) (*net.UDPConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// lockStep asks one question after the other until ctx ends, and keeps how long
// each took. Without an answer after a while it asks the next.
type lockStep struct {
	wait                     time.Duration
	asked, wrong, unanswered int
	times                    []time.Duration
}

func (l *lockStep) run(ctx context.Context, addr string, entries int) error {
	conn, err := dialUDP(context.WithoutCancel(ctx), addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	for i := 0; ctx.Err() == nil; i++ {
		who, listed := listedAddress(i*7919%entries), i%2 == 0
		if !listed {
			who = clean(i)
		}
		began := time.Now()
		l.asked++
		if err := conn.SetDeadline(began.Add(l.wait)); err != nil {
			return err
		}
		_, _ = conn.Write(appendQuestion(buf[:0], uint16(i), who)) // what cannot be sent is not answered
		n, err := readID(conn, buf, uint16(i))
		l.times = append(l.times, time.Since(began))
		switch {
		case err != nil:
			l.unanswered++
		case !right(buf[:n], uint16(i), listed):
			l.wrong++
		}
	}
	return nil
}

// readID reads the answer with an ID; others come from questions given up.
func readID(conn net.Conn, buf []byte, id uint16) (int, error) {
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errNoAnswer
		}
		if err == nil && n >= 2 && binary.BigEndian.Uint16(buf) == id {
			return n, nil
		}
		if err != nil {
			time.Sleep(time.Millisecond) // refused: nobody is there yet
			return 0, errNoAnswer
		}
	}
}

// quantile returns a quantile of times, which it sorts.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(q*float64(len(times))))]
}

// stream asks at a rate, whatever is answered, and finds out what was lost.
type stream struct {
	wait time.Duration
	// next appends the question of a number, and tells whether its address is listed.
	next                   func(out []byte, id uint16, n int) (packet []byte, listed bool)
	asked, answered, wrong atomic.Int64
}

// newStream returns one of which every second question is for a listed address.
func (s *soak) newStream() *stream {
	return &stream{wait: s.wait, next: func(out []byte, id uint16, n int) ([]byte, bool) {
		if n *= 7919; n%2 == 0 {
			return appendQuestion(out, id, listedAddress(n%s.entries)), true
		}
		return appendQuestion(out, id, clean(n)), false
	}}
}

const streamSockets = 8 // each with IDs of its own, which last longer than an answer is waited for

// run asks until ctx ends, and then waits for what is still to come.
func (s *stream) run(ctx context.Context, addr string, rate int) error {
	g, _ := errgroup.WithContext(context.WithoutCancel(ctx))
	for k := range streamSockets {
		g.Go(func() error { return s.one(ctx, addr, float64(rate)/streamSockets, k) })
	}
	return g.Wait()
}

// one asks over one socket what is left of the numbers by the others.
func (s *stream) one(ctx context.Context, addr string, rate float64, first int) error {
	c, err := dialUDP(context.WithoutCancel(ctx), addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetReadBuffer(4 << 20) // the default is a little small for the end of a restart
	var mu sync.Mutex
	waiting := make(map[uint16]bool) // whether the address is listed
	var reader sync.WaitGroup
	reader.Go(func() { s.read(c, &mu, waiting) })
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	began, sent, buf := time.Now(), 0, make([]byte, 0, 512)
	for ctx.Err() == nil {
		for ; float64(sent) < time.Since(began).Seconds()*rate; sent++ {
			packet, listed := s.next(buf, uint16(sent), sent*streamSockets+first)
			mu.Lock()
			waiting[uint16(sent)] = listed
			mu.Unlock()
			_, _ = c.Write(packet) // what cannot be sent is not answered
			s.asked.Add(1)
		}
		<-ticker.C
	}
	for end := time.Now().Add(s.wait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		left := len(waiting)
		mu.Unlock()
		if left == 0 {
			break
		}
	}
	_ = c.SetReadDeadline(time.Now())
	reader.Wait()
	return nil
}

// read takes answers until its deadline.
func (s *stream) read(c net.Conn, mu *sync.Mutex, waiting map[uint16]bool) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil || n < 12 {
			continue // refused while nobody is there
		}
		id := binary.BigEndian.Uint16(buf)
		mu.Lock()
		listed, known := waiting[id]
		delete(waiting, id)
		mu.Unlock()
		if !known {
			continue
		}
		s.answered.Add(1)
		if !right(buf[:n], id, listed) {
			s.wrong.Add(1)
		}
	}
}
