package daemon

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// notifySystemd tells the service manager of a state, such as READY=1, when
// there is one that asked for it (sd_notify(3)). The daemon does its work
// whether it is heard or not.
func notifySystemd(ctx context.Context, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixgram", socket)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state)) // see above
}

// reloadingState is what a Type=notify-reload service says when it begins to
// reload: the manager wants the time with it, in microseconds of its own clock.
func reloadingState() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}
