package synthetic

import (
	"encoding/base64"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// Sample is one message.
type Sample struct {
	Kind    string // bounce, notice, challenge, autoreply, or other
	Name    string // product or language
	Variant string // how its header and its encoding vary
	Raw     []byte
}

// text is what a product or a person sends.
type text struct {
	name, charset       string // charset: of old programs; UTF-8 where it is empty
	from, subject, body string
	fields              string // that the product writes
}

// header is how the rest of the header varies.
type header struct {
	name, fields string
	null         bool
}

var headers = map[string][]header{
	"bounce": {
		{"null sender", "", true},
		{"bare", "Return-Path: <postmaster@gateway.example>\n", false},
	},
	"notice": {
		{"null sender", "", true},
		{"bare", "Return-Path: <virus-admin@gateway.example>\n", false},
		{"marked", "Return-Path: <virus-admin@gateway.example>\nAuto-Submitted: auto-generated\nPrecedence: bulk\n", false},
	},
	"challenge": {
		{"bare", "Return-Path: <confirm@gateway.example>\n", false},
		{"null sender", "", true},
		{"marked", "Return-Path: <confirm@gateway.example>\nPrecedence: bulk\nIn-Reply-To: <1@pool.example>\n", false},
	},
	"autoreply": {
		{"null sender", "", true},
		{"bare", "Return-Path: <jane@office.example>\n", false},
		{"an answer", "Return-Path: <jane@office.example>\nIn-Reply-To: <1@pool.example>\nReferences: <1@pool.example>\n", false},
		{"marked", "Return-Path: <jane@office.example>\nAuto-Submitted: auto-replied\nPrecedence: bulk\n", false},
	},
	"other": {
		{"null sender", "", true},
		{"bare", "Return-Path: <news@shop.example>\n", false},
		{"marked", "Return-Path: <news@shop.example>\nAuto-Submitted: auto-generated\nPrecedence: bulk\n", false},
	},
}

// All returns every sample, in an order that does not change.
func All() []Sample {
	var out []Sample
	n := 0
	for _, k := range []struct {
		kind  string
		texts []text
	}{{"bounce", bounces}, {"notice", notices}, {"challenge", challenges}, {"autoreply", replies}, {"other", others}} {
		for _, t := range k.texts {
			for _, h := range headers[k.kind] {
				if strings.HasPrefix(t.name, "a person") && h.name != "bare" {
					continue // a person's program writes neither
				}
				out = append(out, Sample{Kind: k.kind, Name: t.name, Variant: h.name, Raw: t.message(h, n)})
				n++
			}
		}
	}
	return out
}

// message writes the text as the n-th message, so that encodings take turns.
func (t text) message(h header, n int) []byte {
	charset, body := "utf-8", strings.TrimSpace(t.body)+"\n"
	subject := t.subject
	if t.charset != "" && n%2 == 0 {
		if encoding, err := htmlindex.Get(t.charset); err == nil {
			encoded, bodyErr := encoding.NewEncoder().String(body)
			if bodyErr == nil {
				charset, body = t.charset, encoded
			}
		}
	}
	var b strings.Builder
	if h.null {
		b.WriteString("Return-Path: <>\n")
	}
	fmt.Fprintf(&b, "%sReceived: from gateway.example (gateway.example [192.0.2.66])\n\tby mx.trap.example (Postfix) with ESMTP id 4S%04d; Sat, 21 Nov 2026 10:00:00 +0000 (UTC)\n", h.fields, n)
	fmt.Fprintf(&b, "From: %s\nTo: info@trap.example\nSubject: %s\nDate: Sat, 21 Nov 2026 09:59:59 +0000\n", t.from, mime.QEncoding.Encode("utf-8", subject))
	fmt.Fprintf(&b, "Message-ID: <synthetic.%d@gateway.example>\nX-Synthetic: yes\n%sMIME-Version: 1.0\n", n, t.fields)
	fmt.Fprintf(&b, "Content-Type: text/plain; charset=%s\n", charset)
	switch n % 3 {
	case 0:
		b.WriteString("Content-Transfer-Encoding: 8bit\n\n" + body)
	case 1:
		b.WriteString("Content-Transfer-Encoding: base64\n\n" + lines(base64.StdEncoding.EncodeToString([]byte(body))))
	default:
		b.WriteString("Content-Transfer-Encoding: quoted-printable\n\n")
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(body)) // a strings.Builder takes everything
		_ = w.Close()
	}
	return []byte(b.String())
}

func lines(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s + "\n"
}
