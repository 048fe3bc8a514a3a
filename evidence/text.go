package evidence

import (
	"bytes"
	"io"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

const (
	maxText  = 32 << 10 // of the report's own words
	maxParse = 64 << 10 // of one part that is parsed: a delivery report, an encoded original
)

// decodeCharset returns body as UTF-8. A charset that is not known is taken
// for UTF-8; what is not valid is replaced.
func decodeCharset(name string, body []byte) string {
	name = strings.Trim(name, `"' `)
	switch name {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
	default:
		if ascii(body) && !strings.HasPrefix(name, "iso-2022") && !strings.HasPrefix(name, "utf-") && name != "hz-gb-2312" {
			return string(body)
		}
		r, err := charsetReader(name, bytes.NewReader(body))
		if err != nil {
			break
		}
		// A few bytes of ISO-2022 can decode to three times as many.
		text, err := io.ReadAll(io.LimitReader(r, 3*int64(len(body))+16))
		if err == nil || len(text) > 0 {
			body = text
		}
	}
	return strings.ToValidUTF8(string(body), "\uFFFD")
}

// lowerASCII lowers the case of ASCII alone, so that offsets stay the same.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b)
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// charsetReader is [charset.Reader] that also knows how Python's mailers call GB 2312.
func charsetReader(name string, r io.Reader) (io.Reader, error) {
	if strings.EqualFold(name, "eucgb2312_cn") {
		name = "gb2312"
	}
	return charset.Reader(name, r)
}

// decodeWords decodes the encoded words of a header field (RFC 2047).
func decodeWords(value string) string {
	value = value[:min(len(value), maxLine)]
	if !strings.Contains(value, "=?") {
		return strings.ToValidUTF8(value, "\uFFFD")
	}
	decoder := mime.WordDecoder{CharsetReader: charsetReader}
	decoded, err := decoder.DecodeHeader(value)
	if err != nil {
		decoded = value
	}
	return strings.ToValidUTF8(decoded[:min(len(decoded), 4*maxLine)], "\uFFFD")
}

// normal appends text to dst in the form in which phrases are looked for: lower
// case, each run of white space and control characters one space, typographic
// quotes plain.
func normal(dst []byte, text string) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			if c > ' ' && c != 0x7f {
				dst = append(dst, lower(c))
			} else if n := len(dst); n > 0 && dst[n-1] != ' ' {
				dst = append(dst, ' ')
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch r {
		case '\u2018', '\u2019', '\u02bc', '\u00b4':
			dst = append(dst, '\'')
		case '\u201c', '\u201d', '\u00ab', '\u00bb', '\u201e':
			dst = append(dst, '"')
		case '\u00a0', '\u3000', '\ufeff', '\u200b':
			if n := len(dst); n > 0 && dst[n-1] != ' ' {
				dst = append(dst, ' ')
			}
		default:
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
	}
	return dst
}

// stripHTML returns the words of an HTML text in lines, and how many links it
// has. It is no parser: a tag ends at the next ">", and the contents of style,
// script and title go.
func stripHTML(html string) (text string, links int) {
	var b strings.Builder
	b.Grow(len(html))
	for {
		open := strings.IndexByte(html, '<')
		if open < 0 {
			break
		}
		b.WriteString(html[:open])
		end := strings.IndexByte(html[open:], '>')
		if end < 0 {
			return unescape(b.String()), links
		}
		tag := html[open+1 : open+end]
		html = html[open+end+1:]
		name := tagName(tag)
		switch name {
		case "br", "p", "div", "tr", "li", "h1", "h2", "h3", "table", "pre", "hr", "/p", "/div", "/tr":
			b.WriteByte('\n')
			// The end of the line behind a break is no second one.
			html = strings.TrimPrefix(strings.TrimPrefix(html, "\r"), "\n")
		case "td", "th":
			b.WriteByte(' ')
		case "a":
			if strings.Contains(strings.ToLower(tag[:min(len(tag), 256)]), "http") {
				links++
			}
		case "style", "script", "title":
			html = html[endTag(html, name):]
		}
	}
	b.WriteString(html)
	return unescape(b.String()), links
}

// endTag returns where the end tag of that name begins, and the end of html
// when there is none.
func endTag(html, name string) int {
	for at := 0; ; {
		next := strings.Index(html[at:], "</")
		if next < 0 {
			return len(html)
		}
		at += next
		if tagName(html[at+1:min(len(html), at+16)]) == "/"+name {
			return at
		}
		at += 2
	}
}

func tagName(tag string) string {
	end := 0
	for end < len(tag) && end < 12 && tag[end] > ' ' && tag[end] != '>' {
		end++
	}
	return strings.TrimSuffix(strings.ToLower(tag[:end]), "/")
}

var entities = strings.NewReplacer("&nbsp;", " ", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#39;", "'", "&apos;", "'", "&#160;", " ", "&amp;", "&")

func unescape(text string) string {
	if strings.IndexByte(text, '&') < 0 {
		return text
	}
	return entities.Replace(text)
}

// printable cuts text to limit bytes of printable UTF-8 on one line.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text[:min(len(text), 4*limit)])
	text = strings.TrimSpace(text)
	for len(text) > limit {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
