package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// maxSocketPath is what sockaddr_un holds on Linux, the final NUL left out.
const maxSocketPath = 107

// Listen binds the control socket, for its owner and group alone. Whoever calls
// it holds the lock of the store, so a socket that is still there is a dead one's
// and is removed.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: %d bytes, and the system allows %d; choose a shorter state folder", path, len(path), maxSocketPath)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("control socket %s: there is something else of that name; move it away", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the control socket of an earlier run: %w", err)
	}
	// The mode is set before the socket can be connected to, not after.
	old := syscall.Umask(0o117)
	defer syscall.Umask(old)
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket %s: %w", path, err)
	}
	return l, nil
}
