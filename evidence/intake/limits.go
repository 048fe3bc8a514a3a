package intake

import (
	"cmp"
	"time"
)

// Limits bounds what SMTP clients can make the trap spend. A zero field means
// the default.
type Limits struct {
	Connections int // open connections, of all clients together
	PerClient   int // open connections of one IPv4 address or one IPv6 /64
	Messages    int // transactions in one connection
	Recipients  int // recipients of one message
	Refusals    int // refused senders and recipients in one connection
	Replies     int // reply lines written in one connection, whatever the commands were
	Rate        int // connections of one client within a minute; a registered relay's have no such limit

	Line   int   // octets in one line of commands; lines of messages are folded at half of it
	Size   int64 // octets of one message that are read; the EHLO reply tells it (RFC 1870)
	Keep   int   // octets of one message that are kept and judged
	Memory int64 // octets of messages held at one time, of all connections together

	Idle    time.Duration // waiting for a command
	Data    time.Duration // receiving one message
	Write   time.Duration // waiting for the client to take a reply
	Session time.Duration // one connection
	Submit  time.Duration // waiting for the sink; the client waits 10 minutes (RFC 5321 §4.5.3.2.6)
	Drain   time.Duration // letting messages end when the trap stops
	Tarpit  time.Duration // before each refusal; none by default
}

// DefaultLimits returns the limits that are in force unless others are set.
func DefaultLimits() Limits {
	return Limits{
		Connections: 256,
		PerClient:   16,
		Messages:    100,
		Recipients:  maxRecipients, // RFC 5321 §4.5.3.1.8: at least 100
		Refusals:    20,
		Replies:     4000,
		Rate:        600,

		Line:   64 << 10,
		Size:   10 << 20,
		Keep:   1 << 20,
		Memory: 16 << 20,

		Idle:    5 * time.Minute, // RFC 5321 §4.5.3.2.7
		Data:    10 * time.Minute,
		Write:   time.Minute,
		Session: time.Hour,
		Submit:  2 * time.Minute,
		Drain:   10 * time.Second,
	}
}

// orDefaults returns the limits with the default for each that is not set.
func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	return Limits{
		Connections: cmp.Or(l.Connections, d.Connections),
		PerClient:   cmp.Or(l.PerClient, d.PerClient),
		Messages:    cmp.Or(l.Messages, d.Messages),
		Recipients:  cmp.Or(l.Recipients, d.Recipients),
		Refusals:    cmp.Or(l.Refusals, d.Refusals),
		Replies:     cmp.Or(l.Replies, d.Replies),
		Rate:        cmp.Or(l.Rate, d.Rate),
		Line:        cmp.Or(l.Line, d.Line),
		Size:        cmp.Or(l.Size, d.Size),
		Keep:        cmp.Or(l.Keep, d.Keep),
		Memory:      cmp.Or(l.Memory, d.Memory),
		Idle:        cmp.Or(l.Idle, d.Idle),
		Data:        cmp.Or(l.Data, d.Data),
		Write:       cmp.Or(l.Write, d.Write),
		Session:     cmp.Or(l.Session, d.Session),
		Submit:      cmp.Or(l.Submit, d.Submit),
		Drain:       cmp.Or(l.Drain, d.Drain),
		Tarpit:      l.Tarpit,
	}
}
