package zonefile

import (
	"io"
	"os"
)

// ReadHosts is how files are read fast.
var ReadHosts = readHosts

// HostWindow is how much text ReadHosts leaves to others at the end.
const HostWindow = hostWindow

// AppendHosts is how hosts are written.
var AppendHosts = appendHosts

// Trailed is a file that is read behind its writer.
type Trailed struct {
	io.Reader

	t *trail
}

// NewTrailed returns it.
func NewTrailed(f *os.File) Trailed {
	t := newTrail()
	return Trailed{&behind{file: f, trail: t}, t}
}

// Reach and End are what the writer tells.
func (t Trailed) Reach(size int64) { t.t.reach(size) }

// End says that nothing follows.
func (t Trailed) End(err error) { t.t.end(err) }
