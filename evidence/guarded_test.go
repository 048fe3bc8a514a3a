package evidence_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
)

var (
	batvKey = evidence.BATVKey{Number: '3', Secret: "secret"}
	idMark  = &evidence.MessageIDMark{Domains: []string{"real.example"}, Keys: []string{"new key", "old key"}}
	oldMark = &evidence.MessageIDMark{Domains: []string{"real.example"}, Keys: []string{"old key"}}
)

// guarded returns a judge for real.example, whose mail carries what marks says.
func guarded(tb testing.TB, marks evidence.Guarded) *evidence.Judge {
	tb.Helper()
	marks.Reporter, marks.Domains = "local", []string{"Real.Example."}
	return newJudge(tb, func(c *evidence.Config) { c.Guarded = []evidence.Guarded{marks} })
}

// TestGuarded holds the outcomes of each proof for an address that sends mail.
func TestGuarded(t *testing.T) {
	t.Parallel()
	tagged, err := evidence.SignBATV("jane@real.example", batvKey, now)
	if err != nil {
		t.Fatal(err)
	}
	mixed, err := evidence.SignBATV("Jane@Real.example", batvKey, now)
	if err != nil {
		t.Fatal(err)
	}
	batv := evidence.Guarded{BATV: []evidence.BATVKey{batvKey}}
	relays := evidence.Guarded{Relays: true}
	ids := evidence.Guarded{MessageID: idMark}
	domainOnly := evidence.Guarded{MessageID: &evidence.MessageIDMark{Domains: []string{"mail.real.example", "real.example"}}}
	everything := evidence.Guarded{BATV: batv.BATV, Relays: true, MessageID: idMark, DKIM: true}
	ours := "Received: from mx.real.example (mx.real.example [203.0.113.5]) by bounces.example (Postfix) id 2; Sat, 21 Nov 2026 09:59:50 +0000\n" + spam
	forgedTrail := spam + "Received: from mx.real.example ([203.0.113.5]) by x.example with ESMTP id 7; Sat, 21 Nov 2026 09:59:30 +0000\n"
	withID := func(id string) string { return strings.Replace(spam, "spam@pool.example", id, 1) }
	tests := []struct {
		name, rcpt, original string
		marks                evidence.Guarded
		proofs, signs        string
		reason               string
	}{
		{"batv: no tag", "jane@real.example", spam, batv, "batv", "", ""},
		{"batv: a tag of ours", tagged, spam, batv, "", "batv", evidence.ReasonGenuine},
		{"batv: a wrong tag", tagged[:9] + "000000=jane@real.example", "Return-Path: <jane@real.example>\n" + spam, batv, "batv", "", ""},
		{"batv: a wrong tag, and nothing of the sender", tagged[:9] + "000000=jane@real.example", spam, batv, "", "", evidence.ReasonNoProof},
		{"batv: a tag whose address lost its case", strings.ToLower(mixed), strings.Replace(spam, "info@trap.example", "Jane <Jane@Real.example>", 1), batv, "", "batv", evidence.ReasonGenuine},
		{"batv: forwarded", "SRS0=HHHH=TT=other.example=joe@real.example", spam, batv, "", "", evidence.ReasonNoProof},
		{"batv: of another domain", "jane@other.example", spam, batv, "", "", evidence.ReasonNoProof},
		{"relays: not passed", "jane@real.example", spam, relays, "relays", "", ""},
		{"relays: passed", "jane@real.example", ours, relays, "", "relays", evidence.ReasonGenuine},
		{"relays: passed, by the word of the spam itself", "jane@real.example", forgedTrail, relays, "", "", evidence.ReasonNoProof},
		{"relays: passed by the word of the spam, which another proof beats", "jane@real.example", forgedTrail, everything, "batv,message-id", "", ""},
		{"relays: a trail of private addresses", "jane@real.example", strings.ReplaceAll(strings.ReplaceAll(spam, "198.51.100.9", "10.0.0.9"), "pool.example", "localhost"), relays, "", "", evidence.ReasonNoProof},
		{"relays: a trail of shared addresses", "jane@real.example", strings.ReplaceAll(spam, "198.51.100.9", "100.64.0.9"), relays, "", "", evidence.ReasonNoProof},
		{"relays: a trail with a hole", "jane@real.example", "Received: from x by bounces.example with SMTP id 2\n" + spam, relays, "", "", evidence.ReasonNoProof},
		{"relays: headers that are cut off", "jane@real.example", strings.Replace(spam, "Message-ID", "X-Cut", 1), relays, "", "", evidence.ReasonNoProof},
		{"relays: no trail", "jane@real.example", "From: info@trap.example\nMessage-ID: <1@x.example>\nDate: Sat, 21 Nov 2026 09:59:40 +0000\nSubject: x\n", relays, "", "", evidence.ReasonNoProof},
		{"message-id: of somebody else", "jane@real.example", spam, ids, "message-id", "", ""},
		{"message-id: ours", "jane@real.example", withID(idMark.Sign("E1tDxyz", "real.example")), ids, "", "message-id", evidence.ReasonGenuine},
		{"message-id: ours, by the old key", "jane@real.example", withID(oldMark.Sign("E1tDxyz", "real.example")), ids, "", "message-id", evidence.ReasonGenuine},
		{"message-id: forged with our domain", "jane@real.example", withID("E1tDxyz.0123456789@real.example"), ids, "message-id", "", ""},
		{"message-id: without a tag", "jane@real.example", withID("E1tDxyz@real.example"), ids, "message-id", "", ""},
		{"message-id: cut off", "jane@real.example", strings.Replace(spam, "Message-ID", "X-Cut", 1), ids, "", "", evidence.ReasonNoProof},
		{"message-id: by the domain, of somebody else", "jane@real.example", spam, domainOnly, "message-id", "", ""},
		{"message-id: by the domain, which shows nothing", "jane@real.example", withID("x@REAL.example"), domainOnly, "", "", evidence.ReasonNoProof},
		{"message-id: of whoever wrote what was forwarded", "SRS0=HHHH=TT=other.example=joe@real.example", spam, ids, "", "", evidence.ReasonNoProof},
		{"message-id: of whoever wrote to the list", "list-bounces+joe=other.example@real.example", spam, ids, "", "", evidence.ReasonNoProof},
		{"message-id: of somebody else, to an address with a tag", tagged, spam, ids, "message-id", "", ""},
		{"message-id: ours, forwarded", "SRS0=HHHH=TT=other.example=joe@real.example", withID(idMark.Sign("E1tDxyz", "real.example")), ids, "", "message-id", evidence.ReasonGenuine},
		{"dkim: only headers came back", "jane@real.example", spam, evidence.Guarded{DKIM: true}, "", "", evidence.ReasonNoProof},
		{"all that can be told", "jane@real.example", spam, everything, "batv,relays,message-id", "", ""},
		{"one sign beats the proofs", tagged, spam, everything, "relays,message-id", "batv", evidence.ReasonGenuine},
		{"srs: forwarded by us", srsOf("a secret"), spam, evidence.Guarded{BATV: batv.BATV, Relays: true, SRS: []string{"other", "a secret"}}, "relays", "srs", evidence.ReasonGenuine},
		{"srs: forwarded by Exim 4.96", "SRS0=9fdd=jl=other.example=joe@real.example", spam, evidence.Guarded{SRS: []string{"secret"}}, "", "srs", evidence.ReasonGenuine},
		{"srs: forged", srsOf("no secret"), spam, evidence.Guarded{Relays: true, SRS: []string{"other", "a secret"}}, "relays", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := guarded(t, tt.marks).Judge(evidence.Report{
				Raw: bounceWith(direct, tt.original), Reporter: "local", Received: now,
				Envelope: evidence.Envelope{Recipients: []string{tt.rcpt}},
			}, now)
			got := []string{strings.Join(f.Proofs, ","), strings.Join(f.Signs, ","), f.Reason}
			if diff := cmp.Diff([]string{tt.proofs, tt.signs, tt.reason}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (f.Verdict == evidence.Proven) != (tt.reason == "") {
				t.Errorf("verdict %s with reason %q", f.Verdict, f.Reason)
			}
		})
	}
}

// TestAnswered: an automatic reply returns nothing and refers to a conversation, of
// which one message of ours shows that it answers us.
func TestAnswered(t *testing.T) {
	t.Parallel()
	ours, forged := idMark.Sign("E1tDxyz", "real.example"), "E1tDxyz.0123456789@real.example"
	tests := []struct {
		name, fields  string
		sent          sentMail
		proofs, signs string
	}{
		{"nothing", "", nil, "", ""},
		{"somebody else's", "In-Reply-To: <1@other.example>\nReferences: <2@other.example> <1@other.example>\n", nil, "message-id", ""},
		{"ours", "In-Reply-To: <" + ours + ">\n", nil, "", "message-id"},
		{"ours in References", "In-Reply-To: <1@other.example>\nReferences: <1@other.example>\n <" + ours + "> <2@other.example>\n", nil, "", "message-id"},
		{"ours, and not the last", "References: <" + ours + "><2@other.example>\n", nil, "", "message-id"},
		{"one of our domain without a tag, and another", "In-Reply-To: <1@other.example>\nReferences: <" + forged + ">\n", nil, "", ""},
		{"one in the log", "In-Reply-To: <1@other.example>\nReferences: <2@other.example>\n", sentMail{"2@other.example"}, "message-id", "sent-message-id"},
	}
	for _, tt := range tests {
		marks := evidence.Guarded{MessageID: idMark}
		if tt.sent != nil {
			marks.Sent = tt.sent
		}
		f := guarded(t, marks).Judge(evidence.Report{
			Reporter: "local", Received: now, Envelope: evidence.Envelope{Recipients: []string{"jane@real.example"}},
			Raw: []byte(direct + tt.fields + "From: joe@other.example\nTo: jane@real.example\nAuto-Submitted: auto-replied (vacation)\nSubject: out of office\n\nI am on vacation.\n"),
		}, now)
		if got := [2]string{strings.Join(f.Proofs, ","), strings.Join(f.Signs, ",")}; got != [2]string{tt.proofs, tt.signs} {
			t.Errorf("%s: proofs and signs %q, %s", tt.name, got, f.Class)
		}
	}
}

// srsOf is what postsrsd makes of joe@other.example with the secrets that the
// tests use.
func srsOf(secret string) string {
	return evidence.SRS(secret, "6A", "other.example", "joe") + "@real.example"
}

// TestMessageIDWithExim holds a tag that Exim 4.96 made by the expansion in the
// documentation of MessageIDMark.
func TestMessageIDWithExim(t *testing.T) {
	t.Parallel()
	if got, want := idMark.Sign("E1tDxyz", "real.example"), "E1tDxyz.50c925bf0c@real.example"; got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

// TestTrapBeatsSigns: an address that never sends proves more than any mark,
// since the mark was copied.
func TestTrapBeatsSigns(t *testing.T) {
	t.Parallel()
	j := newJudge(t, func(c *evidence.Config) {
		c.Guarded = []evidence.Guarded{{Reporter: "local", Domains: []string{"trap.example"}, MessageID: idMark}}
	})
	f := j.Judge(evidence.Report{
		Raw: bounceWith(direct, strings.Replace(spam, "spam@pool.example", idMark.Sign("E1", "real.example"), 1)), Reporter: "local", Received: now,
	}, now)
	if f.Verdict != evidence.Proven || !slices.Equal(f.Proofs, []string{"trap"}) || !slices.Equal(f.Signs, []string{"message-id"}) {
		t.Errorf("verdict %s (%s), proofs %v, signs %v", f.Verdict, f.Reason, f.Proofs, f.Signs)
	}
}

// TestGuardedObservation: a proof without a trap is kept without a trap's domain.
func TestGuardedObservation(t *testing.T) {
	t.Parallel()
	f := guarded(t, evidence.Guarded{BATV: []evidence.BATVKey{batvKey}}).Judge(evidence.Report{
		Raw: bounceWith(direct, spam), Reporter: "local", Received: now,
		Envelope: evidence.Envelope{Recipients: []string{"x@nobody.example", "jane@real.example"}},
	}, now)
	o, ok := f.Observation()
	if !ok || o.TrapDomain != "real.example" || o.Proofs != listing.ProofSetOf(listing.ProofBATV) || o.SPFFailed || f.RecipientTrap {
		t.Errorf("kept %t: %+v", ok, o)
	}
}

// TestQuestions: nothing is asked where the answer would change nothing.
func TestQuestions(t *testing.T) {
	t.Parallel()
	j := guarded(t, evidence.Guarded{DKIM: true})
	for name, tt := range map[string]struct {
		raw  []byte
		rcpt string
		asks bool
	}{
		"a bounce":          {bounceWith(direct, spam), "jane@real.example", true},
		"of a trap":         {bounceWith(direct, spam), "info@trap.example", true},
		"of somebody":       {bounceWith(direct, spam), "joe@other.example", false},
		"from nobody":       {bounceWith("", spam), "jane@real.example", false},
		"without an origin": {bounceWith(direct, "From: a@b.example\nMessage-ID: <1@b.example>\n"), "jane@real.example", false},
		"other mail":        {[]byte(direct + "From: a@b.example\nSubject: hello\n\nHow are you?\n"), "jane@real.example", false},
	} {
		q := j.Open(evidence.Report{Raw: tt.raw, Reporter: "local", Received: now, Envelope: evidence.Envelope{Recipients: []string{tt.rcpt}}}, now).Questions()
		if (q.SPF != nil) != tt.asks || q.DKIM != nil {
			t.Errorf("%s: %+v", name, q)
		}
	}
}

func TestGuardedConfig(t *testing.T) {
	t.Parallel()
	_, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local"}},
		Guarded: []evidence.Guarded{
			{Reporter: "stranger", Domains: []string{"a.example"}},
			{Reporter: "local"},
			{Reporter: "local", Domains: []string{"b.example", "B.example."}},
			{Reporter: "local", Domains: []string{"c.example"}, BATV: []evidence.BATVKey{batvKey, batvKey, {Number: 'x'}}, MessageID: &evidence.MessageIDMark{}},
		},
	})
	if !errors.Is(err, evidence.ErrConfig) {
		t.Fatal(err)
	}
	for _, words := range []string{"no reporter has that name", "there are none", "b.example of \"local\" is there twice", "'3' is there twice", "'x' wants a number", "at least one domain"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
	j := guarded(t, evidence.Guarded{})
	if !j.Guards("local", "JANE@real.example") || j.Guards("other", "jane@real.example") || j.Guards("local", "jane@other.example") {
		t.Error("guards the wrong addresses")
	}
}
