package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	echoPort  = "BENCHDNS_PORT" // the environment variable that tells the loop its port
	batchSize = 64
	bufSize   = 4096 + 64
)

// serveEcho sends every packet back, with the bit set that makes an answer of
// it: what no server of this design can cost less than. It has as many sockets
// as there are cores, and calls the kernel without telling Go's scheduler.
func serveEcho() error {
	port, err := strconv.Atoi(os.Getenv(echoPort))
	if err != nil {
		return fmt.Errorf("%s: %w", echoPort, err)
	}
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // a loop never gives its place back
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return fmt.Errorf("open a socket: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("share the port: %w", err)
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // the default serves too
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil {
			return fmt.Errorf("bind port %d: %w", port, err)
		}
		all.Go(func() { echo(fd) })
	}
	all.Wait()
	return nil
}

func echo(fd int) {
	runtime.LockOSThread()
	b := new(struct {
		headers [batchSize]unix.Mmsghdr
		vectors [batchSize]unix.Iovec
		names   [batchSize]unix.RawSockaddrInet4
		packets [batchSize][bufSize]byte
	})
	for i := range b.headers {
		h := &b.headers[i].Hdr
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&b.names[i])), &b.vectors[i]
		h.SetIovlen(1)
		b.vectors[i].Base = &b.packets[i][0]
	}
	received := batchSize
	for {
		for i := range received {
			b.headers[i].Hdr.Namelen = unix.SizeofSockaddrInet4
			b.vectors[i].SetLen(bufSize)
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers)), batchSize, unix.MSG_WAITFORONE, 0, 0)
		if received = int(n); errno != 0 {
			received = 0
			continue
		}
		for i := range received {
			b.packets[i][2] |= 0x80
			b.vectors[i].SetLen(int(b.headers[i].Len))
		}
		for sent := 0; sent < received; {
			n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[sent])), uintptr(received-sent), 0, 0, 0)
			if errno != 0 {
				n = 1
			}
			sent += int(n)
		}
	}
}
