// Package control owns the operators' interface of a running daemon: HTTP with
// JSON over a unix socket. It holds the types that go over it, the server that
// the daemon runs and the client that the command line uses. The same handler
// serves a client in its own process when no daemon holds the store ([Local]).
//
// It takes orders and passes them on: it knows no policy, no DNS on the wire and
// no process life, and it keeps no state.
//
// The requests, all below /v1:
//
//	GET  /v1/ping                            nothing, successfully
//	GET  /v1/status                          what the daemon is doing
//	GET  /v1/show?key=K[&public=1]           everything known about one address or prefix
//	GET  /v1/listings?[class=][&within=][&by=][&after=K][&limit=N]
//	GET  /v1/exemptions
//	GET  /v1/audit?[after=N][&within=P][&limit=N]
//	GET  /v1/policy                          the rule in force
//	GET  /v1/export?format=F[&zone=Z]        one list, as the file's bytes
//	GET  /v1/backup                          the store as it is at one moment
//	GET  /v1/verify                          what is wrong with the store
//	POST /v1/list, delist, exempt, unexempt  orders, as JSON
//	POST /v1/import?format=F&reason=R&...    a list in the request's body
//	POST /v1/report?[reporter=][&client_ip=] one message in the request's body
//	POST /v1/reload
//	POST /v1/restart                         executes the program anew, with its DNS sockets
//	POST /v1/key/rotate                      a new key to hash recipients under
//
// An error is answered with a fitting status and {"error":{"code":…,"message":…}}.
// A change is made in the name of the user at the other end of the socket, as
// the kernel tells it (SO_PEERCRED), and each needs a reason.
package control
