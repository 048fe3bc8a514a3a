// Package integration holds the black-box tests of the built program: it is
// started as an operator would start it, and met by real mail clients, DNS
// clients and other DNSBL servers.
//
// It owns the processes that it starts and the folders that it makes, and leaves
// none of either. It knows the program by its command line, its sockets and the
// client of its control socket (package ops/control), and nothing that is
// inside: whatever a test needs to know, an operator can know too.
//
// Programs of other projects are looked for; a test whose program is missing is
// skipped, and fails instead when BACKSCATTER_PEERS=require is set. What needs
// root (mounting a small file system) is handled the same way.
package integration
