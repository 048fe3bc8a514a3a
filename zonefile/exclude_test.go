package zonefile_test

import (
	"fmt"
	"strings"
	"testing"

	"backscatter/zonefile"
)

// nested is a list of prefixes one inside the other, and of addresses that are excluded
// from all of them.
func nested(addresses int) string {
	var b strings.Builder
	for bits := 16; bits <= 44; bits++ {
		fmt.Fprintf(&b, "2001::/%d\n", bits)
	}
	for i := range addresses {
		fmt.Fprintf(&b, "!2001:0:%x:%x:1234:5678:9abc:def1\n", i*87>>16&0xf, i*87&0xffff)
	}
	return b.String()
}

// Prefixes one inside the other cost no more than the widest alone: each exclusion cuts
// the narrowest that it is in, and no piece is made twice.
func TestReadNestedExclusions(t *testing.T) {
	t.Parallel()
	const addresses = 500
	text := nested(addresses)
	_, widest, _ := strings.Cut(text, "2001::/44\n")
	want, problems, err := zonefile.ReadWide(strings.NewReader("2001::/16\n"+widest), zonefile.IP6Trie)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	got, _, err := zonefile.ReadWideAtMost(strings.NewReader(text), zonefile.IP6Trie, len(want))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d items, want %d", len(got), len(want))
	}
	for i, item := range got {
		if item.Prefix != want[i].Prefix {
			t.Fatalf("%s, want %s", item.Prefix, want[i].Prefix)
		}
	}
}

// A few lines that mean very many pieces are refused before these are made, in the last
// data set as in any other.
func TestReadTooManyPieces(t *testing.T) {
	t.Parallel()
	text := nested(500)
	for _, c := range []struct {
		format zonefile.Format
		text   string
	}{
		{zonefile.IP6Trie, text},
		{zonefile.Combined, "$DATASET ip6trie a @\n" + text},
		{zonefile.Combined, "$DATASET ip6trie a @\n" + text + "$DATASET ip4set b @\n192.0.2.1\n"},
	} {
		items, collected, err := zonefile.ReadWideAtMost(strings.NewReader(c.text), c.format, 5000)
		if err == nil || !strings.Contains(err.Error(), "more than 5000 entries") || items != nil {
			t.Errorf("%s: %d items, error %v", c.format, len(items), err)
		}
		if collected > 5001 {
			t.Errorf("%s: %d pieces were made", c.format, collected)
		}
	}
}

// A list that excludes very many addresses of an ip6trie is taken, and the first of them
// are told.
func TestReadManyExcludedParts(t *testing.T) {
	t.Parallel()
	const excluded = 1100
	text := "2001:db8::/48\n"
	for i := range excluded {
		text += fmt.Sprintf("!2001:db8:0:%x::1\n", i)
	}
	items, problems, err := zonefile.Read(strings.NewReader(text+"x\n"), zonefile.IP6Trie)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, item := range items {
		n += 1 << (64 - item.Prefix.Bits())
	}
	if n != 1<<16-excluded {
		t.Errorf("%d networks are listed", n)
	}
	if len(problems) != 1001 || !strings.HasSuffix(problems[999].Why, "not told") || strings.Contains(problems[998].Why, "not told") || problems[1000].Text != "x" {
		t.Errorf("%d problems, at last %v", len(problems), problems[max(0, len(problems)-3):])
	}
	if _, _, err = zonefile.Read(strings.NewReader(text+strings.Repeat("x\n", 1001)), zonefile.IP6Trie); err == nil {
		t.Error("bad lines are no longer counted")
	}
}
