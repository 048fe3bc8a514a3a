package intake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
)

// unixPrefix begins the name of a unix socket where an address with a port
// could be.
const unixPrefix = "unix:"

// SocketMode is the mode of unix sockets: for their owner and group. What comes
// in by them is believed, so who may connect is a matter of trust.
const SocketMode fs.FileMode = 0o660

// bind listens on an address with a port, or on the unix socket of unix:PATH.
// A socket that is there and answers nobody is one of an earlier run.
func bind(addr string) (net.Listener, error) {
	var config net.ListenConfig
	path, ok := strings.CutPrefix(addr, unixPrefix)
	if !ok {
		return config.Listen(context.Background(), "tcp", addr)
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, SocketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeDead removes a socket that nobody listens on.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there, and no socket; move it away", path)
	}
	var dialer net.Dialer
	if c, err := dialer.DialContext(context.Background(), "unix", path); err == nil {
		_ = c.Close()
		return fmt.Errorf("%s is in use", path)
	}
	return os.Remove(path)
}
