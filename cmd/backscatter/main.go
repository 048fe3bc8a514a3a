// Command backscatter is a DNS blocklist server of hosts that are proven to
// send backscatter: it takes evidence in, decides by a published policy,
// answers DNS queries, writes the list for mirrors, and explains every listing.
//
// This package owns the command line only: flags, what is printed, and exit
// codes. The work is done by ops/daemon and, for all commands but serve, at the
// other end of the control socket.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "dev"

func main() {
	// The first signal asks for an orderly end; a second one kills, as usual.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
