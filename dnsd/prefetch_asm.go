//go:build amd64 || arm64

package dnsd

import "unsafe"

// prefetch has the line of memory at p brought near, and does not wait for it.
//
//go:noescape
func prefetch(p unsafe.Pointer)
