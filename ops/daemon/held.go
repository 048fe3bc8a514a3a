package daemon

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// firstHeld is the first file descriptor that a service manager hands over.
const firstHeld = 3

// mostHeld bounds how many sockets are believed to have been handed over.
const mostHeld = 1024

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
