package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A file that grows while it is imported is read as long as it was when it was
// opened, each time.
func TestRereadableGrows(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "list")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const first = "192.0.2.1\n"
	if _, err := f.WriteString(first); err != nil {
		t.Fatal(err)
	}
	body, done, err := (&app{}).rereadable(name)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for range 3 {
		_, err := f.WriteString("192.0.2.2\n192.0.2")
		_, seek := body.Seek(0, io.SeekStart)
		text, read := io.ReadAll(body)
		if err := errors.Join(err, seek, read); err != nil || string(text) != first {
			t.Errorf("read %q, %v", text, err)
		}
	}
}
