package main

import "golang.org/x/sys/unix"

// prepare lets several sockets share a port, with room for the questions of a
// restart. Root may have more room than the system allows others.
func prepare(fd int) {
	const room = 64 << 20
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // binding tells if it failed
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room) // the default serves too
	}
}
