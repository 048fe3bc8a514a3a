package dnsd

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize = 64
	// controlSize is room for what the kernel tells of a packet's destination:
	// one header and one in6_pktinfo (RFC 3542 §6), the larger of the two.
	controlSize = 64
	// crowdedFor is how many packets that come alone end the time of large batches.
	crowdedFor = 16
	// soughtEvery is how many packets are taken alone, when they come alone, for one
	// time that the kernel is asked for others that came with it: it looks for a
	// second one as long as for the first.
	soughtEvery = 16
)

// batch is the memory of one worker: what the kernel fills with packets, and
// sends answers from. It holds pointers into itself, and must not be copied.
type batch struct {
	in, out  [batchSize]unix.Mmsghdr
	vectors  [batchSize]unix.Iovec
	clients  [batchSize]unix.RawSockaddrInet6 // large enough for either family
	controls [batchSize][controlSize / 8]uint64
	packets  [batchSize][udpBuffer]byte
	ready    [2]unix.PollFd
	used     int  // how many of in the kernel has changed
	crowded  int  // how many packets may come alone before batches are no longer made larger
	lone     int  // how many times in a row only one packet was taken
	idle     bool // nothing has come for a nap
	told     bool
}

// newBatch returns a batch for a socket that tells destinations, or not.
func newBatch(told bool) *batch {
	b := &batch{used: batchSize, told: told}
	for i := range b.in {
		h := &b.in[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.clients[i]))
		b.vectors[i].Base = &b.packets[i][0]
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		if told {
			h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		}
	}
	return b
}

// receive waits for a packet, and takes what else is there. It may return with
// none, so that its caller comes by where Go's scheduler can stop it.
//
// Telling the scheduler of a wait costs more than an answer. So while questions
// come it is not told of the sleep between two of them, which the socket's timeout
// bounds ([napTime]), and which ends at once when the scheduler wants something:
// it sends a signal, and a socket with a timeout never goes on reading after one
// (signal(7)). Only when nothing has come for a nap is there a wait of unknown
// length, which also ends when there is something to read from wake.
func (b *batch) receive(fd, wake int) (int, error) {
	b.rearm()
	if b.crowded > 0 {
		// Others run once before it sleeps: then who asks can go on asking, and the
		// next batch is a large one. A lone client never meets this.
		if n, errno := b.read(fd, batchSize, unix.MSG_DONTWAIT); errno == 0 {
			return b.took(n), nil
		}
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // never fails
	}
	if b.idle {
		b.ready = [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(b.ready[:], -1); err != nil || b.ready[0].Revents == 0 {
			return 0, nil //nolint:nilerr // a signal; reading tells of all else
		}
	}
	most := batchSize
	if b.crowded == 0 && b.lone%soughtEvery != 0 {
		most = 1
	}
	return b.outcome(b.read(fd, most, unix.MSG_WAITFORONE))
}

// rest takes what is there, without waiting.
func (b *batch) rest(fd int) (int, error) {
	b.rearm()
	return b.outcome(b.read(fd, batchSize, unix.MSG_DONTWAIT))
}

// outcome turns what came of reading into a count of packets.
func (b *batch) outcome(n int, errno unix.Errno) (int, error) {
	b.idle = errno == unix.EAGAIN
	switch errno {
	case 0:
		return b.took(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	b.used = 1
	return 0, errno
}

// read takes what is there, up to so many, without a word to Go's scheduler.
func (b *batch) read(fd, most, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.in)), uintptr(most), uintptr(flags), 0, 0)
	return int(n), errno
}

// rearm makes the headers that the kernel has changed say again what it may fill.
func (b *batch) rearm() {
	for i := range b.used {
		h := &b.in[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(0)
		if b.told {
			h.SetControllen(controlSize)
		}
		b.vectors[i].SetLen(udpBuffer)
	}
	b.used = 0
}

// took notes how many packets came at once.
func (b *batch) took(n int) int {
	b.used = n
	b.lone++
	switch {
	case n > 1:
		b.crowded, b.lone = crowdedFor, 0
	case b.crowded > 0:
		b.crowded--
	}
	return n
}

// answer answers the first n packets, and returns how many answers are to be sent.
func (b *batch) answer(w *worker, n int) int {
	answers := 0
	next := b.datagram(0)
	for i := range n {
		d := next
		next = datagram{}
		if i+1 < n {
			next = b.datagram(i + 1)
		}
		in := &b.in[i]
		if in.Hdr.Namelen == 0 {
			continue
		}
		out := w.handle(d, next)
		if len(out) == 0 {
			continue
		}
		// Behind a packet is room for every answer, so it stands where the packet stood.
		b.vectors[i].SetLen(len(out))
		b.out[answers].Hdr = in.Hdr
		b.leaveFrom(&b.out[answers].Hdr, i)
		answers++
	}
	w.done()
	return answers
}

// datagram returns what the kernel filled in.
func (b *batch) datagram(i int) datagram {
	return datagram{b.packets[i][:min(int(b.in[i].Len), udpBuffer)], clientAddr(&b.clients[i])}
}

// clientAddr returns the address that the kernel told of a packet's sender. The
// port stands at one place in both families, in the order of the network.
func clientAddr(raw *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&raw.Port))[:])
	if raw.Family == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16(raw.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(raw)).Addr), port)
}

// leaveFrom makes an answer leave from the address that was asked: a resolver
// drops answers from anybody but whom it asked (RFC 2181 §4.1). What the kernel
// told of the packet's destination is what it wants to be told, but for the
// interface: routes may differ between the two ways.
func (b *batch) leaveFrom(h *unix.Msghdr, i int) {
	if !b.told {
		return
	}
	control := unsafe.Pointer(&b.controls[i])
	c := (*unix.Cmsghdr)(control)
	data := unsafe.Add(control, unix.CmsgLen(0))
	switch {
	case int(h.Controllen) >= unix.CmsgLen(unix.SizeofInet4Pktinfo) && c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO:
		(*unix.Inet4Pktinfo)(data).Ifindex = 0
	case int(h.Controllen) >= unix.CmsgLen(unix.SizeofInet6Pktinfo) && c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO:
		(*unix.Inet6Pktinfo)(data).Ifindex = 0
	default:
		h.Control = nil
		h.SetControllen(0)
	}
}

// send sends the first n answers. One that cannot be sent (no route, a forged
// address, a full queue) is counted and passed over: the asker will ask again.
// Go's scheduler is told only when the queue is full and there is a wait.
func (b *batch) send(fd, n int, counts *tally) {
	for sent := 0; sent < n; {
		done, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.out[sent])), uintptr(n-sent), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EAGAIN {
			done, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.out[sent])), uintptr(n-sent), 0, 0, 0)
		}
		switch errno {
		case 0:
			sent += int(done)
		case unix.EINTR:
		case unix.EAGAIN: // for so long that others have waited enough
			counts.dropped[notSent].Add(uint64(n - sent))
			return
		default:
			counts.dropped[notSent].Add(1)
			sent++
		}
	}
}
