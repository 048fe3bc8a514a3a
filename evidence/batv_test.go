package evidence_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"

	"pgregory.net/rapid"
)

// TestBATVWithExim holds tags that Exim 4.96 made by ${prvs{ADDRESS}{SECRET}{K}}
// on the 22nd of November 2026, and tags that nobody made.
func TestBATVWithExim(t *testing.T) {
	t.Parallel()
	at := time.Unix(1795355416, 0)
	const day = 24 * time.Hour
	keys := []evidence.BATVKey{{Number: '3', Secret: "secret"}, {Number: '0', Secret: "another key of 9"}}
	for want, key := range map[string]evidence.BATVKey{
		"prvs=3786837197=jane@real.example":      keys[0],
		"prvs=37861c32e0=Jane@Real.example":      keys[0],
		"prvs=0786ce3661=jane+news@real.example": keys[1],
	} {
		_, address, _ := strings.Cut(want[5:], "=")
		if got, err := evidence.SignBATV(address, key, at); got != want || err != nil {
			t.Errorf("signed %s, %v, want %s", got, err, want)
		}
	}
	tests := []struct {
		name, rcpt string
		at         time.Time
		want       evidence.Outcome
		senders    []string
	}{
		{"valid", "prvs=3786837197=jane@real.example", at, evidence.Refuted, nil},
		{"the case was changed on the way", "PRVS=3786837197=JANE@real.EXAMPLE", at, evidence.Refuted, nil},
		{"the second key", "prvs=0786ce3661=jane+news@real.example", at, evidence.Refuted, nil},
		{"on its last day", "prvs=3786837197=jane@real.example", at.Add(7 * day), evidence.Refuted, nil},
		{"expired lately", "prvs=3786837197=jane@real.example", at.Add(8 * day), evidence.Unknown, nil},
		{"expired long ago", "prvs=3786837197=jane@real.example", at.Add(15 * day), evidence.Holds, nil},
		{"no tag", "jane@real.example", at, evidence.Holds, nil},
		{"a wrong tag", "prvs=3786837198=jane@real.example", at, evidence.Holds, []string{"jane@real.example"}},
		{"the tag of somebody else", "prvs=3786837197=john@real.example", at, evidence.Holds, []string{"john@real.example"}},
		{"another day", "prvs=3787837197=jane@real.example", at, evidence.Holds, []string{"jane@real.example"}},
		{"a key that is not known", "prvs=4786837197=jane@real.example", at, evidence.Unknown, nil},
		{"no tag at all behind the word", "prvs=jane@real.example", at, evidence.Holds, nil},
		{"letters for a day", "prvs=3xyz837197=jane@real.example", at, evidence.Holds, nil},
		{"forwarded", "SRS0=HHHH=TT=other.example=joe@real.example", at, evidence.Unknown, nil},
		{"of a list", "list-bounces+joe=other.example@real.example", at, evidence.Unknown, nil},
		{"no address", "jane", at, evidence.Unknown, nil},
		{"nothing", "", at, evidence.Unknown, nil},
		{"a wrong tag, and nothing came back of the address", "prvs=3786837198=jane@real.example", at, evidence.Unknown, []string{"", "<>", "info@trap.example"}},
		{"a wrong tag of an address in capitals", "prvs=3786837198=JANE@REAL.EXAMPLE", at, evidence.Unknown, nil},
		{"a wrong tag of an address that kept its case", "prvs=3786837198=Jane@real.example", at, evidence.Holds, nil},
		// Exim made it for Jane@Real.example.
		{"as it was signed", "prvs=37861c32e0=Jane@Real.example", at, evidence.Refuted, nil},
		{"in small letters", "prvs=37861c32e0=jane@real.example", at, evidence.Unknown, nil},
		{"in small letters, but for the Return-Path", "prvs=37861c32e0=jane@real.example", at, evidence.Refuted, []string{"<Jane@Real.example>"}},
		{"in small letters, but for the Return-Path with its tag", "prvs=37861c32e0=jane@real.example", at, evidence.Refuted, []string{"<prvs=37861c32e0=Jane@Real.example>"}},
		{"the domain in small letters, the rest in the From field", "prvs=37861c32e0=jane@real.example", at, evidence.Refuted, []string{"Jane@real.example", "jane@Real.example"}},
		{"in capitals", "PRVS=37861C32E0=JANE@REAL.EXAMPLE", at, evidence.Refuted, []string{"Jane@Real.example"}},
	}
	for _, tt := range tests {
		if got := evidence.CheckBATV(tt.rcpt, keys, tt.at, tt.senders...); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if evidence.CheckBATV("jane@real.example", nil, at) != evidence.Unknown {
		t.Error("without a key something is known")
	}
	for _, bad := range []evidence.BATVKey{{Number: 'x', Secret: "s"}, {Number: '1'}, {Number: '1', Secret: strings.Repeat("s", 65)}} {
		if _, err := evidence.SignBATV("jane@real.example", bad, at); !errors.Is(err, evidence.ErrBATV) {
			t.Errorf("key %+v: %v", bad, err)
		}
	}
}

// TestBATVRound: what is signed is valid until it expires, with either key
// while the keys change, and across the turn of the thousand days.
func TestBATVRound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(rt, "time"), 0)
		address := rapid.StringMatching(`[a-zA-Z0-9.+-]{1,40}@[a-z]{1,20}\.example`).Draw(rt, "address")
		old, fresh := evidence.BATVKey{Number: '1', Secret: rapid.StringN(1, 20, 64).Draw(rt, "old")}, evidence.BATVKey{Number: '2', Secret: "fresh"}
		tagged, err := evidence.SignBATV(address, old, at)
		if err != nil {
			rt.Fatal(err)
		}
		age := time.Duration(rapid.IntRange(0, 900).Draw(rt, "days")) * 24 * time.Hour
		want := evidence.Refuted
		switch {
		case age > 14*24*time.Hour:
			want = evidence.Holds
		case age > 7*24*time.Hour:
			want = evidence.Unknown
		}
		if got := evidence.CheckBATV(tagged, []evidence.BATVKey{fresh, old}, at.Add(age)); got != want {
			rt.Fatalf("%s after %s: %d, want %d", tagged, age, got, want)
		}
		if got := evidence.CheckBATV(tagged, []evidence.BATVKey{fresh}, at); got != evidence.Unknown {
			rt.Fatalf("%s with the old key gone: %d", tagged, got)
		}
	})
}

func FuzzBATV(f *testing.F) {
	f.Add("prvs=3786837197=jane@real.example")
	f.Add(`"prvs=3786837197=ja ne"@real.example`)
	keys := []evidence.BATVKey{{Number: '3', Secret: "secret"}}
	f.Fuzz(func(t *testing.T, rcpt string) {
		got := evidence.CheckBATV(rcpt, keys, time.Unix(1795355416, 0))
		if got == evidence.Refuted && !strings.EqualFold(rcpt[:min(len(rcpt), 5)], "prvs=") && rcpt[0] != '"' {
			t.Errorf("%q is valid without a tag", rcpt)
		}
	})
}
