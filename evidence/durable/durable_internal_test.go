package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b", "c")
	grown, err := growing(dir)
	if want := []string{filepath.Join(root, "a", "b"), filepath.Join(root, "a"), root}; err != nil || !slices.Equal(grown, want) {
		t.Errorf("%v, %v; want %v", grown, err, want)
	}
	for range 2 { // the second time it is there
		if err := Folder(dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
			t.Fatalf("%v, %v", info, err)
		}
	}
	if grown, err := growing(dir); err != nil || len(grown) > 0 {
		t.Errorf("%v, %v of a folder that is there", grown, err)
	}
	file := filepath.Join(root, "file")
	if err := Write(file, 0o600, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := Folder(filepath.Join(file, "below")); err == nil {
		t.Error("a folder in a file")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	if err := Write(name, 0o600, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, 0o600, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written over: %v", err)
	}
	if text, err := os.ReadFile(name); string(text) != "first" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if err := Sync(filepath.Dir(name)); err != nil {
		t.Error(err)
	}
	if err := Sync(filepath.Join(name, "none")); err == nil {
		t.Error("a folder that is not there")
	}
}
