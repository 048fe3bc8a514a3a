package evidence_test

import (
	"strings"
	"testing"

	"backscatter/evidence"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestPhrases compares the automaton with a search for each phrase.
func TestPhrases(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[ab\x01é]{1,5}`)
	rapid.Check(t, func(rt *rapid.T) {
		phrases := rapid.SliceOfN(word, 1, 12).Draw(rt, "phrases")
		text := rapid.StringMatching(`[abc\x01é]{0,60}`).Draw(rt, "text")
		want := make([]bool, len(phrases))
		for i, p := range phrases {
			want[i] = strings.Contains(text, p)
		}
		if diff := cmp.Diff(want, evidence.Phrases(phrases, text)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// TestRules: each rule has a name of its own, and each phrase the form in which
// it can be found.
func TestRules(t *testing.T) {
	t.Parallel()
	names, zones := evidence.RuleNames()
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			t.Errorf("two rules are called %s", name)
		}
		seen[name] = true
	}
	for _, phrases := range zones {
		for _, p := range phrases {
			plain := strings.TrimPrefix(strings.TrimSuffix(p, "$"), "^")
			plain = strings.TrimPrefix(plain, "\n")
			normal := evidence.Normal("x" + plain)[1:]
			if plain == "" || normal != plain {
				t.Errorf("phrase %q can never be found: texts say %q", p, normal)
			}
		}
	}
	if n := evidence.States(); n > 60000 {
		t.Errorf("%d states: the automaton counts them in 16 bits", n)
	}
}

// TestDSN holds reports that bend the rules of RFC 3464.
func TestDSN(t *testing.T) {
	t.Parallel()
	type recipient = evidence.DSNRecipient
	tests := []struct {
		name, body string
		want       *evidence.DSN
	}{
		{
			"all fields", `Original-Envelope-Id: QQ314159
Reporting-MTA: dns; mx.example
DSN-Gateway: dns; gw.example
Received-From-MTA: dns; pool.example
Arrival-Date: Sat, 21 Nov 2026 09:59:50 +0000
X-Acme-Queue-ID: 77

Original-Recipient: rfc822;a@b.example
Final-Recipient: rfc822; c@d.example
Action: Failed (bounced)
Status: 5.1.1 (no such user)
Remote-MTA: dns; mx.d.example
Diagnostic-Code: smtp; 550 5.1.1
    <c@d.example>: User unknown
Last-Attempt-Date: Sat, 21 Nov 2026 09:59:51 +0000
Final-Log-ID: 99
Will-Retry-Until: Sun, 22 Nov 2026 09:59:51 +0000
X-Note: none
`,
			&evidence.DSN{
				EnvelopeID: "QQ314159", ReportingMTA: "mx.example", Gateway: "gw.example", ReceivedFromMTA: "pool.example",
				ArrivalDate: "Sat, 21 Nov 2026 09:59:50 +0000", Extensions: []evidence.DSNField{{Name: "x-acme-queue-id", Value: "77"}},
				Recipients: []recipient{{
					Original: "a@b.example", Final: "c@d.example", Action: "failed", Status: "5.1.1 (no such user)", RemoteMTA: "mx.d.example",
					Diagnostic: "550 5.1.1 <c@d.example>: User unknown", LastAttempt: "Sat, 21 Nov 2026 09:59:51 +0000", FinalLogID: "99",
					RetryUntil: "Sun, 22 Nov 2026 09:59:51 +0000", Extensions: []evidence.DSNField{{Name: "x-note", Value: "none"}},
				}},
			},
		},
		{"no blank lines", "Reporting-MTA: a.example\nFinal-Recipient: b@c.example\nAction: failed\nFinal-Recipient: d@c.example\nAction: delayed", &evidence.DSN{
			ReportingMTA: "a.example", Recipients: []recipient{{Final: "b@c.example", Action: "failed"}, {Final: "d@c.example", Action: "delayed"}},
		}},
		{"indented, with CR", "  Reporting-MTA: dns;a.example\r\r  Final-Recipient: RFC822;b@c.example\r  Action: failed\r", &evidence.DSN{
			ReportingMTA: "a.example", Recipients: []recipient{{Final: "b@c.example", Action: "failed"}},
		}},
		{"an unfolded diagnostic", "Final-Recipient: rfc822; b@c.example\nDiagnostic-Code: smtp; 550 said\nhost: no\n", &evidence.DSN{
			Recipients: []recipient{{Final: "b@c.example", Diagnostic: "550 said host: no"}},
		}},
		{"nobody", "Reporting-MTA: dns; a.example\n\nAction: failed\n", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, evidence.ParseDSN([]byte(tt.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
