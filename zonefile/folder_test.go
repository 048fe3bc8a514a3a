package zonefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"backscatter/zonefile"
)

// TestFolderOfExport wants one line for each folder that cannot be had: what was tried,
// on what, and what to do.
func TestFolderOfExport(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(base, "missing")
	cases := map[string]struct {
		dir  string
		want []string
	}{
		"no parent":   {filepath.Join(missing, "export"), []string{"make the folder", "no such file or directory", "make " + missing + " first"}},
		"a file":      {file, []string{file + " is a file", "name another folder"}},
		"in a file":   {filepath.Join(file, "export"), []string{"make the folder", "not a directory"}},
		"is writable": {filepath.Join(base, "export"), nil},
	}
	for name, dir := range map[string]string{"not writable": "/sys/fs", "its parent is not": "/sys/fs/export"} { // for root too
		if err := os.WriteFile("/sys/fs/x", nil, 0o600); errors.Is(err, os.ErrPermission) {
			cases[name] = struct {
				dir  string
				want []string
			}{dir, []string{"not permitted|permission denied", "who runs this, write there"}}
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, sample(), zonefile.IP4Set)
			d.options.Dir = c.dir
			_, err := must(zonefile.NewPublisher(d.options))(t).Publish(made)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "export bl.example. to "+c.dir+": ") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				one, other, _ := strings.Cut(want, "|")
				if !strings.Contains(err.Error(), one) && (other == "" || !strings.Contains(err.Error(), other)) {
					t.Errorf("got %v, want it to tell %q", err, want)
				}
			}
		})
	}
	if _, err := os.Stat(missing); !errors.Is(err, syscall.ENOENT) {
		t.Error("the parent was made")
	}
}
