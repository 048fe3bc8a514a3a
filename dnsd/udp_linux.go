package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendPatience is how long a batch may wait for room in the socket's queue.
	sendPatience = 100 * time.Millisecond
	// napTime is how long a worker sleeps without a word to Go's scheduler.
	napTime = 5 * time.Millisecond
)

// udpListener is the UDP side of one address: several sockets on it, between
// which the kernel shares out the clients, so that no two workers wait for one
// lock. The sockets block: a worker has a thread of its own, and is woken by the
// kernel without the way through Go's poller.
type udpListener struct {
	local    netip.AddrPort
	wildcard bool // bound to every address, so answers must be told where to leave from
	fds      []int
	wake     int          // an event that wakes all workers; -1 when there is none
	end      atomic.Int64 // when to stop, whatever is still waiting; 0 while serving
	once     sync.Once    // closes
}

// listenUDP binds an address with so many sockets, or takes those that are held
// for it. The first takes the address for itself alone and lets the others join
// afterwards: an address that somebody else has is an error, even if he would
// share it.
func listenUDP(addr netip.AddrPort, sockets int, held []*os.File) (_ *udpListener, err error) {
	l := &udpListener{local: addr, wildcard: addr.Addr().IsUnspecified(), wake: -1}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("open an event: %w", err)
	}
	for _, f := range held {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("take a socket over: %w", err)
		}
		l.fds = append(l.fds, fd)
		if err := setUpUDP(fd, addr.Addr(), l.wildcard); err != nil {
			return nil, err
		}
	}
	for i := len(l.fds); i < sockets && len(held) == 0; i++ {
		fd, err := openUDP(l.local.Addr(), l.wildcard)
		if err != nil {
			return nil, err
		}
		l.fds = append(l.fds, fd)
		if err := l.bind(fd, i == 0); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// files returns copies of the sockets.
func (l *udpListener) files() ([]*os.File, error) {
	var out []*os.File
	for _, fd := range l.fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return out, err
		}
		out = append(out, os.NewFile(uintptr(copied), l.local.String()))
	}
	return out, nil
}

// workers returns how many can serve at a time.
func (l *udpListener) workers(int) int { return len(l.fds) }

func (l *udpListener) bind(fd int, first bool) error {
	share := func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }
	if !first {
		if err := share(); err != nil {
			return fmt.Errorf("share the port: %w", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(l.local)); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if !first {
		return nil
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("ask for the port: %w", err)
	}
	l.local = netip.AddrPortFrom(l.local.Addr(), portOf(bound))
	if err := share(); err != nil {
		return fmt.Errorf("share the port: %w", err)
	}
	return nil
}

// openUDP opens a socket that is not bound yet.
func openUDP(addr netip.Addr, wildcard bool) (fd int, err error) {
	domain := unix.AF_INET
	if addr.Is6() {
		domain = unix.AF_INET6
	}
	if fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if addr.Is6() { // so that both families can have a wildcard
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = setUpUDP(fd, addr, wildcard)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// setUpUDP makes a socket block, though not for long, and tell where packets
// were sent to where that can differ.
func setUpUDP(fd int, addr netip.Addr, wildcard bool) error {
	level, destination, discover := unix.IPPROTO_IP, unix.IP_PKTINFO, unix.IP_MTU_DISCOVER
	if addr.Is6() {
		level, destination, discover = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, unix.IPV6_MTU_DISCOVER
	}
	err := unix.SetNonblock(fd, false)
	if err == nil { // never in fragments, whatever is said of the path (RFC 9715 §3.1)
		err = unix.SetsockoptInt(fd, level, discover, unix.IP_PMTUDISC_PROBE)
	}
	if err == nil && wildcard { // to which of our addresses a packet came
		err = unix.SetsockoptInt(fd, level, destination, 1)
	}
	for option, d := range map[int]time.Duration{unix.SO_SNDTIMEO: sendPatience, unix.SO_RCVTIMEO: napTime} {
		if err == nil {
			v := unix.NsecToTimeval(d.Nanoseconds())
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &v)
		}
	}
	if err != nil {
		return fmt.Errorf("set up a socket: %w", err)
	}
	// What it has serves too, and may be more: who holds a socket for us may have
	// been allowed more than we are.
	if have, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || have < 2*receiveBuffer {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	return nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	}
	return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port()), ZoneId: zoneID(addr.Addr().Zone())}
}

// zoneID returns the number of the interface that a link-local address names.
func zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0 // binding will say that there is no such address
	}
	return uint32(i.Index)
}

func portOf(addr unix.Sockaddr) uint16 {
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// LocalAddr returns the address that is bound.
func (l *udpListener) LocalAddr() *net.UDPAddr { return net.UDPAddrFromAddrPort(l.local) }

// Close closes the sockets, once. Nobody may be serving on them.
func (l *udpListener) Close() {
	l.once.Do(func() {
		for _, fd := range l.fds {
			_ = unix.Close(fd) // nothing is buffered that closing could lose
		}
		if l.wake >= 0 {
			_ = unix.Close(l.wake)
		}
	})
}

// stop ends serving when all is answered that has arrived, or at end. The sockets
// themselves stay as they are: what still arrives is for whoever has them next.
func (l *udpListener) stop(end time.Time) {
	l.end.Store(end.UnixNano())
	_, _ = unix.Write(l.wake, []byte{7: 1}) // fails only when the event has been told already
}

// serve is one worker on one of the sockets. It has a thread of its own, and
// with it all that the kernel keeps near.
func (l *udpListener) serve(ctx context.Context, socket int, w *worker) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd := l.fds[socket]
	b := newBatch(l.wildcard)
	for {
		var n int
		var err error
		end := l.end.Load()
		if end == 0 {
			n, err = b.receive(fd, l.wake)
		} else {
			n, err = b.rest(fd)
		}
		if err != nil {
			if err := w.readFailed(ctx, l.local, err); err != nil {
				return ended(ctx, err)
			}
			continue
		}
		if n > 0 { // else nothing of it is to be timed
			began := w.counts.timed.begin()
			b.send(fd, b.answer(w, n), w.counts)
			w.counts.timed.end(began, n)
		}
		if end != 0 && (n == 0 || time.Now().UnixNano() > end) {
			return nil
		}
	}
}

// isFatal reports whether a socket that gave the error will never work again.
func isFatal(err error) bool {
	return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EFAULT)
}
