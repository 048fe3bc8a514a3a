package intake

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
)

// XCLIENT is an extension of Postfix (see its XCLIENT_README): a relay that
// holds the session of a client says who that is, and speaks for it from then
// on.
//
//	XCLIENT ADDR=192.0.2.66 NAME=mail.sender.example HELO=mail
//
// Values are xtext (RFC 3461 §4); [UNAVAILABLE] and [TEMPUNAVAIL] say that one
// is not known.

// errXCLIENT says that XCLIENT was given something else.
var errXCLIENT = errors.New("XCLIENT: want NAME=value, with a valid ADDR")

// maxAttributes bounds what one command may give.
const maxAttributes = 16

// given is what one XCLIENT command says.
type given struct {
	addr       netip.Addr // invalid when the command does not say
	unknown    bool       // the relay does not know it
	name, helo string
}

func (c *conn) mayXCLIENT() bool {
	s := &c.owner.services
	return s.xclient && s.relay(clientOf(c.RemoteAddr()))
}

// xclient takes over what a relay says of its client. The reply is that of a
// new session.
func (c *conn) xclient(args string) error {
	g, err := parseXCLIENT(args)
	if err != nil {
		return c.reply("501 5.5.4 Bad XCLIENT attribute\r\n")
	}
	if g.addr.IsValid() || g.unknown {
		if refusal := c.owner.rename(c, g.addr); refusal != "" {
			c.owner.metrics.connections.WithLabelValues(refusal).Inc()
			c.last.Store(true)
			return c.reply(tooMany)
		}
	}
	if named := g.addr.IsValid() || g.unknown; named || !c.told {
		c.nobody = !g.addr.IsValid() || g.addr.IsLoopback() // the relay adds no line of its own
	}
	c.helo, c.ptr, c.told = g.helo, g.name, true
	c.forget()
	return c.reply("220 " + c.owner.services.hostname + " ESMTP\r\n")
}

func parseXCLIENT(args string) (g given, err error) {
	fields := strings.Fields(args)
	if len(fields) == 0 || len(fields) > maxAttributes {
		return g, errXCLIENT
	}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if value, err = fromXtext(value); !ok || err != nil {
			return g, errXCLIENT
		}
		if err := g.set(strings.ToUpper(name), value); err != nil {
			return g, err
		}
	}
	return g, nil
}

// set takes one attribute.
func (g *given) set(name, value string) (err error) {
	none := strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]")
	if none {
		value = ""
	}
	switch name {
	case "ADDR":
		g.unknown, g.addr = none, netip.Addr{}
		if !none {
			g.addr, err = parseClient(value)
		}
	case "NAME":
		g.name = clip(value, maxHELO)
	case "HELO":
		g.helo = clip(value, maxHELO)
	case "PORT", "PROTO", "LOGIN", "DESTADDR", "DESTPORT":
	default:
		err = errXCLIENT
	}
	return err
}

// parseClient reads an address, which has a prefix when it is of IPv6.
func parseClient(text string) (netip.Addr, error) {
	const v6 = "IPV6:"
	if len(text) > len(v6) && strings.EqualFold(text[:len(v6)], v6) {
		text = text[len(v6):]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, err
	}
	return addr.Unmap().WithZone(""), nil
}

// fromXtext decodes xtext: "+" and two hexadecimal digits are one octet. Only
// printable ones may come of it.
func fromXtext(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		octet := text[i]
		if octet == '+' {
			if i+3 > len(text) {
				return "", errXCLIENT
			}
			raw, err := hex.DecodeString(text[i+1 : i+3])
			if err != nil {
				return "", errXCLIENT
			}
			octet, i = raw[0], i+2
		}
		if octet < ' ' || octet == 0x7f {
			return "", errXCLIENT
		}
		b.WriteByte(octet)
	}
	return b.String(), nil
}
