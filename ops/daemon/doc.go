// Package daemon owns the life of the process: it opens the store, binds every
// socket, runs the parts, reloads the configuration and stops in order.
//
// The order of a start is: configuration, store (whose lock keeps a second
// daemon away), snapshot, sockets, then all parts at once. A stop goes the other
// way, each step bounded: not ready any more, intake drains, then control, web
// and exports end, DNS is the last to fall silent, and the store closes.
//
// It decides nothing about mail, listings or answers: that is in the rooms below.
package daemon
