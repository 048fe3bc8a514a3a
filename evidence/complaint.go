package evidence

import (
	"errors"
	"net/netip"
)

// ErrNoComplaint says that a message is no complaint, or encloses nothing.
var ErrNoComplaint = errors.New("no complaint (RFC 5965) with the message that it is about")

// Complaint is a message that somebody received and complains of in the Abuse
// Reporting Format (RFC 5965). Who sent it is known by the word of the complainer
// alone, which is hearsay: level C.
type Complaint struct {
	Message   []byte     // as far as it is enclosed
	Source    netip.Addr // Source-IP, §3.2; invalid when it does not say
	Recipient string     // Original-Rcpt-To, §3.2
	Sender    string     // Original-Mail-From, §3.2
	Told      bool       // the sender is told; it may be the null sender
}

// ReadComplaint takes a complaint apart.
func ReadComplaint(raw []byte) (Complaint, error) {
	m, err := Parse(raw)
	if err != nil {
		return Complaint{}, err
	}
	var c Complaint
	about := false
	for i := range m.Parts {
		p := &m.Parts[i]
		switch {
		case p.Returned:
		case p.Type == "message/feedback-report" && !about:
			about = true
			c.read(p.decoded(maxText))
		case about && c.Message == nil && (p.embeds() || p.Type == "text/rfc822-headers"):
			c.Message = m.rawOf(i)
			if p.Type == "text/rfc822-headers" {
				c.Message = p.decoded(maxText)
			}
		}
	}
	if !about || len(c.Message) == 0 {
		return Complaint{}, ErrNoComplaint
	}
	return c, nil
}

// read reads the fields that tell how the message came.
func (c *Complaint) read(fields []byte) {
	h, _ := splitHeader([]byte(plainLines(string(fields))))
	if addr, err := netip.ParseAddr(h.Get("Source-IP")); err == nil {
		c.Source = addr.Unmap().WithZone("")
	}
	c.Recipient = plainAddress(h.Get("Original-Rcpt-To"))
	if c.Told = h.Has("Original-Mail-From"); c.Told {
		c.Sender = plainAddress(h.Get("Original-Mail-From"))
	}
}
