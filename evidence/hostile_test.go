package evidence_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"
)

// hostile makes, of about a given size, what a message should not be.
var hostile = map[string]func(size int) []byte{
	"nested parts": func(size int) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
		}
		return b.Bytes()
	},
	"addresses of senders and recipients": func(size int) []byte {
		var b bytes.Buffer
		b.WriteString("Return-Path: <>\nFrom: postmaster@mx.example\n")
		for _, field := range []string{"To", "X-Original-To", "Delivered-To"} {
			fmt.Fprintf(&b, "%s: ", field)
			for i := range 250 {
				fmt.Fprintf(&b, "a@%d.example,", i)
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
		for b.Len() < size {
			b.WriteString("sender:" + strings.Repeat("a@c.example ", 24) + "\n")
		}
		return b.Bytes()
	},
	"nested messages":  repeated("Content-Type: message/rfc822\n\n"),
	"parts":            repeatedBehind("Content-Type: multipart/mixed; boundary=b\n\n", "--b\n\nx\n"),
	"unclosed nesting": nestedBoundaries,
	"one boundary within another": func(size int) []byte {
		var b bytes.Buffer
		for i := range 10 {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"%s\"\n\n--%s\n", strings.Repeat("b", 60+i), strings.Repeat("b", 60+i))
		}
		for b.Len() < size {
			b.WriteString("--" + strings.Repeat("b", 59) + "\n")
		}
		return b.Bytes()
	},
	"unknown boundaries": repeatedBehind("Content-Type: multipart/report; boundary=none\n\n", "--x\nContent-Type: multipart/mixed\n\n"),
	"no header":          repeated("nothing that is a field\n"),
	"NUL":                repeated("\x00"),
	"header flood":       repeated("X-Flood: yes\n"),
	"one field":          repeated("a"),
	"one folded field":   repeatedBehind("Subject: a\n", " a\n"),
	"Received flood":     repeated("Received: from a (b [192.0.2.1]) by c with SMTP id d; Sat, 21 Nov 2026 10:00:00 +0000\n"),
	"dates":              repeated("Received: by a;" + strings.Repeat("1+;", 600) + "\n"),
	"dates and days":     repeated("Received: by a;" + strings.Repeat("Mon, 1 Jan 2020 00:00:00 +00;", 65) + "\n"),
	"dates of an original": func(size int) []byte {
		line := "Received: by a;" + strings.Repeat("1+;", 600) + "\n"
		return []byte(strings.Repeat(line, 33) + "Content-Type: message/rfc822\n\n" + strings.Repeat(line, size/len(line)))
	},
	"open comments":    repeatedBehind("Received: ", "("),
	"bare CR":          repeated("Subject: a\r"),
	"blank lines":      repeated("\n"),
	"base64":           repeatedBehind("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n", "QUFB"),
	"base64 padding":   repeatedBehind("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n", "===="),
	"quoted-printable": repeatedBehind("Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n", "=  "),
	"tags":             repeatedBehind("Content-Type: text/html\n\n", "<style>"),
	"open tags":        repeatedBehind("Content-Type: text/html\n\n", "<"),
	"entities":         repeatedBehind("Content-Type: text/html\n\n", "&amp;"),
	"encoded words":    repeatedBehind("Subject: ", "=?utf-8?q?=41?= "),
	"wide charset":     repeatedBehind("Content-Type: text/plain; charset=iso-2022-jp\n\n", "\x1b$B0!"),
	"utf-7":            repeatedBehind("Content-Type: text/plain; charset=utf-7\n\n", "+AEE-"),
	"quoted headers":   repeatedBehind("Subject: a\n\n", "> Received: a\n\n"),
	"nearly a header":  repeatedBehind("Subject: a\n\noriginal message\n", "From: a\nb\n"),
	"report groups":    repeatedBehind("Content-Type: message/delivery-status\n\n", "Final-Recipient: rfc822; a@b.example\n\n"),
	"report fields":    repeatedBehind("Content-Type: message/delivery-status\n\n", "X-A: b\n"),
	"announcements":    repeatedBehind("Subject: a\n\n", "----- original message -----\n"),
	"digits":           repeatedBehind("Subject: a\n\n", "5.1"),
	"parameters":       repeatedBehind("Content-Type: text/plain", "; a=\"b"),
	"continuations":    repeatedBehind("Content-Type: multipart/mixed; ", "boundary*1=b;\n "),
	"URLs":             repeatedBehind("Content-Type: message/rfc822\n\nFrom: a\nTo: b\n\n", "http://a.b/ "),
	"recipients":       repeatedBehind("To: ", "a@b.example, "),
	"indented":         repeated(" Subject: a\n"),
	"From lines":       repeated("From nobody\n"),
}

func repeated(s string) func(int) []byte { return repeatedBehind("", s) }

func repeatedBehind(head, s string) func(int) []byte {
	return func(size int) []byte { return []byte(head + strings.Repeat(s, size/len(s)+1)) }
}

// nestedBoundaries opens multiparts one within another and closes none, which
// made other parsers take exponential time.
func nestedBoundaries(size int) []byte {
	var b bytes.Buffer
	for b.Len() < size {
		for i := range 20 {
			fmt.Fprintf(&b, "--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i, i+1)
		}
	}
	return append([]byte("Content-Type: multipart/mixed; boundary=b0\n\n"), b.Bytes()...)
}

// TestHostileWorkIsLinear counts the bytes that are looked at, not the time
// that it takes: each byte of the message a fixed number of times at most.
func TestHostileWorkIsLinear(t *testing.T) {
	t.Parallel()
	for name, build := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1 << 10, 32 << 10, 1 << 20} {
				raw := build(size)
				m, err := evidence.Parse(raw)
				if err != nil {
					continue
				}
				evidence.Classify(m)
				if work, most := m.Work(), 12*len(raw)+64<<10; work > most {
					t.Errorf("%d bytes: looked at %d bytes, want at most %d", len(raw), work, most)
				}
			}
		})
	}
}

// TestHostileMemory judges each hostile megabyte, and bounds what is allocated.
func TestHostileMemory(t *testing.T) {
	j := newJudge(t)
	j.Judge(evidence.Report{Raw: read(t, "postfix"), Reporter: "local"}, now) // makes the rules ready
	for name, build := range hostile {
		raw := build(1 << 20)
		used := allocated(func() {
			f := j.Judge(evidence.Report{Raw: raw, Reporter: "local", Received: now}, now)
			if f.Verdict == evidence.Proven {
				t.Errorf("%s: proven", name)
			}
		})
		if used > 4<<20 {
			t.Errorf("%s: %d KiB were allocated", name, used>>10)
		}
	}
}

// TestHostileHeaders keeps the header of each hostile message that has an original,
// with as many and as long recipients as there can be, and more: what is hidden for
// them is bounded.
func TestHostileHeaders(t *testing.T) {
	var rcpts []string
	for i := range 20_000 {
		rcpts = append(rcpts, fmt.Sprintf("%s%05d@trap.example", strings.Repeat("x", 290), i))
	}
	j := newJudge(t, func(c *evidence.Config) { c.Headers = true })
	judge := func(fields string, rcpts []string) string {
		f := j.Judge(evidence.Report{
			Raw: bounceWith(fields+direct, spam), Reporter: "local", Received: now, Envelope: evidence.Envelope{Recipients: rcpts},
		}, now)
		o, ok := f.Observation()
		if !ok {
			t.Fatal("nothing to keep")
		}
		return o.Headers
	}
	judge("", rcpts[:1])
	fields := strings.Repeat("X-A: "+strings.Repeat("x", 1900)+"\n", 8)
	var hundred, all string
	few := allocated(func() { hundred = judge(fields, rcpts[:100]) })
	many := allocated(func() { all = judge(fields, rcpts) })
	if few > 32<<20 || many > 2*few {
		t.Errorf("%d KiB were allocated for 100 recipients, %d for %d", few>>10, many>>10, len(rcpts))
	}
	if hundred != all {
		t.Error("the same is hidden for the first hundred, and for more")
	}
}

// allocated returns how many bytes f allocates, what the first judgement of a
// process makes once (the tables of the rules) left out.
func allocated(f func()) uint64 {
	evidence.Classify(&evidence.Message{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestHuge judges 50 MB, of which no more than the first is looked at.
func TestHuge(t *testing.T) {
	raw := append(read(t, "postfix"), bytes.Repeat([]byte("x\n"), 25<<20)...)
	j := newJudge(t)
	var f evidence.Finding
	used := allocated(func() { f = j.Judge(evidence.Report{Raw: raw, Reporter: "local", Received: now}, now) })
	if f.Class != listing.ClassBounce || f.Verdict != evidence.Proven {
		t.Errorf("class %s, verdict %s (%s)", f.Class, f.Verdict, f.Reason)
	}
	if used > 4<<20 {
		t.Errorf("%d KiB were allocated", used>>10)
	}
}

// TestTruncated cuts a bounce at every byte: never a panic, and a verdict.
func TestTruncated(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	for _, name := range []string{"postfix", "virus-2003", "exchange-html", "hmailserver"} {
		raw := read(t, name)
		for n := range raw {
			if f := j.Judge(evidence.Report{Raw: raw[:n], Truncated: true, Reporter: "local", Received: now}, now); f.Verdict == "" {
				t.Fatalf("%s cut at %d: no verdict", name, n)
			}
		}
	}
}

// TestBudgets: what lies beyond them is not looked at, and that is told.
func TestBudgets(t *testing.T) {
	t.Parallel()
	m, err := evidence.Parse(hostile["parts"](64 << 10))
	if err != nil || len(m.Parts) != 64 || !m.Cut {
		t.Errorf("parts: %d, cut %t, %v", len(m.Parts), m.Cut, err)
	}
	m, err = evidence.Parse(hostile["nested parts"](64 << 10))
	if err != nil || m.Parts[len(m.Parts)-1].Depth != 10 || !m.Cut {
		t.Errorf("depth: %d, cut %t, %v", m.Parts[len(m.Parts)-1].Depth, m.Cut, err)
	}
	m, err = evidence.Parse(hostile["header flood"](64 << 10))
	if err != nil || m.Header.Len() != 500 || !m.Cut {
		t.Errorf("fields: %d, cut %t, %v", m.Header.Len(), m.Cut, err)
	}
	m, err = evidence.Parse(hostile["one folded field"](1 << 20))
	if err != nil || len(m.Header.Get("Subject")) > 64<<10 || !m.Cut {
		t.Errorf("field: %d bytes, cut %t, %v", len(m.Header.Get("Subject")), m.Cut, err)
	}
}

func addFixtures(f *testing.F) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, build := range hostile {
		f.Add(build(512))
	}
}

func FuzzParse(f *testing.F) {
	addFixtures(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := evidence.Parse(raw)
		if err != nil {
			return
		}
		if len(m.Parts) > 64 {
			t.Errorf("%d parts", len(m.Parts))
		}
		for i, p := range m.Parts {
			if p.Depth > 10 || p.Parent >= i {
				t.Errorf("part %d at depth %d in %d", i, p.Depth, p.Parent)
			}
		}
		first, again := evidence.Classify(m), evidence.Classify(m)
		if first.Class != again.Class || !first.Class.Valid() {
			t.Errorf("class %s, then %s", first.Class, again.Class)
		}
		if work := m.Work(); work > 16*len(raw)+64<<10 {
			t.Errorf("looked at %d bytes of %d", work, len(raw))
		}
	})
}

func FuzzJudge(f *testing.F) {
	addFixtures(f)
	j := newJudge(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		found := j.Judge(evidence.Report{
			Raw: raw, Reporter: "local", Held: true, Received: now,
			Envelope: evidence.Envelope{Client: addr("192.0.2.66"), MailFromKnown: true, Recipients: []string{"info@trap.example"}},
		}, now)
		if found.Verdict == evidence.Failed {
			return
		}
		if found.Source != addr("192.0.2.66") || found.Level != listing.LevelA {
			t.Errorf("source %s at level %s", found.Source, found.Level)
		}
		o, ok := found.Observation()
		if ok != (found.Verdict == evidence.Proven) || ok && (o.ID.IsZero() || o.Original.IsZero() || len(o.Traces.Diagnostic) > listing.MaxTrace) {
			t.Errorf("observation %+v of %s", o, found.Verdict)
		}
	})
}

func FuzzParseDSN(f *testing.F) {
	f.Add([]byte("Reporting-MTA: dns; a\n\nFinal-Recipient: rfc822; b@c\nAction: failed\nStatus: 5.0.0\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if d := evidence.ParseDSN(body); d != nil && (len(d.Recipients) == 0 || len(d.Recipients) > 100) {
			t.Errorf("%d recipients", len(d.Recipients))
		}
	})
}

// BenchmarkJudge measures the fixtures, or the corpus if there is one.
func BenchmarkJudge(b *testing.B) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if dir := os.Getenv("BACKSCATTER_CORPUS"); dir != "" {
		paths, err = filepath.Glob(filepath.Join(dir, "*", "*.eml"))
	}
	if err != nil {
		b.Fatal(err)
	}
	var messages [][]byte
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		messages = append(messages, raw)
	}
	j := newJudge(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		j.Judge(evidence.Report{Raw: messages[n%len(messages)], Reporter: "local", Received: now}, now)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkHostile measures the slowest of the hostile megabytes.
func BenchmarkHostile(b *testing.B) {
	j := newJudge(b)
	for name, build := range hostile {
		raw := build(1 << 20)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				j.Judge(evidence.Report{Raw: raw, Reporter: "local", Received: now}, now)
			}
		})
	}
}
