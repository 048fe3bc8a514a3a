package sent_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/evidence/sent"
)

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
}

// What is written to the file becomes known, and stays it when the file is
// rotated, and across a restart.
func TestLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "sent")
		appendTo(t, name, "<One@real.example>\r\n\nno identity\nbounce-17=ana=other.example@real.example\n"+strings.Repeat("x", 5000)+"@real.example\n<three@real.ex")
		l, err := sent.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		want := func(l *sent.Log, id string, want bool) {
			t.Helper()
			if got := l.Has(id); got != want {
				t.Errorf("%s: %v", id, got)
			}
		}
		want(l, "one@REAL.example", true)
		want(l, "<bounce-17=ana=other.example@real.example>", true)
		for _, id := range []string{"", "no identity", "two@real.example", "three@real.example", "<three@real.ex", strings.Repeat("x", 5000) + "@real.example"} {
			want(l, id, false)
		}
		appendTo(t, name, "ample>\n<two@real.example>\n")
		time.Sleep(2 * time.Second)
		want(l, "three@real.example", true)
		want(l, "two@real.example", true)

		if err := os.Rename(name, name+".1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want(l, "two@real.example", true) // there is no file at the moment
		appendTo(t, name, "<four@real.example>\n")
		time.Sleep(2 * time.Second)
		want(l, "four@real.example", true)
		if l, err = sent.Open(name); err != nil {
			t.Fatal(err)
		}
		want(l, "one@real.example", true)
		want(l, "four@real.example", true)
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
		appendTo(t, name, "<5@real.example>\n")
		time.Sleep(2 * time.Second)
		want(l, "5@real.example", true)
		want(l, "four@real.example", true)
	})
	if _, err := sent.Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}

// What was written between two looks is known, however often the file was rotated
// meanwhile, and in whichever way.
func TestRotation(t *testing.T) {
	t.Parallel()
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, rotate := range map[string]func(*testing.T, string){
		"once": func(t *testing.T, name string) {
			t.Helper()
			rename(t, name, name+".1")
			appendTo(t, name+".1", "<late@r>\n") // by who still has it open
			appendTo(t, name, "<new@r>\n")
		},
		"twice": func(t *testing.T, name string) {
			t.Helper()
			rename(t, name, name+".1")
			appendTo(t, name, "<late@r>\n")
			rename(t, name+".1", name+".2")
			rename(t, name, name+".1")
			appendTo(t, name, "<new@r>\n")
		},
		"twice, and compressed": func(t *testing.T, name string) {
			t.Helper()
			rename(t, name, name+".1")
			appendTo(t, name+".1", "<late@r>\n")
			compress(t, name+".1", name+".2.gz")
			appendTo(t, name+".1", "<new@r>\n")
			appendTo(t, name, "<newer@r>\n")
			appendTo(t, name+".3.gz", "this is damaged, and no reason to know nothing\n")
		},
		"in the middle of renaming": func(t *testing.T, name string) {
			t.Helper()
			rename(t, name, name+".2") // .1 is there again in a moment
			appendTo(t, name+".2", "<late@r>\n")
			appendTo(t, name, "<new@r>\n")
		},
		"by a copy": func(t *testing.T, name string) {
			t.Helper()
			appendTo(t, name+".1", "<first@r>\n<before@r>\n<late@r>\n")
			if err := os.Truncate(name, 0); err != nil {
				t.Fatal(err)
			}
			appendTo(t, name, "<new@r>\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "sent")
				appendTo(t, name, "<first@r>\n")
				l, err := sent.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				appendTo(t, name, "<before@r>\n")
				rotate(t, name)
				time.Sleep(2 * time.Second)
				for _, id := range []string{"first@r", "before@r", "late@r", "new@r"} {
					if !l.Has(id) {
						t.Errorf("%s is not known", id)
					}
				}
				if again, err := sent.Open(name); err != nil || !again.Has("first@r") || !again.Has("late@r") || !again.Has("new@r") {
					t.Errorf("after a restart: %v", err)
				}
			})
		})
	}
}

func compress(t *testing.T, from, to string) {
	t.Helper()
	plain, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err = w.Write(plain)
	if err := errors.Join(err, w.Close(), os.WriteFile(to, b.Bytes(), 0o600), os.Remove(from)); err != nil {
		t.Fatal(err)
	}
}

// The newest of very many files of before are known, and the rest is not read; one
// that cannot be opened is told.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "sent")
	appendTo(t, name, "<new@r>\n")
	for n := range 9 {
		var text strings.Builder
		for i := range 100 {
			fmt.Fprintf(&text, "%d-%d@r\n", n+1, i)
		}
		appendTo(t, name+".plain", text.String())
		compress(t, name+".plain", fmt.Sprintf("%s.%d.gz", name, n+1))
	}
	l, err := sent.OpenSmall(name, 250, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"new@r": true, "1-0@r": true, "1-99@r": true, "2-99@r": true, "3-0@r": false, "9-99@r": false} {
		if l.Has(id) != want {
			t.Errorf("%s: want %v", id, want)
		}
	}

	// Compressed ones that are long when they are not: the bytes are counted together.
	for n := range 9 {
		appendTo(t, name+".plain", fmt.Sprintf("%d-first@r\n", n+1)+strings.Repeat("no identity\n", 1000)+fmt.Sprintf("%d-last@r\n", n+1))
		compress(t, name+".plain", fmt.Sprintf("%s.%d.gz", name, n+1))
	}
	if l, err = sent.OpenSmall(name, 250, 30_000); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"new@r": true, "1-last@r": true, "2-last@r": true, "3-first@r": true, "3-last@r": false, "4-first@r": false} {
		if l.Has(id) != want {
			t.Errorf("%s: want %v", id, want)
		}
	}

	if err := os.Symlink("sent.2", name+".2"); err != nil { // a loop
		t.Fatal(err)
	}
	if _, err := sent.Open(name); err == nil || !strings.Contains(err.Error(), "sent.2") {
		t.Errorf("a file that cannot be opened: %v", err)
	}
}

// Memory is bounded: the oldest of very many are forgotten.
func TestManyAreForgotten(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "sent")
	var text strings.Builder
	const many = 2100
	for i := range many {
		fmt.Fprintf(&text, "%d@r\n", i)
	}
	appendTo(t, name, text.String())
	l, err := sent.OpenSmall(name, 2000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int]bool{0: false, many - 1001: true, many - 1: true} {
		if l.Has(fmt.Sprintf("%d@r", id)) != want {
			t.Errorf("%d: want %v", id, want)
		}
	}
}
