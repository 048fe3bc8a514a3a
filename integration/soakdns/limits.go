package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// stranger makes a client of this host be treated as any other: who is on the same
// host has no limits otherwise.
const stranger = "  access: []\n"

// askAround is a resolver of a busy mail server: it asks for other names all the
// time, of which hardly any is listed, and for one of them often. The limits are
// those of a server that nobody has told any.
func (s *soak) askAround(ctx context.Context) error {
	srv, _, err := s.start(ctx, setup{dns: stranger})
	if err != nil {
		return err
	}
	defer srv.kill()
	rate := fmt.Sprintf("%d a second for %s", s.unlisted, s.resolver)
	load, err := s.askFor(ctx, srv.dns, s.unlisted, func(out []byte, id uint16, n int) ([]byte, bool) {
		return appendQuestion(out, id, clean(n)), false
	})
	if err != nil {
		return err
	}
	s.lossless(load, "different unlisted names, "+rate)
	cookie, err := goodCookie(ctx, srv.dns, s.wait)
	if err != nil {
		return err
	}
	load, err = s.askFor(ctx, srv.dns, s.unlisted, func(out []byte, id uint16, _ int) ([]byte, bool) {
		out = appendQuestion(out, id, listedAddress(0))
		out[11] = 1 // of an OPT record
		return appendCookie(out, cookie), true
	})
	if err != nil {
		return err
	}
	s.lossless(load, "one name with a good cookie, "+rate)
	_, err = srv.stop()
	return err
}

// askFor asks as one resolver does, for as long as it is to.
func (s *soak) askFor(ctx context.Context, addr string, rate int, next func([]byte, uint16, int) ([]byte, bool)) (*stream, error) {
	load := &stream{wait: s.wait, next: next}
	asking, done := context.WithTimeout(ctx, s.resolver)
	defer done()
	return load, load.run(asking, addr, rate)
}

// appendCookie writes an OPT record with a COOKIE option (RFC 7873 §4).
func appendCookie(out, cookie []byte) []byte {
	out = append(out, 0, 0, 41, 4, 208, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint16(out, uint16(4+len(cookie)))
	out = append(out, 0, 10)
	out = binary.BigEndian.AppendUint16(out, uint16(len(cookie)))
	return append(out, cookie...)
}

// goodCookie asks for a server cookie alone (RFC 7873 §5.4).
func goodCookie(ctx context.Context, addr string, wait time.Duration) ([]byte, error) {
	c, err := dialUDP(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait)) // of an open socket
	mine := []byte("8 octets")
	packet := appendCookie([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, mine)
	if _, err := c.Write(packet); err != nil {
		return nil, err
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		return nil, fmt.Errorf("ask for a cookie: %w", err)
	}
	at := bytes.Index(buf[:n], mine)
	const size = 24 // of a client's cookie and a server's (RFC 9018 §4)
	if at < 0 || n-at < size {
		return nil, fmt.Errorf("ask for a cookie: answered %x", buf[:n])
	}
	return buf[at : at+size : at+size], nil
}

// bounds are how many octets may go out for one in, by what is asked: half of it
// for IPv4 and half for IPv6, with EDNS and without.
var bounds = []struct {
	what  string
	qtype uint16
	names []string
	bar   float64
}{
	{"A", dns.TypeA, []string{listedIPv4, listedIPv6}, 1.3},
	{"NXDOMAIN", dns.TypeA, []string{"1.100.100.201." + zone + ".", "1" + listedIPv6[1:]}, 2},
	{"TXT", dns.TypeTXT, []string{listedIPv4, listedIPv6}, 3.5},
	{"ANY", dns.TypeANY, []string{listedIPv4, listedIPv6}, 1.5},
	{"refused", dns.TypeA, []string{"www.example.net."}, 1},
}

const (
	listedIPv4 = "100.100.100.130." + zone + "." // listedAddress(0)
	listedIPv6 = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2." + zone + "."
)

const (
	belowLimit = 100 // questions, fewer than are answered about one name in a second
	beyond     = 20_000
)

// amplify measures what somebody would make of our answers who asks in the name of
// another, below the limits and beyond them.
func (s *soak) amplify(ctx context.Context) error {
	srv, state, err := s.start(ctx, setup{dns: stranger, more: `policy: {listable: ["2001:db8::/32"]}` + "\n"})
	if err != nil {
		return err
	}
	defer srv.kill()
	if err := s.tool(ctx, state, nil, "list", "2001:db8:0:1::/64", "--reason", "soak", "--permanent"); err != nil {
		return err
	}
	for i, b := range bounds {
		var packets [][]byte
		for _, name := range b.names {
			m := new(dns.Msg)
			m.Question = []dns.Question{{Name: name, Qtype: b.qtype, Qclass: dns.ClassINET}}
			plain, err := m.Pack()
			if err != nil {
				return err
			}
			m.SetEdns0(1232, true)
			edns, err := m.Pack()
			if err != nil {
				return err
			}
			packets = append(packets, plain, edns)
		}
		from := net.IPv4(127, 0, byte(10+i), 1) // another client, as limits count them
		below, err := s.exchange(ctx, srv.dns, from, packets, belowLimit, true)
		if err != nil {
			return err
		}
		s.row(below > 0 && below <= b.bar, "octets out for each in: "+b.what, fmt.Sprintf("≤ %.1f", b.bar), "%.2f", below)
		over, err := s.exchange(ctx, srv.dns, from, packets, beyond, false)
		if err != nil {
			return err
		}
		s.speed(over <= 0.5, "the same over the limit", "≤ 0.5", "%.2f", over)
	}
	_, err = srv.stop()
	return err
}

// exchange sends packets in turn, so many in all, and returns how many octets came
// back for each that went out; waiting for each answer, or for none.
func (s *soak) exchange(ctx context.Context, addr string, from net.IP, packets [][]byte, n int, wait bool) (float64, error) {
	c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: from}}).DialContext(ctx, "udp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if u, ok := c.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(4 << 20) // what does not fit is lost
	}
	sent, received := 0, 0
	buf := make([]byte, 4096)
	read := func(d time.Duration) error {
		_ = c.SetReadDeadline(time.Now().Add(d)) // of an open socket
		got, err := c.Read(buf)
		received += got
		return err
	}
	for i := range n {
		packet := packets[i%len(packets)]
		if _, err := c.Write(packet); err != nil {
			return 0, err
		}
		sent += len(packet)
		if wait {
			if err := read(s.wait); err != nil {
				return 0, fmt.Errorf("%w to %x: %w", errNoAnswer, packet, err)
			}
		} else if i%64 == 0 {
			for read(time.Microsecond) == nil { // what is there
				continue
			}
		}
	}
	for !wait {
		var timeout net.Error
		if err := read(200 * time.Millisecond); errors.As(err, &timeout) && timeout.Timeout() {
			break
		} else if err != nil {
			return 0, err
		}
	}
	return float64(received) / float64(sent), nil
}
