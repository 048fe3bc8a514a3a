package intake_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

// What Record writes Records reads, whatever the message has.
func TestRecordIsRead(t *testing.T) {
	t.Parallel()
	for name, item := range map[string]intake.Item{
		"nothing": {Path: "r"},
		"all": {
			Path: "r", Raw: []byte("Subject: \xff\x00\r\n\r\n\"}\n{"), Truncated: true, Hearsay: true, Received: time.Date(2026, 11, 22, 10, 0, 0, 1, time.UTC),
			Envelope: evidence.Envelope{
				Client: netip.MustParseAddr("2001:db8::66"), HELO: "mail.sender.example", PTR: "mail.sender.example",
				MailFromKnown: true, Recipients: []string{"a@trap.example", "\"b c\"@trap.example"},
			},
		},
		"a sender": {Path: "r", Raw: []byte("x"), Envelope: evidence.Envelope{MailFromKnown: true, MailFrom: "a@sender.example"}},
	} {
		line, err := intake.Record(item)
		if err != nil {
			t.Fatal(err)
		}
		got, errs := collected(intake.Records("r", strings.NewReader(string(line)+"\n")))
		if len(got) != 1 || len(errs) != 0 {
			t.Fatalf("%s: %v %v", name, got, errs)
		}
		if len(got[0].Raw) == 0 {
			got[0].Raw = nil
		}
		same(t, name, item, got[0])
	}
}
