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
// for IPv4 and half for IPv6, with EDNS and without; and then with a client's cookie.
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
		plain, cookies, err := forged(b.names, b.qtype)
		if err != nil {
			return err
		}
		for k, c := range []struct {
			what    string
			packets [][]byte
			owed    int // octets of each answer
			bar     string
		}{
			{b.what, plain, 0, "≤ %.1f"},
			{b.what + ", client's cookie", cookies, serverCookie, "≤ %.1f but for the cookie"},
		} {
			from := net.IPv4(127, 0, byte(10+2*i+k), 1) // another client, as limits count them
			below, err := s.exchange(ctx, srv.dns, from, c.packets, belowLimit, true)
			if err != nil {
				return err
			}
			without := below
			without.out -= c.owed * below.answers
			seen := fmt.Sprintf("%.2f", below.ratio())
			if c.owed > 0 {
				seen += fmt.Sprintf(", but for the cookie %.2f", without.ratio())
			}
			s.row(without.ratio() > 0 && without.ratio() <= b.bar, "octets out for each in: "+c.what, fmt.Sprintf(c.bar, b.bar), "%s", seen)
			over, err := s.exchange(ctx, srv.dns, from, c.packets, beyond, false)
			if err != nil {
				return err
			}
			s.speed(over.ratio() <= 0.5, "the same over the limit", "≤ 0.5", "%.2f", over.ratio())
		}
	}
	_, err = srv.stop()
	return err
}

// serverCookie is what an answer has more than a question with a client's cookie
// alone. Whoever answers such a question at all owes it (RFC 7873 §5.2.3).
const serverCookie = 16

// forged returns the questions that somebody would ask in the name of another: as
// they are and with EDNS, and with a client's cookie.
func forged(names []string, qtype uint16) (plain, cookies [][]byte, err error) {
	for _, name := range names {
		m := new(dns.Msg)
		m.Question = []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}
		bare, err := m.Pack()
		if err != nil {
			return nil, nil, err
		}
		m.SetEdns0(1232, true)
		edns, err := m.Pack()
		if err != nil {
			return nil, nil, err
		}
		with := appendCookie(bytes.Clone(bare), []byte("8 octets"))
		with[11] = 1 // of an OPT record
		plain, cookies = append(plain, bare, edns), append(cookies, with)
	}
	return plain, cookies, nil
}

// echoed is what went in and what came out.
type echoed struct{ in, out, answers int }

func (o echoed) ratio() float64 { return float64(o.out) / float64(o.in) }

// read waits so long for an answer, and counts it.
func (o *echoed) read(c net.Conn, buf []byte, d time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(d)) // of an open socket
	n, err := c.Read(buf)
	o.out += n
	if err == nil {
		o.answers++
	}
	return err
}

// exchange sends packets in turn, so many in all, and counts what came back; waiting
// for each answer, or for none.
func (s *soak) exchange(ctx context.Context, addr string, from net.IP, packets [][]byte, n int, wait bool) (o echoed, err error) {
	c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: from}}).DialContext(ctx, "udp", addr)
	if err != nil {
		return o, err
	}
	defer c.Close()
	if u, ok := c.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(4 << 20) // what does not fit is lost
	}
	buf := make([]byte, 4096)
	for i := range n {
		packet := packets[i%len(packets)]
		if _, err := c.Write(packet); err != nil {
			return o, err
		}
		o.in += len(packet)
		if wait {
			if err := o.read(c, buf, s.wait); err != nil {
				return o, fmt.Errorf("%w to %x: %w", errNoAnswer, packet, err)
			}
		} else if i%64 == 0 {
			for o.read(c, buf, time.Microsecond) == nil { // what is there
				continue
			}
		}
	}
	for !wait {
		var timeout net.Error
		if err := o.read(c, buf, 200*time.Millisecond); errors.As(err, &timeout) && timeout.Timeout() {
			break
		} else if err != nil {
			return o, err
		}
	}
	return o, nil
}
