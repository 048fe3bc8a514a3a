package intake_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

func collected(items iter.Seq2[intake.Item, error]) (got []intake.Item, errs []string) {
	for item, err := range items {
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		got = append(got, item)
	}
	return got, errs
}

func TestRecords(t *testing.T) {
	t.Parallel()
	lines := strings.Join([]string{
		`{"message":"Subject: a\r\n\r\nx","client":"::ffff:192.0.2.66","mail_from":"","recipients":["a@trap.example"],"received":"2026-11-22T10:00:00Z"}`,
		``,
		`{"message":"` + base64.StdEncoding.EncodeToString([]byte("Subject: \xff\x00\r\n")) + `","base64":true}` + "\r",
		`no JSON`,
		`{"client":"192.0.2.1"}`,
		`{"message":"!","base64":true}`,
		`{"message":"x","client":"nobody"}`,
		`{"message":"` + strings.Repeat("x", intake.MaxRaw+1) + `"}`,
		`{"message":"` + strings.Repeat("x", 7*intake.MaxRaw) + `"}`,
		`{"message":"x","recipients":["a@b.example"` + strings.Repeat(`,"a@b.example"`, 100) + `]}`,
		`{"message":"x","recipients":["` + strings.Repeat("x", 320) + `@b.example"]}`,
		`{"message":"x","mail_from":"` + strings.Repeat("x", 320) + `@b.example"}`,
		`{"message":"last"}`,
	}, "\n")
	got, errs := collected(intake.Records("r.jsonl", iotest.OneByteReader(strings.NewReader(lines))))
	if len(got) != 4 {
		t.Fatalf("%d reports, errors %q", len(got), errs)
	}
	same(t, "first", intake.Item{
		Path: "r.jsonl", Raw: []byte("Subject: a\r\n\r\nx"), Received: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		Envelope: evidence.Envelope{Client: netip.MustParseAddr("192.0.2.66"), MailFromKnown: true, Recipients: []string{"a@trap.example"}},
	}, got[0])
	same(t, "second", intake.Item{Path: "r.jsonl", Index: 1, Raw: []byte("Subject: \xff\x00\r\n")}, got[1])
	if len(got[2].Raw) != intake.MaxRaw || !got[2].Truncated {
		t.Errorf("a long message has %d octets, cut %v", len(got[2].Raw), got[2].Truncated)
	}
	same(t, "last", intake.Item{Path: "r.jsonl", Index: 11, Raw: []byte("last")}, got[3])
	for i, line := range []int{4, 5, 6, 7, 9, 10, 11, 12} {
		if i >= len(errs) || !strings.Contains(errs[i], fmt.Sprintf("r.jsonl, line %d: ", line)) {
			t.Errorf("errors %q, want one for line %d", errs, line)
		}
	}
	_, errs = collected(intake.Records("r", iotest.ErrReader(errors.New("bad disk")))) // and no more of it
	same(t, "errors", []string{"read reports from r, line 1: bad disk"}, errs)
}

func TestComplaints(t *testing.T) {
	t.Parallel()
	complaint := "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\n" +
		"Source-IP: 192.0.2.66\nOriginal-Rcpt-To: x@trap.example\n\n--b\nContent-Type: message/rfc822\n\nSubject: inner\n\nHi.\n--b--\n"
	got, errs := collected(intake.Complaints(intake.Walk([]string{"-"}, io.MultiReader(
		strings.NewReader("From x Sun Nov 22 10:00:00 2026\n"+complaint+"\nFrom y Sun Nov 22 10:00:00 2026\nSubject: none\n\nx\n")))))
	if len(got) != 1 || len(errs) != 1 {
		t.Fatalf("%d messages, errors %q", len(got), errs)
	}
	if m := got[0]; !m.Hearsay || m.Envelope.Client.String() != "192.0.2.66" || m.Envelope.Recipients[0] != "x@trap.example" || !strings.HasPrefix(string(m.Raw), "Subject: inner\n") {
		t.Errorf("enclosed %+v %q", m, m.Raw)
	}
}

// Whatever the lines are, each gives a message or an error, and the reader ends.
func FuzzRecords(f *testing.F) {
	f.Add("{\"message\":\"x\"}\n\n{\"message\":\"eA==\",\"base64\":true}\nx")
	f.Fuzz(func(t *testing.T, text string) {
		for item, err := range intake.Records("r", strings.NewReader(text)) {
			if err == nil && len(item.Raw) > intake.MaxRaw {
				t.Error("too long")
			}
		}
	})
}
