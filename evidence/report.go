package evidence

import (
	"net/netip"
	"time"
)

// Envelope is what the SMTP session said around a message. Where it is not
// known, [Judge] looks for it in the message: the sender in Return-Path, the
// recipient in X-Original-To, Delivered-To, Envelope-To and their kin above the
// Received line that names the source, then in the "for" of the topmost Received
// line that has one, last in To.
type Envelope struct {
	Client        netip.Addr // who connected; invalid when it is not known
	HELO, PTR     string     // what the client called itself, and its verified name
	MailFrom      string     // the envelope sender without angle brackets; empty is the null sender
	MailFromKnown bool       // tells an empty MailFrom from an unknown one
	Recipients    []string   // the envelope recipients; none when they are not known
}

// Report is one message as a sensor received it.
type Report struct {
	Raw       []byte
	Truncated bool // Raw is the beginning of a longer message
	Envelope  Envelope
	Callout   bool      // there was no message: the client asked whether the recipients exist, and went
	Hearsay   bool      // the client is told of by somebody who is no relay: level C
	Nobody    bool      // nobody can be accused: the client is not known, and wrote all lines itself
	Held      bool      // the sensor itself held the SMTP session with Envelope.Client: level A
	Received  time.Time // when the sensor took the message
	Reporter  string    // name of the enrolled reporter
	Sensor    string    // one of [Sensors]

	// Enrolled is the reporter where it is not one of the judge's [Config]; who
	// hands the report in has made sure that it is enrolled.
	Enrolled *Reporter
}

// Reporter is an enrolled operator of sensors, as the judge needs to know it.
type Reporter struct {
	Name         string
	Organisation string
	Relays       []netip.Prefix // hosts whose Received lines are believed
	Weight       float64        // kept for the store; zero means 1
}
