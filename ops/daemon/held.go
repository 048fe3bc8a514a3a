package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"backscatter/dnsd"
)

// firstHeld is the first file descriptor that a service manager hands over.
const firstHeld = 3

// mostHeld bounds how many sockets are believed to have been handed over.
const mostHeld = 1024

// inheritedSockets is the variable by which a process that is executed anew knows
// the descriptors of its sockets.
const inheritedSockets = "SOCKETS_OF_BACKSCATTER"

// useSockets gives the DNS server the sockets that were open before it, those of
// this process's former program before those of a service manager.
func useSockets(o *dnsd.Options) (err error) {
	if o.Sockets, err = formerSockets(); err != nil {
		return err
	}
	if o.Inherited = len(o.Sockets) > 0; o.Inherited {
		return nil
	}
	o.Sockets, err = heldSockets()
	return err
}

// formerSockets returns the sockets that [Successor.Exec] left open.
func formerSockets() ([]*os.File, error) {
	var files []*os.File
	for field := range strings.FieldsSeq(os.Getenv(inheritedSockets)) {
		fd, err := strconv.Atoi(field)
		if err != nil || fd < firstHeld || len(files) == mostHeld {
			return nil, fmt.Errorf("take over sockets: %s is %q: want descriptors", inheritedSockets, os.Getenv(inheritedSockets))
		}
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "inherited:"+field))
	}
	if err := os.Unsetenv(inheritedSockets); err != nil {
		return nil, fmt.Errorf("take over sockets: %w", err)
	}
	return files, nil
}

// heldSockets returns the sockets that a service manager opened for us
// (sd_listen_fds(3)), and forgets of them what programs that we start would take
// for theirs. It finds them once in the life of a process.
func heldSockets() ([]*os.File, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("take over sockets: %w", err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // nobody's, or somebody else's
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > mostHeld {
		return nil, fmt.Errorf("take over sockets: LISTEN_FDS is %q: want a number up to %d", count, mostHeld)
	}
	var files []*os.File
	for fd := firstHeld; fd < firstHeld+n; fd++ {
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "LISTEN_FDS:"+strconv.Itoa(fd)))
	}
	return files, nil
}
