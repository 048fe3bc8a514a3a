// Package web owns the HTTP listener for the public and for monitors: the
// look-up page that the text records point to, /metrics, /healthz and /readyz.
//
// It shows and never changes: removal is an operator's order. What it shows of
// a listing is the public form only, without traps and reporters. It knows no
// process life and no DNS on the wire.
package web
