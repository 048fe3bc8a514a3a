package evidence

import (
	"bytes"
	"slices"
	"strings"
)

// DSN is a delivery report: the fields of RFC 3464, and of RFC 6533 where
// addresses are internationalised. All are claims of whoever sent it.
type DSN struct {
	EnvelopeID      string // Original-Envelope-Id, §2.2.1
	ReportingMTA    string // §2.2.2, without its type
	Gateway         string // DSN-Gateway, §2.2.3
	ReceivedFromMTA string // §2.2.4
	ArrivalDate     string // §2.2.5
	Extensions      []DSNField
	Part            bool           // it was a part of its own type, and not found in the text
	Recipients      []DSNRecipient // one for each group that names one, at most maxRecipients
}

// DSNRecipient is what the report says of one recipient.
type DSNRecipient struct {
	Original    string // Original-Recipient, §2.3.1, without its type
	Final       string // Final-Recipient, §2.3.2
	Action      string // §2.3.3, in lower case
	Status      string // §2.3.4
	RemoteMTA   string // §2.3.5
	Diagnostic  string // Diagnostic-Code, §2.3.6
	LastAttempt string // §2.3.7
	FinalLogID  string // §2.3.8
	RetryUntil  string // Will-Retry-Until, §2.3.9
	Extensions  []DSNField
}

// DSNField is a field that no RFC defines, such as Postfix's X-Postfix-Queue-ID.
type DSNField struct{ Name, Value string }

const (
	maxRecipients = 100
	maxExtensions = 20
)

// parseDSN reads the groups of fields of a delivery report (RFC 3464 §2.1),
// each ended by a blank line. It returns nil when no group names a recipient.
// Lines may be indented, a group may lack its blank line, and what is no field
// is passed over.
func parseDSN(body []byte) *DSN {
	d := &DSN{}
	var group DSNRecipient
	var name, value string
	flush := func() {
		d.set(&group, name, value)
		name, value = "", ""
	}
	body = []byte(plainLines(string(body)))
	for lines := 0; len(body) > 0 && lines < 4*maxHeaderLines; lines++ {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		line = bytes.TrimRight(line[:min(len(line), maxLine)], " \t\r")
		trimmed := bytes.TrimLeft(line, " \t")
		field := fieldName(trimmed)
		switch {
		case len(trimmed) == 0:
			flush()
			d.end(&group)
		case field != nil && dsnField(field):
			flush()
			name = strings.ToLower(string(field))
			value = strings.TrimSpace(string(trimmed[bytes.IndexByte(trimmed, ':')+1:]))
		case name != "" && len(value) < maxLine:
			value += " " + string(trimmed)
		}
	}
	flush()
	d.end(&group)
	if len(d.Recipients) == 0 {
		return nil
	}
	return d
}

// dsnField reports whether a word before a colon is a field of a report, and
// not a diagnostic that goes on ("host: 550 …").
func dsnField(name []byte) bool {
	return bytes.IndexByte(name, '-') > 0 || foldEqual(name, "action") || foldEqual(name, "status")
}

// tells reports whether the report says of a recipient what became of the message:
// RFC 3464 §2.3 wants both of action and status, and many lack one.
func (d *DSN) tells() bool {
	return slices.ContainsFunc(d.Recipients, func(r DSNRecipient) bool { return r.Action != "" || r.Status != "" })
}

// told returns the recipient that the report is about: the first for whom the
// message failed or waits, else the first.
func (d *DSN) told() *DSNRecipient {
	return &d.Recipients[max(0, slices.IndexFunc(d.Recipients, func(r DSNRecipient) bool { return !r.success() }))]
}

// delivered reports whether the message failed for nobody. Such a report was
// asked for (RFC 3461 §4.1), or is made where no further host makes one.
func (d *DSN) delivered() bool { return d.told().success() }

// success reports whether the message went on to this recipient.
func (r *DSNRecipient) success() bool {
	switch r.Action {
	case "delivered", "relayed", "expanded":
		return r.Status == "" || r.Status[0] == '2'
	}
	return false
}

// end closes the group of one recipient.
func (d *DSN) end(group *DSNRecipient) {
	if (group.Final != "" || group.Original != "") && len(d.Recipients) < maxRecipients {
		d.Recipients = append(d.Recipients, *group)
	}
	*group = DSNRecipient{}
}

func (d *DSN) set(group *DSNRecipient, name, value string) {
	switch name {
	case "":
	case "original-envelope-id":
		d.EnvelopeID = value
	case "reporting-mta":
		d.ReportingMTA = untyped(value)
	case "dsn-gateway":
		d.Gateway = untyped(value)
	case "received-from-mta":
		d.ReceivedFromMTA = untyped(value)
	case "arrival-date":
		d.ArrivalDate = value
	default:
		d.setRecipient(group, name, value)
	}
}

func (d *DSN) setRecipient(group *DSNRecipient, name, value string) {
	switch name {
	case "original-recipient":
		group.Original = untyped(value)
	case "final-recipient":
		if group.Final != "" { // the blank line between two groups is missing
			d.end(group)
		}
		group.Final = untyped(value)
	case "action":
		action, _, _ := strings.Cut(strings.ToLower(value), " ")
		group.Action = strings.TrimRight(action, ";.,")
	case "status":
		group.Status = value
	case "remote-mta":
		group.RemoteMTA = untyped(value)
	case "diagnostic-code":
		group.Diagnostic = untyped(value)
	case "last-attempt-date":
		group.LastAttempt = value
	case "final-log-id":
		group.FinalLogID = value
	case "will-retry-until":
		group.RetryUntil = value
	default:
		extensions := &group.Extensions
		if group.Final == "" && group.Original == "" {
			extensions = &d.Extensions
		}
		if len(*extensions) < maxExtensions {
			*extensions = append(*extensions, DSNField{Name: name, Value: value})
		}
	}
}

// untyped removes the type before a value ("rfc822; ", "dns; ", "smtp; ").
func untyped(value string) string {
	kind, rest, ok := strings.Cut(value, ";")
	if !ok || strings.ContainsAny(kind, " @<[") && strings.TrimSpace(kind) != kind {
		return value
	}
	return strings.TrimSpace(rest)
}

// Extension returns the value of a field that no RFC defines, whose name
// begins and ends as given: X-Postfix-Queue-ID and a vendor's X-…-Queue-ID.
func (d *DSN) Extension(prefix, suffix string) string {
	for _, f := range d.Extensions {
		if strings.HasPrefix(f.Name, prefix) && strings.HasSuffix(f.Name, suffix) {
			return f.Value
		}
	}
	return ""
}

// findDSN returns the delivery report of the message: a part of its type that
// is no part of the original, else fields written into the text.
func (m *Message) findDSN() *DSN {
	for i := range m.Parts {
		p := &m.Parts[i]
		if !p.status() || p.Returned {
			continue
		}
		if d := parseDSN(p.decoded(maxParse)); d != nil {
			d.Part = true
			return d
		}
	}
	text := lowerASCII(m.text)
	at := strings.Index(text, "final-recipient:")
	if at < 0 {
		return nil
	}
	for _, name := range []string{"original-recipient:", "action:", "reporting-mta:"} {
		if before := strings.Index(text, "\n"+name); before >= 0 && before < at {
			at = before
		}
	}
	d := parseDSN([]byte(m.text[at:]))
	if d == nil || !d.tells() {
		return nil
	}
	return d
}
