package listing

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestPack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		most int // bytes packed
	}{
		{"", 0},
		{"abc", 3},
		{"mail.backscatter.example mail.backscatter.example mail.backscatter.example", 36},
		{"<20261121100101.4A1F2@mail.backscatter.example>\x0bmail.backscatter.example550 5.1.1 <sales@x.example>: Recipient address rejected: User unknown in local recipient table", 110},
		{strings.Repeat("a", 5000), 150},
		{"no four bytes of this, zyxwvutsrq, are there", 44},
	} {
		out, packed := pack([]byte(c.text))
		if len(out) > c.most {
			t.Errorf("%.40q: %d bytes, want at most %d", c.text, len(out), c.most)
		}
		got := out
		if packed {
			var err error
			if got, err = unpack(out); err != nil {
				t.Errorf("%.40q: %v", c.text, err)
			}
		}
		if string(got) != c.text {
			t.Errorf("%.40q comes back as %.40q", c.text, got)
		}
	}
}

// FuzzPack packs anything and gets it back, and unpacks anything without harm.
func FuzzPack(f *testing.F) {
	f.Add([]byte("mail.backscatter.example mail.backscatter.example"))
	f.Add([]byte{0x80, 1, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, text []byte) {
		if out, packed := pack(text); packed {
			if got, err := unpack(out); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%q comes back as %q, %v", text, got, err)
			}
		}
		if got, err := unpack(text); err != nil && !errors.Is(err, ErrDamaged) || len(got) > maxUnpacked {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	text := []byte("<20261121100101.4A1F2@mail.backscatter.example>\x0bmail.backscatter.example550 5.1.1 <sales@x.example>: Recipient address rejected: User unknown in local recipient table")
	b.ReportAllocs()
	for b.Loop() {
		pack(text)
	}
}
