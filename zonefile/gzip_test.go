package zonefile_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"backscatter/zonefile"
)

func pack(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	gz := zonefile.NewGzipper(&out)
	for rest := text; rest != ""; { // in pieces of any size
		n := 1 + rand.IntN(len(rest))
		must(io.WriteString(gz, rest[:n]))(t)
		rest = rest[n:]
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestGzip changes one line of a hundred thousand: rsync has to find nearly all
// of the compressed bytes again, and any reader of gzip all of the text.
func TestGzip(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "198.51.%d.%d\n", i/256, i%256)
	}
	text := b.String()
	before := pack(t, text)
	after := pack(t, strings.Replace(text, "\n198.51.200.7\n", "\n", 1))
	for _, c := range []struct {
		packed []byte
		want   string
	}{{before, text}, {pack(t, ""), ""}, {pack(t, "a"), "a"}} {
		plain := must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(c.packed)))(t)))(t)
		if string(plain) != c.want {
			t.Errorf("%d bytes come back as %d others", len(c.want), len(plain))
		}
	}
	if !bytes.Equal(before, pack(t, text)) {
		t.Error("the same text has other bytes")
	}
	head, tail := 0, 0
	for head < len(before) && before[head] == after[head] {
		head++
	}
	for tail < len(before)-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	if kept := head + tail; kept < len(before)*7/10 || len(before) > len(text)/3 {
		t.Errorf("%d of %d compressed bytes stay the same, of %d", kept, len(before), len(text))
	}
}

func TestPublishPacked(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Formats...)
	d.options.Gzip = true
	p := must(zonefile.NewPublisher(d.options))(t)
	if done := must(p.Publish(made))(t); len(done.Files) != 2*len(zonefile.Formats)+1 {
		t.Errorf("%d files", len(done.Files))
	}
	files := d.files(t)
	for _, f := range zonefile.Formats {
		name := f.File(testZone())
		packed := must(gzip.NewReader(strings.NewReader(files[name+".gz"])))(t)
		if plain := string(must(io.ReadAll(packed))(t)); plain != files[name] {
			t.Errorf("%s.gz holds %d bytes, want the %d of the file beside it", name, len(plain), len(files[name]))
		}
	}
	if must(p.Publish(made.Add(time.Hour)))(t).Changed() {
		t.Error("unchanged data, and changed files")
	}
}
