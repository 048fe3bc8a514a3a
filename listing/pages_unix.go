//go:build unix

package listing

import (
	"os"
	"strconv"
	"syscall"
)

// mapAhead is how much of the address space is taken for an open store: 64 GiB, where
// there is so much. While the file is smaller bbolt need not map it anew when it grows,
// for which the writer would wait for whoever reads: a slow backup, for as long as it
// takes. It costs address space and nothing else.
const mapAhead = 1 << (36 * (strconv.IntSize / 64))

// mapFile gives the bytes of a file without reading those that nobody looks at.
func mapFile(f *os.File) (data []byte, release func(), err error) {
	return mapAs(f, syscall.PROT_READ, syscall.MAP_SHARED)
}

// mapCopy does the same; what is written to the bytes stays out of the file.
func mapCopy(f *os.File) (data []byte, release func(), err error) {
	return mapAs(f, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
}

func mapAs(f *os.File, protection, flags int) (data []byte, release func(), err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err = syscall.Mmap(int(f.Fd()), 0, int(info.Size()), protection, flags)
	if err != nil {
		return nil, nil, err
	}
	return data, func() { _ = syscall.Munmap(data) }, nil // fails for what is not mapped only
}
