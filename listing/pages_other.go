//go:build !unix

package listing

import (
	"io"
	"os"
)

// mapFile gives the bytes of a file.
func mapFile(f *os.File) (data []byte, release func(), err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err = io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
	return data, func() {}, err
}

// mapCopy does the same.
func mapCopy(f *os.File) (data []byte, release func(), err error) { return mapFile(f) }

// mapAhead is nothing: on some systems a file is made as large as what is mapped of it.
const mapAhead = 0
