package intake_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

// One message after the other over one connection, and a new one when the
// trap has had enough of it.
func BenchmarkSMTP(b *testing.B) {
	tr := start(b, func(o *intake.SMTPOptions) { o.Limits = intake.Limits{Messages: 1 << 30, Replies: 1 << 30} })
	tr.submit = func(context.Context, evidence.Report) error { return errors.New("keep nothing") }
	text := string(misdirected().Raw)
	c := tr.greeted(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		c.send("MAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n" + text + ".\r\n")
		for _, reply := range []string{"250", "250", "354", "451"} {
			c.want(reply)
		}
	}
}

func BenchmarkMbox(b *testing.B) {
	box := strings.Repeat(fromLine+strings.ReplaceAll(string(misdirected().Raw), "\r\n", "\n")+"\n", 1000)
	b.SetBytes(int64(len(box)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range intake.Walk([]string{"-"}, io.MultiReader(strings.NewReader(box))) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 1000 {
			b.Fatalf("%d messages, want 1000", n)
		}
	}
}
