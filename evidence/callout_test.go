package evidence_test

import (
	"net/netip"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

func TestCallout(t *testing.T) {
	t.Parallel()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example"}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local", Organisation: "us", Relays: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}},
		Traps:     traps, Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.99/32")},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	judge := func(client, rcpt string, at time.Time) evidence.Finding {
		return j.Judge(evidence.Report{
			Callout: true, Held: true, Received: at, Reporter: "local", Sensor: "smtp",
			Envelope: evidence.Envelope{Client: netip.MustParseAddr(client), HELO: "mail", MailFromKnown: true, Recipients: []string{rcpt}},
		}, at)
	}
	for _, test := range []struct {
		client, rcpt string
		verdict      evidence.Verdict
		reason       string
	}{
		{"192.0.2.66", "a@trap.example", evidence.Proven, ""},
		{"192.0.2.99", "a@trap.example", evidence.Unproven, evidence.ReasonExempt},
		{"192.0.2.66", "a@real.example", evidence.Unproven, evidence.ReasonNoProof},
		{"203.0.113.5", "a@trap.example", evidence.Unproven, evidence.ReasonUnattributed}, // a relay asks for others
		{"198.51.100.1", "a@trap.example", evidence.Unproven, evidence.ReasonUnattributed},
	} {
		f := judge(test.client, test.rcpt, now)
		if f.Class != listing.ClassCallout || f.Verdict != test.verdict || f.Reason != test.reason {
			t.Errorf("%s to %s: %s %s %q, want %s %q", test.client, test.rcpt, f.Class, f.Verdict, f.Reason, test.verdict, test.reason)
		}
	}
	id := func(rcpt string, at time.Time) listing.ID {
		o, ok := judge("192.0.2.66", rcpt, at).Observation()
		if !ok || o.Class != listing.ClassCallout || o.Level != listing.LevelA || o.TrapDomain != "trap.example" || o.Traces.HELO != "mail" {
			t.Errorf("observation %v %+v", ok, o)
		}
		return o.ID
	}
	first := id("a@trap.example", now)
	if id("A@trap.example", now.Add(time.Hour)) != first {
		t.Error("the same question an hour later is another one")
	}
	if id("b@trap.example", now) == first || id("a@trap.example", now.Add(24*time.Hour)) == first {
		t.Error("about another address, or on another day, it is the same question")
	}
}
