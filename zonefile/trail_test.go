package zonefile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"backscatter/zonefile"
)

// TestReadBehindWriter reads a file while it is written: never further than the
// writer has come, and to the end only when it has ended.
func TestReadBehindWriter(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	open := func(t *testing.T, text string) zonefile.Trailed {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := must(os.Open(name))(t)
		t.Cleanup(func() { f.Close() })
		return zonefile.NewTrailed(f)
	}
	t.Run("as far as it is written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := open(t, "one two three")
			read := make(chan string)
			go func() {
				defer close(read)
				buf := make([]byte, 100)
				for {
					n, err := r.Read(buf)
					if err != nil {
						if !errors.Is(err, io.EOF) {
							t.Error(err)
						}
						return
					}
					read <- string(buf[:n])
				}
			}()
			at := int64(0)
			for _, want := range []string{"one", " two", " three"} {
				synctest.Wait()
				select {
				case got := <-read:
					t.Fatalf("read %q, which is not written yet", got)
				default:
				}
				at += int64(len(want))
				r.Reach(at)
				if got := <-read; got != want {
					t.Errorf("read %q, want %q", got, want)
				}
			}
			synctest.Wait()
			select {
			case <-read:
				t.Error("at the end before the writer is")
			default:
			}
			r.End(nil)
			r.End(errors.New("later"))
			if got, more := <-read; more {
				t.Errorf("read %q behind the end", got)
			}
		})
	})
	t.Run("the writer fails", func(t *testing.T) {
		r, full := open(t, "one two"), errors.New("no room")
		r.Reach(3)
		r.End(full)
		if got, err := io.ReadAll(r); !errors.Is(err, full) {
			t.Errorf("read %q, %v", got, err)
		}
	})
	t.Run("somebody else writes too", func(t *testing.T) {
		r := open(t, "one two")
		r.Reach(3)
		r.End(nil)
		for range 2 { // whoever asks again is told again
			if got, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "more bytes than were written") {
				t.Errorf("read %q, %v", got, err)
			}
		}
	})
	t.Run("something is lost", func(t *testing.T) {
		r := open(t, "one")
		r.Reach(7)
		r.End(nil)
		if got, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "fewer bytes than were written") {
			t.Errorf("read %q, %v", got, err)
		}
	})
}
