package main

import (
	"context"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	floodSockets = 16
	segments     = 32 // questions that the kernel makes of one call
)

// flood sends questions at a rate, and reads no answer. The kernel cuts each
// call's octets into many packets, as sending must cost less than answering.
func flood(ctx context.Context, addr string, rate float64, length time.Duration, entries int) (sent int, err error) {
	var conns []*net.UDPConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	size := len(appendQuestion(nil, 0, listedAddress(0)))
	for range floodSockets {
		u, err := dialUDP(ctx, addr)
		if err != nil {
			return 0, err
		}
		conns = append(conns, u)
		raw, err := u.SyscallConn()
		if err != nil {
			return 0, err
		}
		var option error
		if err := raw.Control(func(fd uintptr) {
			option = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
		}); err != nil || option != nil {
			return 0, option
		}
		_ = u.SetReadBuffer(4096) // nobody reads
	}
	packets := floodPackets(entries)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	for call := 0; ctx.Err() == nil; {
		took := time.Since(began)
		if took >= length {
			break
		}
		// What could not be sent in time is not made up for later.
		due := min(int(took.Seconds()*rate), sent+int(rate/100))
		for ; sent < due; sent += segments {
			_, _ = conns[call%floodSockets].Write(packets[call%len(packets)]) // a full queue loses them
			call++
		}
		<-ticker.C
	}
	return sent, ctx.Err()
}

// floodPackets returns calls' worth of questions, of which every second is for
// a listed address.
func floodPackets(entries int) [][]byte {
	packets := make([][]byte, 4096)
	for i := range packets {
		for k := range segments {
			n := (i*segments + k) * 7919
			who := clean(n)
			if k%2 == 0 {
				who = listedAddress(n % entries)
			}
			packets[i] = appendQuestion(packets[i], uint16(n), who)
		}
	}
	return packets
}
