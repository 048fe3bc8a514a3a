package lookup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/lookup"

	"github.com/emersion/go-msgauth/dkim"
)

// names is a resolver that knows a few TXT records and counts what it is asked.
type names struct {
	txt   map[string]string
	err   error
	wait  chan struct{} // closed: answers
	asked atomic.Int64
	now   atomic.Int64
	most  atomic.Int64
}

func (n *names) LookupTXT(ctx context.Context, name string) ([]string, error) {
	n.asked.Add(1)
	if at := n.now.Add(1); at > n.most.Load() {
		n.most.Store(at)
	}
	defer n.now.Add(-1)
	if n.wait != nil {
		select {
		case <-n.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if n.err != nil {
		return nil, n.err
	}
	if txt, ok := n.txt[strings.TrimSuffix(name, ".")]; ok {
		return []string{txt}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (n *names) LookupMX(context.Context, string) ([]*net.MX, error)        { return nil, n.err }
func (n *names) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) { return nil, n.err }
func (n *names) LookupAddr(context.Context, string) ([]string, error)       { return nil, n.err }

func key() (ed25519.PrivateKey, string) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public, _ := private.Public().(ed25519.PublicKey)
	return private, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
}

const original = "Received: from pool.example (pool.example [198.51.100.9]) by bounces.example (Postfix) id 2; Sat, 21 Nov 2026 09:59:50 +0000\r\n" +
	"From: Jane <jane@real.example>\r\nTo: nobody@bounces.example\r\nSubject: watches\r\nDate: Sat, 21 Nov 2026 09:59:40 +0000\r\nMessage-ID: <1@real.example>\r\n\r\nBuy watches.\r\n"

func signed(t *testing.T, domain string) string {
	t.Helper()
	private, _ := key()
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(original), &dkim.SignOptions{
		Domain: domain, Selector: "s", Signer: private, HeaderKeys: []string{"From", "Subject", "Date", "Message-ID"},
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// bounce returns the original in a bounce from 192.0.2.66, in lines as they
// come through a mailbox file.
func bounce(original string) []byte {
	text := "Received: from bounces.example (bounces.example [192.0.2.66]) by mx.real.example (Postfix) with ESMTP id 1; Sat, 21 Nov 2026 10:00:00 +0000\n" +
		"From: MAILER-DAEMON@bounces.example\nTo: jane@real.example\nSubject: Undelivered\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n" +
		"Reporting-MTA: dns; bounces.example\n\nFinal-Recipient: rfc822; nobody@bounces.example\nAction: failed\nStatus: 5.1.1\n\n" +
		"--b\nContent-Type: message/rfc822\n\n" + original + "\n--b--\n"
	return []byte(strings.ReplaceAll(text, "\r\n", "\n"))
}

func newJudge(t *testing.T) *evidence.Judge {
	t.Helper()
	j, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local"}},
		Guarded:   []evidence.Guarded{{Reporter: "local", Domains: []string{"real.example"}, DKIM: true}},
		Listable:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

var now = time.Date(2026, 11, 21, 10, 0, 30, 0, time.UTC)

// TestDKIM holds the outcomes of the proof dkim.
func TestDKIM(t *testing.T) {
	t.Parallel()
	_, record := key()
	whole := signed(t, "real.example")
	tests := []struct {
		name, original string
		txt            map[string]string
		err            error
		reason         string
		proofs         string
	}{
		{name: "no signature", original: original, proofs: "dkim"},
		{name: "of another domain", original: signed(t, "other.example"), proofs: "dkim"},
		{name: "valid", original: whole, reason: evidence.ReasonGenuine},
		{name: "valid, of a name below", original: signed(t, "mail.real.example"), reason: evidence.ReasonGenuine},
		{name: "copied to another message", original: strings.Replace(whole, "Subject: watches", "Subject: pills", 1), reason: evidence.ReasonNoProof},
		{name: "a subject tagged by a filter, which bounced it", original: strings.Replace(whole, "Subject: watches", "Subject: [SPAM] watches", 1), reason: evidence.ReasonNoProof},
		{name: "a body altered on its way", original: strings.Replace(whole, "Buy", "B=75y", 1), reason: evidence.ReasonNoProof},
		{name: "no key", original: whole, txt: map[string]string{}, reason: evidence.ReasonNoProof},
		{name: "no answer", original: whole, err: errors.New("down"), reason: evidence.ReasonNoProof},
		{name: "headers that are not whole", original: strings.Replace(original, "Message-ID", "X-Other", 1), reason: evidence.ReasonNoProof},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			txt := tt.txt
			if txt == nil {
				txt = map[string]string{"s._domainkey.real.example": record, "s._domainkey.mail.real.example": record, "s._domainkey.other.example": record}
			}
			j := lookup.Judge{Judgement: newJudge(t), Lookup: lookup.New(lookup.Options{Resolver: &names{txt: txt, err: tt.err}})}
			f := j.Judge(evidence.Report{Raw: bounce(tt.original), Reporter: "local", Received: now}, now)
			if got := strings.Join(f.Proofs, ","); got != tt.proofs || f.Reason != tt.reason {
				t.Errorf("proofs %q reason %q, want %q %q", got, f.Reason, tt.proofs, tt.reason)
			}
			// Without a look-up only what needs none is known.
			f = lookup.Judge{Judgement: newJudge(t)}.Judge(evidence.Report{Raw: bounce(tt.original), Reporter: "local", Received: now}, now)
			if got := strings.Join(f.Proofs, ","); got != "" && !strings.Contains(tt.name, "no signature") && !strings.Contains(tt.name, "another domain") {
				t.Errorf("without look-ups: proofs %q", got)
			}
		})
	}
}

// TestSPF holds what makes an observation weigh more.
func TestSPF(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]bool{
		"v=spf1 -all": true, "v=spf1 ip4:203.0.113.0/24 -all": true,
		"v=spf1 ip4:198.51.100.0/24 -all": false, "v=spf1 ~all": false, "v=spf1 ?all": false, "": false,
		"v=spf1 include:gone.example -all": false, "v=spf1 nonsense -all": false,
	} {
		j := lookup.Judge{Judgement: newJudge(t), Lookup: lookup.New(lookup.Options{Resolver: &names{txt: map[string]string{"real.example": record}}})}
		f := j.Judge(evidence.Report{Raw: bounce(original), Reporter: "local", Received: now}, now)
		o, ok := f.Observation()
		if !ok || o.SPFFailed != want {
			t.Errorf("%q: kept %t, failed %t, want %t", record, ok, o.SPFFailed, want)
		}
	}
}

// TestBounds: a resolver that says nothing costs no more than the time, few
// queries are on their way at once, and what was answered is not asked again.
func TestBounds(t *testing.T) {
	t.Parallel()
	question := func(i int) evidence.Questions {
		return evidence.Questions{SPF: &evidence.SPFQuestion{Origin: netip.MustParseAddr("198.51.100.9"), Sender: fmt.Sprintf("postmaster@d%d.example", i)}}
	}
	silent := &names{wait: make(chan struct{})}
	l := lookup.New(lookup.Options{Resolver: silent, Timeout: 50 * time.Millisecond})
	done := make(chan evidence.Known)
	for i := range 100 {
		go func() { done <- l.Answer(context.Background(), question(i)) }()
	}
	for range 100 {
		if known := <-done; known.SPFFails {
			t.Error("silence fails")
		}
	}
	if most := silent.most.Load(); most > 32 {
		t.Errorf("%d queries at once", most)
	}

	quick := &names{txt: map[string]string{"d1.example": "v=spf1 -all"}}
	l = lookup.New(lookup.Options{Resolver: quick})
	for range 10 {
		if !l.Answer(context.Background(), question(1)).SPFFails {
			t.Error("SPF does not fail")
		}
	}
	if n := quick.asked.Load(); n != 1 {
		t.Errorf("%d queries for one name", n)
	}
	for i := range 20000 {
		l.Answer(context.Background(), question(i))
	}
	if n := l.Kept(); n > 8192 {
		t.Errorf("%d answers kept", n)
	}
	if (l.Answer(context.Background(), evidence.Questions{}) != evidence.Known{}) {
		t.Error("an answer without a question")
	}
}
