package zonefile

import (
	"os"

	"golang.org/x/sys/unix"
)

// startSync has the disk begin with a part of a file, so that fsync, which alone tells
// of errors, has the less to wait for.
func startSync(f *os.File, from, size int64) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _ = unix.SyncFileRange(int(fd), from, size, unix.SYNC_FILE_RANGE_WRITE) })
	}
}
