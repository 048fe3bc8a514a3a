package evidence

import (
	"net/netip"
	"slices"
	"strings"

	"backscatter/listing"
)

// envelopeFields hold the envelope recipient, as delivery agents write it.
var envelopeFields = []string{"X-Original-To", "Delivered-To", "Envelope-To", "X-Envelope-To", "X-Rcpt-To", "Original-Recipient", "X-Delivered-To"}

// maxEnvelope bounds the recipients of one message that are looked at.
const maxEnvelope = 100

// recipients returns the envelope recipients: those of the envelope, or else what the
// delivery agents of trusted hosts wrote into the message, or those hosts' Received
// lines, or, where neither is there, the To field. That one is of whoever sent the
// message, which accuses nobody but itself by it. Fields below the line that names the
// source can be of whoever wrote to that host, which then only forwarded them.
func recipients(r Report, m *Message, a attribution) []string {
	if len(r.Envelope.Recipients) > 0 {
		return r.Envelope.Recipients[:min(len(r.Envelope.Recipients), maxEnvelope)]
	}
	var found []string
	for _, f := range m.Header.above(a.line) {
		if slices.ContainsFunc(envelopeFields, func(name string) bool { return foldEqual(f.name, name) }) {
			found = append(found, plainAddress(strings.TrimPrefix(unfold(f.value), "rfc822;")))
		}
	}
	if a.rcpt != "" {
		found = append(found, plainAddress(a.rcpt))
	}
	if len(found) == 0 {
		for address := range strings.SplitSeq(m.Header.Get("To"), ",") {
			_, address = splitFrom(address)
			found = append(found, plainAddress(address))
		}
	}
	return found[:min(len(found), maxEnvelope)]
}

// above returns the fields above the Received line of that number, from 0; none
// where there is no such line.
func (h *Header) above(line int) []field {
	for i := range h.fields {
		if !foldEqual(h.fields[i].name, "Received") {
			continue
		}
		if line == 0 {
			return h.fields[:i]
		}
		line--
	}
	return nil
}

// passed tells whether the original went through one of the relays ([Refuted]): a
// host in its trail saw one connect, and says who it is itself. A line that its
// sender can have written leaves that [Unknown]. Loopback addresses are in
// everybody's trail and tell nothing.
func (o *Original) passed(relays []netip.Prefix) Outcome {
	sure := believed(o.Trail)
	for i, line := range o.Trail {
		if line.Addr.IsValid() && !line.Addr.IsLoopback() && line.By != "" && contains(relays, line.Addr) {
			if i < sure {
				return Refuted
			}
			return Unknown
		}
	}
	return Fails
}

// double reports whether the original itself has a null sender: it is a bounce
// already, which must not be answered (RFC 5321 §4.5.5), and whose alleged
// sender is nobody.
func (o *Original) double() bool {
	switch {
	case o.ReturnPath != "":
		return strings.TrimSpace(o.ReturnPath) == "<>"
	case o.Header.Len() == 0:
		return false
	}
	_, from := splitFrom(o.From)
	auto := strings.ToLower(o.Header.Get("Auto-Submitted"))
	return daemonLocal(from) && (strings.HasPrefix(auto, "auto-") ||
		strings.Contains(strings.ToLower(o.Header.Get("Content-Type")), "delivery-status"))
}

// traces collects what the listed party can search its logs for.
func traces(m *Message, a attribution, f Finding) listing.Traces {
	cut := func(s string) string { return printable(s, listing.MaxTrace) }
	t := listing.Traces{
		MessageID: cut(messageID(m.Header.Get("Message-ID"))),
		QueueID:   cut(a.queue),
		HELO:      cut(a.helo),
		PTR:       cut(a.ptr),
		Origin:    f.Original.Origin,
		Product:   f.Product,
		URLHosts:  urlHosts(m.Original.texts()),
	}
	if d := m.DSN; d != nil {
		t.ReportingMTA = cut(d.ReportingMTA)
		r := d.told()
		t.Status, t.Diagnostic = cut(r.Status), cut(r.Diagnostic)
		if queue := d.Extension("x-", "-queue-id"); queue != "" {
			t.QueueID = cut(queue)
		}
	}
	if _, domain, ok := splitAddress(m.failedRecipient()); ok {
		t.FailedDomain = cut(domain)
	}
	return t
}

const (
	maxHosts   = 8
	maxHostLen = 253 // RFC 1035 §3.1, as text
)

// urlHosts returns the hosts of the first URLs in the original's text.
func urlHosts(text string) []string {
	var hosts []string
	for len(hosts) < maxHosts {
		at := strings.Index(text, "://")
		if at < 0 {
			break
		}
		isWeb := strings.HasSuffix(text[:at], "http") || strings.HasSuffix(text[:at], "https")
		text = text[at+3:]
		end := 0
		for end < len(text) && end <= maxHostLen && hostByte(text[end]) {
			end++
		}
		host := strings.ToLower(strings.Trim(text[:end], ".-"))
		if !isWeb || !strings.Contains(host, ".") || end > maxHostLen {
			continue
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func hostByte(c byte) bool {
	return digit(c) || c == '.' || c == '-' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
