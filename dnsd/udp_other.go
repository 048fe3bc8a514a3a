//go:build !linux

package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const controlSize = 128 // room for what the kernel tells of a packet's destination

// udpListener is the UDP side of one address: one socket, which several workers
// read.
type udpListener struct {
	conn     *net.UDPConn
	family   family
	wildcard bool // bound to every address, so answers must be told where to leave from
}

func listenUDP(addr netip.AddrPort, _ int, held []*os.File) (*udpListener, error) {
	l := &udpListener{wildcard: addr.Addr().IsUnspecified()}
	network := "udp4"
	if addr.Addr().Is6() {
		network, l.family = "udp6", ipv6Family // refuses mapped IPv4, so both families can have a wildcard
	}
	var err error
	switch len(held) {
	case 0:
		l.conn, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	case 1:
		l.conn, err = packetConn(held[0])
	default:
		err = fmt.Errorf("%d sockets of UDP were handed over for it: want one, as nobody would read the others", len(held))
	}
	if err != nil {
		return nil, err
	}
	_ = l.conn.SetReadBuffer(receiveBuffer) // the default serves too
	if err := l.tellDestination(); err != nil {
		l.Close()
		return nil, fmt.Errorf("ask for destination addresses: %w", err)
	}
	return l, nil
}

// tellDestination makes the kernel say to which of our addresses a packet came.
func (l *udpListener) tellDestination() error {
	switch {
	case !l.wildcard:
		return nil
	case l.family == ipv4Family:
		return ipv4.NewPacketConn(l.conn).SetControlMessage(ipv4.FlagDst, true)
	default:
		return ipv6.NewPacketConn(l.conn).SetControlMessage(ipv6.FlagDst, true)
	}
}

// files returns a copy of the socket.
func (l *udpListener) files() ([]*os.File, error) {
	f, err := l.conn.File()
	if err != nil {
		return nil, err
	}
	return []*os.File{f}, nil
}

// workers returns how many can serve at a time.
func (l *udpListener) workers(wanted int) int { return wanted }

// LocalAddr returns the address that is bound.
func (l *udpListener) LocalAddr() *net.UDPAddr { return l.conn.LocalAddr().(*net.UDPAddr) }

// Close closes the socket.
func (l *udpListener) Close() { _ = l.conn.Close() } // nothing is buffered that closing could lose

// stop ends serving at end. The queue is read in order, so it is empty of what
// has arrived long before.
func (l *udpListener) stop(end time.Time) { _ = l.conn.SetReadDeadline(end) }

// serve is one worker: it reads, answers and sends, one packet at a time. When
// all workers are busy, packets wait in the kernel, which drops what is too much.
func (l *udpListener) serve(ctx context.Context, _ int, w *worker) error {
	packet := make([]byte, udpBuffer)
	control := make([]byte, controlSize)
	for {
		n, controlLen, _, client, err := l.conn.ReadMsgUDPAddrPort(packet, control)
		if err != nil {
			if err := w.readFailed(ctx, l.LocalAddr(), err); err != nil {
				return ended(ctx, err)
			}
			continue
		}
		began := w.counts.timed.begin()
		out := w.handle(datagram{packet[:n], client}, datagram{})
		w.done()
		if len(out) == 0 {
			continue
		}
		if _, _, err := l.conn.WriteMsgUDPAddrPort(out, l.source(control[:controlLen]), client); err != nil {
			w.counts.dropped[notSent].Add(1) // no route, a forged address, or a full queue: the asker will ask again
		}
		w.counts.timed.end(began, 1)
	}
}

// source turns what the kernel said of a packet's destination into what makes
// the answer leave from there: a resolver drops answers from anybody but whom it
// asked (RFC 2181 §4.1).
func (l *udpListener) source(control []byte) []byte {
	switch {
	case !l.wildcard:
		return nil
	case l.family == ipv4Family:
		var cm ipv4.ControlMessage
		if cm.Parse(control) != nil || cm.Dst == nil {
			return nil
		}
		return (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()
	default:
		var cm ipv6.ControlMessage
		if cm.Parse(control) != nil || cm.Dst == nil {
			return nil
		}
		return (&ipv6.ControlMessage{Src: cm.Dst}).Marshal()
	}
}

// isFatal reports whether a socket that gave the error will never work again.
func isFatal(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}
