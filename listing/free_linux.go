package listing

import "golang.org/x/sys/unix"

// freeBytes returns how much more the disk of a folder can hold, and whether that
// is known.
func freeBytes(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Bavail > 1<<50 {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:unconvert // an int32 on 32-bit systems
}
