package evidence

import (
	"bytes"
	"strings"
)

// describe fills in what the header says about the body. A Content-Type that
// is absent means text/plain, or message/rfc822 in a digest (RFC 2046 §5.1.5);
// for the message itself it is left empty, so that the walker can look.
func (p *Part) describe(text bool) {
	contentType := p.Header.Get("Content-Type")
	p.encoding = strings.ToLower(strings.TrimSpace(p.Header.Get("Content-Transfer-Encoding")))
	media, rest, _ := strings.Cut(contentType, ";")
	p.Type = strings.ToLower(strings.TrimSpace(media))
	if !strings.Contains(p.Type, "/") && p.Type != "" {
		p.Type = "text/plain" // RFC 2045 §5.2: what cannot be understood is plain text
	}
	switch {
	case p.Type == "" && !text:
		p.Type = "message/rfc822"
	case p.Type == "" && p.Parent >= 0:
		p.Type = "text/plain"
	}
	for rest != "" {
		var name, value string
		name, value, rest = parameter(rest)
		p.parameter(name, value)
	}
	if len(p.boundary) > maxBoundary {
		p.boundary = ""
	}
}

func (p *Part) parameter(name, value string) {
	// RFC 2231 §3 and §4: name*0, name*1*, name* carry pieces of one value.
	base, piece, continued := strings.Cut(name, "*")
	if continued && strings.HasSuffix(name, "*") && (piece == "" || strings.HasPrefix(piece, "0")) {
		if quoted := strings.SplitN(value, "'", 3); len(quoted) == 3 {
			value = quoted[2]
		}
	}
	switch base {
	case "boundary":
		if continued || p.boundary == "" {
			p.boundary += strings.TrimRight(value, " \t")
		}
	case "charset":
		p.Charset = strings.ToLower(value)
	case "report-type":
		p.Report = strings.ToLower(value)
	}
}

// parameter reads one "name=value;" of a Content-Type (RFC 2045 §5.1) and
// returns what follows it. Values with unquoted specials are taken up to the
// next semicolon.
func parameter(s string) (name, value, rest string) {
	eq := strings.IndexAny(s, "=;")
	switch {
	case eq < 0:
		return "", "", ""
	case s[eq] == ';':
		return "", "", s[eq+1:]
	}
	name = strings.ToLower(strings.TrimSpace(s[:eq]))
	s = strings.TrimLeft(s[eq+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		return name, strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			_, rest, _ = strings.Cut(s[i+1:], ";")
			return name, b.String(), rest
		default:
			b.WriteByte(s[i])
		}
	}
	return name, b.String(), ""
}

func (p *Part) multipart() bool { return strings.HasPrefix(p.Type, "multipart/") }

// embeds reports whether the body is a message, or the header of one: an
// original that came back (RFC 6522 §3, RFC 6533 §4).
func (p *Part) embeds() bool {
	switch p.Type {
	case "message/rfc822", "message/global", "message/partial", "message/news":
		return true
	}
	return p.headersOnly()
}

func (p *Part) headersOnly() bool {
	switch p.Type {
	case "text/rfc822-headers", "text/rfc822-header", "message/rfc822-headers",
		"message/global-headers", "text/x-rfc822-headers", "message/rfc822-header":
		return true
	}
	return false
}

// status reports whether the body is a delivery report (RFC 3464 §2.1, RFC
// 6533 §3).
func (p *Part) status() bool {
	switch p.Type {
	case "message/delivery-status", "message/global-delivery-status", "message/xdelivery-status",
		"text/delivery-status", "message/delivery-report":
		return true
	}
	return false
}

// encoded reports whether the body must be decoded before it can be read.
func (p *Part) encoded() bool {
	return strings.HasPrefix(p.encoding, "base64") || strings.HasPrefix(p.encoding, "quoted-printable")
}

// textual reports whether the body is text for people.
func (p *Part) textual() bool {
	return p.Type == "" || p.Type == "text/plain" || p.Type == "text/html" || p.Type == "text/enriched" ||
		p.Type == "message/delivery-notification" || p.Type == "text"
}

// decoded returns at most limit bytes of the body without its transfer
// encoding. What is no proper encoding is passed over.
func (p *Part) decoded(limit int) []byte {
	switch {
	case strings.HasPrefix(p.encoding, "base64"):
		return decodeBase64(p.body, limit)
	case strings.HasPrefix(p.encoding, "quoted-printable"):
		return decodeQuoted(p.body, limit)
	}
	return p.body[:min(len(p.body), limit)]
}

// decodeBase64 decodes RFC 2045 §6.8, passing over all that is not in the
// alphabet, and starting afresh after padding.
func decodeBase64(body []byte, limit int) []byte {
	body = body[:min(len(body), 2*limit)]
	out := make([]byte, 0, min(limit, len(body)*3/4+3))
	var bits uint32
	n := 0
	for _, c := range body {
		v := base64Value(c)
		if v < 0 {
			if c == '=' {
				bits, n = 0, 0
			}
			continue
		}
		bits = bits<<6 | uint32(v)
		n += 6
		if n >= 8 {
			n -= 8
			if len(out) == limit {
				break
			}
			out = append(out, byte(bits>>n))
		}
	}
	return out
}

func base64Value(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}

// decodeQuoted decodes RFC 2045 §6.7; a "=" that begins no escape stands for
// itself.
func decodeQuoted(body []byte, limit int) []byte {
	body = body[:min(len(body), 3*limit)]
	out := make([]byte, 0, min(limit, len(body)))
	for i := 0; i < len(body) && len(out) < limit; i++ {
		if body[i] != '=' {
			out = append(out, body[i])
			continue
		}
		end := i + 1
		for end < len(body) && (body[end] == ' ' || body[end] == '\t') && end-i < 8 {
			end++
		}
		rest := body[end:]
		switch {
		case bytes.HasPrefix(rest, []byte("\r\n")):
			i = end + 1
		case len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r'):
			i = end
		case i+2 < len(body) && hexValue(body[i+1]) >= 0 && hexValue(body[i+2]) >= 0:
			out = append(out, byte(hexValue(body[i+1])<<4|hexValue(body[i+2])))
			i += 2
		default:
			out = append(out, '=')
		}
	}
	return out
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
