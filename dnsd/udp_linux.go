package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	end      atomic.Int64 // when to stop, whatever is still waiting; 0 while serving
	once     sync.Once    // closes
}

// listenUDP binds an address with so many sockets. The first takes the address
// for itself alone and lets the others join afterwards: an address that somebody
// else has is an error, even if he would share it.
func listenUDP(addr netip.AddrPort, sockets int) (_ *udpListener, err error) {
	l := &udpListener{local: addr, wildcard: addr.Addr().IsUnspecified()}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	for i := range sockets {
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

// openUDP opens a blocking socket.
func openUDP(addr netip.Addr, wildcard bool) (fd int, err error) {
	domain, level, destination := unix.AF_INET, unix.IPPROTO_IP, unix.IP_PKTINFO
	if addr.Is6() {
		domain, level, destination = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	if fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if addr.Is6() { // so that both families can have a wildcard
		err = unix.SetsockoptInt(fd, level, unix.IPV6_V6ONLY, 1)
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
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set up a socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // the default serves too
	return fd, nil
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
	})
}

// stop ends serving when all is answered that has arrived, or at end.
func (l *udpListener) stop(end time.Time) {
	l.end.Store(end.UnixNano())
	for _, fd := range l.fds {
		// It says that the socket is not connected, and wakes who waits on it all
		// the same. From then on, reading an empty queue returns at once.
		_ = unix.Shutdown(fd, unix.SHUT_RD)
	}
}

// serve is one worker on one of the sockets. It has a thread of its own, and
// with it all that the kernel keeps near.
func (l *udpListener) serve(ctx context.Context, socket int, w *worker) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd := l.fds[socket]
	b := newBatch(l.wildcard)
	for {
		n, err := b.receive(fd)
		if err != nil {
			if err := w.readFailed(ctx, l.local, err); err != nil {
				return ended(ctx, err)
			}
			continue
		}
		if b.nothing() {
			return ended(ctx, fmt.Errorf("read dns questions on %s: %w", l.local, errShut))
		}
		b.send(fd, b.answer(w, n), w.counts)
		if end := l.end.Load(); end != 0 && time.Now().UnixNano() > end {
			return nil
		}
	}
}

// errShut is a socket that was shut down while it was to serve.
var errShut = errors.New("the socket was shut down")

// isFatal reports whether a socket that gave the error will never work again.
func isFatal(err error) bool {
	return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EFAULT)
}
