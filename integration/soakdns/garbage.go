package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"backscatter/ops/control"
)

const (
	garbageEvery = 250 * time.Microsecond // over UDP
	changers     = 32                     // as many as may wait for a commit at a time
	settleTime   = 90 * time.Second       // longer than the control socket keeps an idle connection
)

// octets counts what garbage got out of the server.
type octets struct{ sent, received, answers atomic.Int64 }

// sendGarbage mixes valid questions with mutated ones over both transports,
// transfers that are begun and dropped, and changes of the list.
func (s *soak) sendGarbage(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{dns: unlimited, zone: `, transfer: [{from: ["127.0.0.0/8"]}]`})
	if err != nil {
		return err
	}
	defer srv.kill()
	before, err := srv.metric(ctx, "go_goroutines")
	if err != nil {
		return err
	}
	var (
		ask               = lockStep{wait: s.wait}
		udp, tcp, replies octets
		changes, axfrs    atomic.Int64
		memory            = make([]float64, 0, 1024)
	)
	timed, cancel := context.WithTimeout(ctx, s.garbage)
	defer cancel()
	g, _ := errgroup.WithContext(timed)
	g.Go(func() error { return ask.run(timed, srv.dns, s.entries) })
	g.Go(func() error { return garbageUDP(timed, srv.dns, &udp, mutated) })
	g.Go(func() error { return garbageUDP(timed, srv.dns, &replies, answerLike) })
	g.Go(func() error { return s.garbageTCP(timed, srv.dns, &tcp) })
	g.Go(func() error { return s.dropTransfers(timed, srv.dns, &axfrs) })
	for i := range changers {
		g.Go(func() error { return s.change(timed, srv.control, i, &changes) })
	}
	g.Go(func() error {
		for timed.Err() == nil {
			now, err := srv.rss()
			if err != nil {
				return err
			}
			memory = append(memory, now)
			sleep(timed, s.garbage/200)
		}
		return nil
	})
	if err := g.Wait(); err != nil && timed.Err() == nil {
		return err
	}
	srv.control.Close() // its connections have goroutines at the other end
	after, err := settled(ctx, srv, before)
	if err != nil {
		return err
	}
	s.row(ask.wrong == 0, fmt.Sprintf("valid questions among garbage, %s, wrong", s.garbage), "none", "%d of %d", ask.wrong, ask.asked)
	s.speed(ask.unanswered == 0, "lost of them", "none", "%d", ask.unanswered) // a queue can be full
	s.row(udp.received.Load() <= udp.sent.Load(), fmt.Sprintf("octets out for each in, %d mutated over UDP", udp.answers.Load()), "≤ 1: never amplified",
		"%.2f", float64(udp.received.Load())/float64(udp.sent.Load()))
	s.row(tcp.sent.Load() > 0, "octets of garbage over TCP", "survived", "%d", tcp.sent.Load())
	s.row(replies.answers.Load() == 0, "answers to what is an answer itself", "none", "%d", replies.answers.Load())
	s.row(axfrs.Load() > 0, "transfers begun and dropped", "survived", "%d", axfrs.Load())
	rate := float64(changes.Load()) / s.garbage.Seconds()
	s.speed(rate >= 0.98*float64(s.changes), "changes of the list a second meanwhile", fmt.Sprintf("≥ %d, but for the last", s.changes), "%.1f", rate)
	early, late := highest(memory[len(memory)/10:len(memory)/2]), highest(memory[len(memory)/2:])
	s.row(late-early <= 16e6, "highest memory, second half beside the first", "flat: ≤ 16 MB more", "%+.1f MB of %.1f", (late-early)/1e6, early/1e6)
	s.row(after <= before+2, "goroutines", "as before", "%.0f, before %.0f", after, before)
	_, err = srv.stop()
	return err
}

// settled waits until there are no more goroutines than before, and returns how
// many there are.
func settled(ctx context.Context, srv *server, before float64) (now float64, err error) {
	for end := time.Now().Add(settleTime); time.Now().Before(end); sleep(ctx, 200*time.Millisecond) {
		if now, err = srv.metric(ctx, "go_goroutines"); err != nil || now <= before+2 {
			break
		}
	}
	return now, err
}

func highest(values []float64) (most float64) {
	for _, v := range values {
		most = max(most, v)
	}
	return most
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// mutated returns a question that was damaged.
func mutated(rnd *rand.Rand) []byte {
	packet := appendQuestion(nil, uint16(rnd.Uint32()), listedAddress(rnd.IntN(1000)))
	if rnd.IntN(2) == 0 { // an OPT record with an option
		packet[11] = 1
		packet = append(packet, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)
	}
	for range 1 + rnd.IntN(4) {
		switch at := rnd.IntN(len(packet)); rnd.IntN(4) {
		case 0:
			packet[at] ^= 1 << rnd.IntN(8)
		case 1:
			packet[at] = byte(rnd.Uint32())
		case 2:
			packet = packet[:max(1, at)]
		case 3:
			packet = append(packet, packet[at:]...)
			packet = packet[:min(len(packet), 512)]
		}
	}
	return packet
}

// answerLike returns a packet that says that it is an answer.
func answerLike(rnd *rand.Rand) []byte {
	packet := mutated(rnd)
	if len(packet) > 2 {
		packet[2] |= 0x80
	}
	return packet
}

// garbageUDP sends packets, and counts what comes back.
func garbageUDP(ctx context.Context, addr string, o *octets, next func(*rand.Rand) []byte) error {
	c, err := dialUDP(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	done := make(chan struct{})
	go func() { // ends when c is closed; garbageUDP waits for it
		defer close(done)
		for buf := make([]byte, 4096); ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			o.received.Add(int64(n))
			o.answers.Add(1)
		}
	}()
	rnd := rand.New(rand.NewPCG(1, 2))
	ticker := time.NewTicker(garbageEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		packet := next(rnd)
		if _, err := c.Write(packet); err != nil {
			return err
		}
		o.sent.Add(int64(len(packet)))
		<-ticker.C
	}
	sleep(context.WithoutCancel(ctx), 100*time.Millisecond) // for the last answers
	c.Close()
	<-done
	return nil
}

// garbageTCP sends mutated questions with lengths that are right, or not, over
// connections that last for a while.
func (s *soak) garbageTCP(ctx context.Context, addr string, o *octets) error {
	rnd := rand.New(rand.NewPCG(3, 4))
	for ctx.Err() == nil {
		c, err := s.dialTCP(ctx, addr, nil)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		for range 1 + rnd.IntN(20) {
			packet := mutated(rnd)
			length := len(packet)
			if rnd.IntN(4) == 0 {
				length = rnd.IntN(1 << 16)
			}
			framed := append(binary.BigEndian.AppendUint16(nil, uint16(length)), packet...)
			n, err := c.Write(framed)
			o.sent.Add(int64(n))
			if err != nil {
				break // the server had enough of it
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, _ := c.Read(make([]byte, 4096)) // some of it, or nothing
		o.received.Add(int64(n))
		c.Close()
	}
	return nil
}

// dropTransfers asks for the whole zone, takes a little of it, and goes.
func (s *soak) dropTransfers(ctx context.Context, addr string, count *atomic.Int64) error {
	question := append([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "\x02bl\x07example\x00\x00\xfc\x00\x01"...)
	for ctx.Err() == nil {
		c, err := s.dialTCP(ctx, addr, nil)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		_ = c.SetDeadline(time.Now().Add(s.wait))
		if _, err = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)); err == nil {
			var first []byte
			if first, err = readTCP(c); err == nil && len(first) > 12 && first[3]&0xF == 0 {
				count.Add(1)
			}
		}
		c.Close()
		sleep(ctx, 20*time.Millisecond)
	}
	return nil
}

// change lists and delists an address of its own.
func (s *soak) change(ctx context.Context, c *control.Client, who int, count *atomic.Int64) error {
	var list control.ListRequest
	var delist control.DelistRequest
	err := errors.Join(json.Unmarshal(fmt.Appendf(nil, `{"reason": "soak", "entries": [{"key": "150.1.1.%d"}]}`, who), &list),
		json.Unmarshal(fmt.Appendf(nil, `{"reason": "soak", "keys": ["150.1.1.%d"]}`, who), &delist))
	if err != nil {
		return err
	}
	every := changers * time.Second / time.Duration(s.changes)
	began := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		sleep(ctx, time.Until(began.Add(time.Duration(i)*every))) // what was late is made up for
		if i%2 == 0 {
			_, err = c.List(ctx, list)
		} else {
			_, err = c.Delist(ctx, delist)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		count.Add(1)
	}
	return nil
}
