package intake_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"backscatter/evidence/intake"

	"github.com/google/go-cmp/cmp"
)

const (
	fromLine = "From MAILER-DAEMON Sat Nov 21 08:15:04 2026\n"
	mailA    = "From: MAILER-DAEMON@mx.example\nSubject: a\n\nBody of a.\n"
	mailB    = "From: MAILER-DAEMON@mx.example\nSubject: b\n\nBody of b.\n\nMore of b.\n"
	mailC    = "Subject: c\n\n"
)

// messages returns the messages of a walk, each error as a text.
func messages(t *testing.T, paths []string, stdin io.Reader) []string {
	t.Helper()
	var out []string
	for item, err := range intake.Walk(paths, stdin) {
		if err != nil {
			out = append(out, "error: "+filepath.Base(item.Path))
			continue
		}
		if !item.Received.IsZero() {
			t.Errorf("%s %d: received %s, want unknown", item.Path, item.Index, item.Received)
		}
		out = append(out, string(item.Raw))
	}
	return out
}

// write makes a file, and the folders to it, below dir.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sized(mail string) string {
	head, body, _ := strings.Cut(mail, "\n\n")
	return fmt.Sprintf("%s\nContent-Length: %d\n\n%s", head, len(body), body)
}

var (
	withFrom = "Subject: talk\n\nHe wrote:\n\nFrom joe@site.example Sat Nov 21 08:15:04 2026\nSubject: forged\n\nForged.\n"
	quoted   = strings.Replace(withFrom, "\nFrom joe", "\n>From joe", 1)
	// Lengths of the sender's own, one of which leads to the line in the text.
	evil = strings.Replace(sized(withFrom), "Subject: talk\n",
		fmt.Sprintf("Subject: talk\nContent-Length: 99999\nContent-Length: %d\n", len("He wrote:\n")), 1)
)

var mboxes = []struct {
	name, box string
	want      []string
}{
	{"empty", "", nil},
	{"no mbox", mailA, []string{mailA}},
	{"one", fromLine + mailA + "\n", []string{mailA}},
	{"no blank line at the end", fromLine + mailA, []string{mailA}},
	{"three", fromLine + mailA + "\n" + fromLine + mailB + "\n" + fromLine + mailC + "\n", []string{mailA, mailB, mailC}},
	{"blank lines before", "\n\n" + fromLine + mailA + "\n", []string{mailA}},
	{"blank lines between", fromLine + mailA + "\n\n\n" + fromLine + mailB + "\n", []string{mailA + "\n\n", mailB}},
	{"no body, no blank line", fromLine + "Subject: x\n\n" + fromLine + mailA, []string{"Subject: x\n\n", mailA}},
	{"mboxo and mboxrd", fromLine + quoted + "\n" + fromLine + mailA + "\n", []string{withFrom, mailA}},
	{
		"mboxrd, quoted twice", fromLine + mailA + ">>From here\n>>>>From there\n> From x\n>Fromage\n\n" + fromLine + mailB + "\n",
		[]string{mailA + ">From here\n>>>From there\n> From x\n>Fromage\n", mailB},
	},
	{"mboxcl", fromLine + sized(quoted) + "\n" + fromLine + mailA + "\n", []string{strings.Replace(sized(quoted), ">From", "From", 1), mailA}},
	{"mboxcl2", fromLine + sized(withFrom) + "\n" + fromLine + sized(mailA) + "\n", []string{sized(withFrom), sized(mailA)}},
	{"mboxcl2, last message", fromLine + sized(mailA) + "\n" + fromLine + sized(withFrom), []string{sized(mailA), sized(withFrom)}},
	{
		"mboxcl2 keeps what looks quoted", fromLine + sized(withFrom+">From me\n") + "\n" + fromLine + mailA,
		[]string{sized(withFrom + ">From me\n"), mailA},
	},
	{"mboxcl2, a length of the sender's", fromLine + evil + "\n" + fromLine + mailA, []string{evil, mailA}},
	{
		"length too short", fromLine + "Content-Length: 3\n\n" + "Body.\n\n" + fromLine + mailA,
		[]string{"Content-Length: 3\n\nBody.\n", mailA},
	},
	{
		"length too long", fromLine + "Content-Length: 99999999\n\n" + "Body.\n\n" + fromLine + mailA,
		[]string{"Content-Length: 99999999\n\nBody.\n", mailA},
	},
	{
		"length nonsense", fromLine + "Content-Length: -1\ncontent-length: 1e9\nContent-Length: 99999999999999999999999\n\nBody.\n\n" + fromLine + mailA,
		[]string{"Content-Length: -1\ncontent-length: 1e9\nContent-Length: 99999999999999999999999\n\nBody.\n", mailA},
	},
	{"From in the text without a blank line", fromLine + "Subject: x\n\nHello\n" + fromLine + "\n", []string{"Subject: x\n\nHello\n" + fromLine}},
	{"From in the text without a date", fromLine + "Subject: x\n\nHello\n\nFrom now on\n", []string{"Subject: x\n\nHello\n\nFrom now on\n"}},
	{"From without any date", "From a\n" + mailA + "\nFrom b\n" + mailB + "\n", []string{mailA, mailB}},
	{"earlier hops", fromLine + ">" + fromLine + ">From uucp\n" + mailA, []string{mailA}},
	{
		"CRLF", strings.ReplaceAll(fromLine+mailA+"\n"+fromLine+mailB+"\n", "\n", "\r\n"),
		[]string{strings.ReplaceAll(mailA, "\n", "\r\n"), strings.ReplaceAll(mailB, "\n", "\r\n")},
	},
	{
		"CR alone", strings.ReplaceAll(fromLine+mailA, "\n", "\r"),
		[]string{strings.ReplaceAll(fromLine+mailA, "\n", "\r")},
	},
	{
		"CR alone, but for one LF that the sender wrote", strings.ReplaceAll(fromLine+mailA, "\n", "\r") + "\n\n" + fromLine + mailB,
		[]string{strings.ReplaceAll(fromLine+mailA, "\n", "\r") + "\n\n" + fromLine + mailB},
	},
	{"CR CR LF", "From a Sat Nov 21 08:15:04 2026\r\r\n" + mailC, []string{mailC}},
	{"only a From_ line", strings.TrimSpace(fromLine), []string{""}},
	{
		"forms of dates", fromLine + mailC +
			"From a@b.example Sat Jan  3 01:05 1996\n" + mailC +
			"From - Sat Jan 03 01:05:34 1996\n" + mailC +
			"From \"a b\"@c.example  Sat Jan  3 01:05:34 MET DST 1996 remote from x\n" + mailC +
			"From 12@xxx Sat Jan 03 01:05:34 +0000 1996\n" + mailC +
			"From a at b.example Sat, 3 Jan 1996 01:05:34 +0100\n" + mailC,
		[]string{mailC, mailC, mailC, mailC, mailC, mailC},
	},
}

func TestMboxDialects(t *testing.T) {
	t.Parallel()
	for _, test := range mboxes {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "box", test.box)
			if diff := cmp.Diff(test.want, messages(t, []string{path}, nil)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
			// As a stream that hands over little at a time.
			stream := struct{ io.Reader }{oneByte{strings.NewReader(test.box)}}
			if diff := cmp.Diff(test.want, messages(t, []string{"-"}, stream)); diff != "" {
				t.Errorf("stream (-want +got):\n%s", diff)
			}
		})
	}
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

func TestWalkFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "1/b.eml", fromLine+withFrom) // one message, whatever is in it
	write(t, dir, "1/a", mailA)
	write(t, dir, "1/.hidden", mailB)
	write(t, dir, "2/box", fromLine+mailA+"\n"+fromLine+mailB)
	write(t, dir, "2/sub/x", mailC)
	write(t, dir, "3/empty", "")
	for _, link := range []struct{ to, name string }{{"1/a", "0-file"}, {"1", "0-folder"}, {".", "0-loop"}} {
		if err := os.Symlink(link.to, filepath.Join(dir, link.name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "0-pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{mailA, withFrom, mailA, mailB, mailC}
	if diff := cmp.Diff(want, messages(t, []string{dir}, nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A link that is given by name is followed.
	if diff := cmp.Diff([]string{mailA}, messages(t, []string{filepath.Join(dir, "0-file")}, nil)); diff != "" {
		t.Errorf("link by name (-want +got):\n%s", diff)
	}
}

func TestWalkMaildir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "cur/1700000002.M1.host:2,S", mailB)
	write(t, dir, "cur/1700000001.M1.host:2,S", mailA)
	write(t, dir, "new/1700000003.M1.host", fromLine+withFrom) // one file, one message
	write(t, dir, "tmp/1700000004.M1.host", "half of a mess")
	write(t, dir, "dovecot-uidlist", "3 V1 N2\n")
	write(t, dir, ".Junk/new/1", mailC)
	write(t, dir, ".Junk/cur/0", mailB)
	write(t, dir, "other/file", mailC) // not mail
	want := []string{mailA, mailB, withFrom, mailB, mailC}
	if diff := cmp.Diff(want, messages(t, []string{dir}, nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWalkGoesOnAfterErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := write(t, dir, "good", mailA)
	deep := filepath.Join(dir, strings.Repeat("d/", 40))
	write(t, dir, strings.Repeat("d/", 40)+"mail", mailB)
	bad := strings.NewReader(fromLine + mailA + "\n" + fromLine + mailB)
	got := messages(t, []string{
		filepath.Join(dir, "missing"), good, "-", "-", dir, deep,
	}, io.MultiReader(bad, failing{}))
	want := []string{
		"error: missing", mailA,
		mailA, "error: -", // the message that was cut off
		"error: -", // a second time
		"error: d", mailA,
		mailB,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWalkStops(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "box", strings.Repeat(fromLine+mailA+"\n", 10))
	n := 0
	for item, err := range intake.Walk([]string{path, path}, nil) {
		if err != nil || item.Index != n {
			t.Fatalf("item %d: index %d, %v", n, item.Index, err)
		}
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("got %d items, want 3", n)
	}
}

func TestMessageIsNeverMany(t *testing.T) {
	t.Parallel()
	item, err := intake.Message(strings.NewReader(fromLine + withFrom))
	if err != nil || string(item.Raw) != withFrom {
		t.Errorf("got %q, %v, want %q", item.Raw, err, withFrom)
	}
	if _, err := intake.Message(strings.NewReader("")); err == nil {
		t.Error("an empty input is a message, want an error")
	}
}

// A mailbox that is larger than memory allows, with a message, a header and a
// line of a size that no message has. It measures the heap, so it runs alone.
func TestMailboxInBoundedMemory(t *testing.T) {
	const large = 32 << 20
	filler := func(text string) io.Reader { return io.LimitReader(&repeat{text: strings.Repeat(text, 4096)}, large) }
	box := io.MultiReader(
		strings.NewReader(fromLine), strings.NewReader("Subject: long body\n\n"), filler("0123456789abcde\n"), strings.NewReader("\n"),
		strings.NewReader(fromLine), strings.NewReader("Subject: long line\n\n"), filler("x"), strings.NewReader("\n\n"),
		strings.NewReader(fromLine), filler("X-Long: header\n"), strings.NewReader("\n\n"),
		strings.NewReader(fromLine+mailA),
	)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var got []string
	for item, err := range intake.Walk([]string{"-"}, box) {
		if err != nil {
			t.Fatal(err)
		}
		if len(item.Raw) > intake.MaxRaw {
			t.Errorf("message %d has %d octets", item.Index, len(item.Raw))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
			t.Errorf("message %d: heap grew by %d MiB", item.Index, grown>>20)
		}
		line, _, _ := bytes.Cut(item.Raw, []byte("\n"))
		got = append(got, fmt.Sprintf("%s %d %t", line, len(item.Raw), item.Truncated))
	}
	want := []string{
		fmt.Sprintf("Subject: long body %d true", intake.MaxRaw),
		fmt.Sprintf("Subject: long line %d true", intake.MaxRaw),
		fmt.Sprintf("X-Long: header %d true", intake.MaxRaw),
		fmt.Sprintf("From: MAILER-DAEMON@mx.example %d false", len(mailA)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// repeat is a text without end.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], r.text[r.at:])
		n += c
		r.at = (r.at + c) % len(r.text)
	}
	return n, nil
}

func FuzzMbox(f *testing.F) {
	for _, test := range mboxes {
		f.Add([]byte(test.box))
	}
	f.Fuzz(func(t *testing.T, box []byte) {
		total := 0
		for item, err := range intake.Walk([]string{"-"}, bytes.NewReader(box)) {
			if err != nil {
				t.Fatal(err)
			}
			if total += len(item.Raw); total > len(box) {
				t.Fatalf("messages have %d octets, the mailbox %d", total, len(box))
			}
		}
		// What an mboxrd was made of comes out of it again.
		store := "Subject: x\n\n" + strings.ReplaceAll(string(box), "\r", "") + "\n"
		var rd strings.Builder
		rd.WriteString(fromLine)
		for line := range strings.Lines(store) {
			if strings.HasPrefix(strings.TrimLeft(line, ">"), "From ") {
				rd.WriteByte('>')
			}
			rd.WriteString(line)
		}
		rd.WriteString("\n" + fromLine + mailA + "\n")
		got := messages(t, []string{"-"}, strings.NewReader(rd.String()))
		if diff := cmp.Diff([]string{store, mailA}, got); diff != "" && len(store) < intake.MaxRaw {
			t.Fatalf("mboxrd (-want +got):\n%s", diff)
		}
	})
}
