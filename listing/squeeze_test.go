package listing

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
)

func TestSqueeze(t *testing.T) {
	t.Parallel()
	host := "mail.backscatter.example"
	for _, c := range []struct {
		texts []string
		most  int // bytes squeezed
	}{
		{nil, 1},
		{[]string{"abc"}, 4},
		{[]string{"", "", "a"}, 4},
		{[]string{host, host, host}, 24},
		{[]string{"<20261121100101.4A1F2@" + host + ">", "4A1F2", host, "5.1.1", "550 5.1.1 <sales@x.example>: Recipient address rejected: User unknown in local recipient table", host, host}, 80},
		{[]string{strings.Repeat("a", 5000)}, 200},
		{[]string{"no four bytes of this, zyxwvutsrq, are there"}, 40},
		{[]string{"\x00\xff\xfe\x80 é"}, 16},
		{slices.Repeat([]string{host}, squeezeTexts), 120},
	} {
		out, ok := squeeze(c.texts)
		if !ok || len(out) > c.most {
			t.Errorf("%.40q: %d bytes, want at most %d, %t", c.texts, len(out), c.most, ok)
		}
		if got, err := expand(out); err != nil || !slices.Equal(got, c.texts) {
			t.Errorf("%.40q comes back as %.40q, %v", c.texts, got, err)
		}
		for n := range out {
			if got, err := expand(out[:n]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%.40q cut to %d is %q, %v", c.texts, n, got, err)
			}
		}
		if got, err := expand(append(out, 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%.40q with a byte more is %q, %v", c.texts, got, err)
		}
	}
	if _, ok := squeeze(make([]string, squeezeTexts+1)); ok {
		t.Error("more texts were squeezed than can be counted")
	}
	if _, ok := squeeze(slices.Repeat([]string{strings.Repeat("a", maxUnpacked/2)}, 3)); ok {
		t.Error("more was squeezed than is expanded")
	}
}

// The codes are part of the format: what was squeezed years ago must be read.
func TestSqueezeNeverChanges(t *testing.T) {
	t.Parallel()
	const texts, codes = 0x224eae2, 0x6e7d8787
	if got := crc32.ChecksumIEEE([]byte(packWords)); got != texts {
		t.Errorf("packWords are others: %#x", got)
	}
	var all []byte
	for _, c := range squeezeCodes {
		for symbol, bits := range c.bits {
			all = fmt.Appendf(all, "%d %d\n", c.lengths[symbol], bits)
		}
	}
	if got := crc32.ChecksumIEEE(all); got != codes {
		t.Errorf("the codes are others: %#x", got)
	}
}

// No code is the beginning of another, and all bits are some code.
func TestPrefixCode(t *testing.T) {
	t.Parallel()
	for _, c := range squeezeCodes {
		space := 0
		for symbol := range symbols {
			if n := c.lengths[symbol]; n == 0 || n > longestCode {
				t.Fatalf("symbol %d takes %d bits", symbol, n)
			}
			space += 1 << (longestCode - c.lengths[symbol])
			w := &bitWriter{}
			w.symbol(c, symbol)
			r := &bitReader{b: w.bytes()}
			if got := r.symbol(c); got != symbol || r.at != int(c.lengths[symbol]) {
				t.Fatalf("symbol %d comes back as %d", symbol, got)
			}
		}
		if space != 1<<longestCode {
			t.Errorf("the codes fill %d of %d", space, 1<<longestCode)
		}
	}
}

// FuzzSqueeze squeezes anything and gets it back, and expands anything without
// harm.
func FuzzSqueeze(f *testing.F) {
	f.Add([]byte("mail.backscatter.example\nmail.backscatter.example"))
	if out, ok := squeeze([]string{"mail.backscatter.example", "550 5.1.1 User unknown"}); ok {
		f.Add(out)
	}
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		texts := strings.Split(string(b), "\n")
		if out, ok := squeeze(texts); ok {
			if got, err := expand(out); err != nil || !slices.Equal(got, texts) {
				t.Fatalf("%q comes back as %q, %v", texts, got, err)
			}
		}
		got, err := expand(b)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		size := 0
		for _, text := range got {
			size += len(text)
		}
		if size > maxUnpacked {
			t.Fatalf("%d bytes became %d", len(b), size)
		}
	})
}

func BenchmarkSqueeze(b *testing.B) {
	host := "mail.backscatter.example"
	texts := []string{"<20261121100101.4A1F2@" + host + ">", "4A1F2", host, "5.1.1", "550 5.1.1 <sales@x.example>: Recipient address rejected: User unknown in local recipient table", host, host}
	out, _ := squeeze(texts)
	b.Run("squeeze", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			squeeze(texts)
		}
	})
	b.Run("expand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := expand(out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
