package listing

import (
	"bytes"
	"encoding/binary"
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

// pack is how the texts of version 2 were written: packed, or as they were when that
// was no longer.
func pack(text []byte) (out []byte, packed bool) {
	if len(text) < minMatch || len(text) > maxUnpacked {
		return text, false
	}
	table := packTable
	window := append([]byte(packWords), text...)
	told := len(packWords) // what stands before is told by tokens
	for at := told; at+minMatch <= len(window); {
		slot := packSlot(window[at:])
		candidate := int(table[slot]) - 1
		table[slot] = uint16(at + 1)
		length := 0
		if candidate >= 0 {
			length = common(window[candidate:], window[at:])
		}
		if length < minMatch {
			at++
			continue
		}
		out = literals(out, window[told:at])
		out = append(out, byte(maxLiteral+length-minMatch))
		out = binary.AppendUvarint(out, uint64(at-candidate))
		told = at + length
		for at++; at < told; at++ {
			if at+minMatch <= len(window) {
				table[packSlot(window[at:])] = uint16(at + 1)
			}
		}
	}
	out = literals(out, window[told:])
	if len(out) >= len(text) {
		return text, false
	}
	return out, true
}

// common returns how long a and b are the same, as far as one token can tell.
func common(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b), maxMatch) && a[n] == b[n] {
		n++
	}
	return n
}

func literals(out, text []byte) []byte {
	for len(text) > 0 {
		n := min(len(text), maxLiteral)
		out = append(append(out, byte(n-1)), text[:n]...)
		text = text[n:]
	}
	return out
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
