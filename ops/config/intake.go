package config

import (
	"crypto/tls"
	"fmt"
	"iter"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"backscatter/evidence/intake"
)

// Intake configures the sensors.
type Intake struct {
	SMTP SMTP     `key:"smtp" doc:"The SMTP trap. It takes mail for traps only and never sends any."`
	LMTP []Sensor `key:"lmtp" restart:"yes" doc:"Where a mail server hands over mail to traps and guarded domains by LMTP. Only the reporter's relays and loopback may connect: they held the session with the source, and the topmost Received line is believed."`

	Milter    []Sensor `key:"milter" restart:"yes" doc:"Where a mail server lets pass what it takes, by the milter protocol: mail to traps, and mail with a null sender to guarded domains. The milter never refuses or delays any; set milter_default_action = accept in the mail server. What it says of its clients is level A."`
	Reports   Reports  `key:"reports" doc:"Where enrolled reporters hand in over the network what they received, as 'report --to' does: each request signed by a key of theirs (see 'reporter key'). What they tell is level B."`
	SpoolSize int      `key:"spool_size" restart:"yes" doc:"Octets that may wait in the folder spool of the state for the store. With more, reports from milters are lost, and counted."`
}

// Sensor is a listener to which a mail server connects.
type Sensor struct {
	Listen   string `key:"listen" need:"yes" doc:"Address with port, or unix:PATH for a socket, with mode 0660."`
	Reporter string `key:"reporter" default:"the first of reporters" doc:"The reporter that the mail server belongs to."`
}

// SMTP configures the SMTP trap.
type SMTP struct {
	Listen         string        `key:"listen" restart:"yes" doc:"Address with port. Empty turns the trap off."`
	Reporter       string        `key:"reporter" restart:"yes" default:"the first of reporters" doc:"The reporter that the trap belongs to."`
	Hostname       string        `key:"hostname" restart:"yes" default:"the machine's name" doc:"Name in the greeting."`
	TLSCert        string        `key:"tls_cert" doc:"File with the certificate for STARTTLS, and those that it depends on (PEM). Empty: TLS is not offered. It is read at the start and at each reload."`
	TLSKey         string        `key:"tls_key" doc:"File with the key of the certificate (PEM)."`
	XCLIENT        bool          `key:"xclient" restart:"yes" doc:"The reporter's relays, and nobody else, may say with XCLIENT for whom they speak. What they say is level B."`
	Proxy          bool          `key:"proxy" restart:"yes" doc:"Connections of the reporter's relays begin with a PROXY header (version 1 or 2) that tells who the client is, and those of nobody else."`
	MaxSize        int           `key:"max_size" restart:"yes" doc:"Largest message in bytes."`
	MaxRecipients  int           `key:"max_recipients" restart:"yes" doc:"Most recipients of one message."`
	MaxConnections int           `key:"max_connections" restart:"yes" doc:"Connections served at a time."`
	MaxPerClient   int           `key:"max_per_client" restart:"yes" doc:"Connections of one client address served at a time."`
	MaxRate        int           `key:"max_rate" restart:"yes" doc:"Connections of one client address within a minute. The reporter's relays have no such limit."`
	MaxErrors      int           `key:"max_errors" restart:"yes" doc:"Refused senders and recipients after which a client is sent away."`
	Timeout        time.Duration `key:"timeout" restart:"yes" doc:"The longest wait for a line of the client."`
	Tarpit         time.Duration `key:"tarpit" restart:"yes" doc:"How long a client waits for each refusal."`
}

func defaultIntake() Intake {
	smtp := intake.DefaultLimits()
	return Intake{SpoolSize: 256 << 20, Reports: defaultReports(), SMTP: SMTP{
		Listen:         "127.0.0.1:2525",
		MaxSize:        int(smtp.Size),
		MaxRecipients:  smtp.Recipients,
		MaxConnections: smtp.Connections,
		MaxPerClient:   smtp.PerClient,
		MaxRate:        smtp.Rate,
		MaxErrors:      smtp.Refusals,
		Timeout:        smtp.Idle,
	}}
}

func (s *SMTP) validate(p *problems, key string) {
	if s.Listen != "" {
		validateListen(p, key+".listen", s.Listen)
	}
	if !isHostname(s.Hostname) {
		p.add(key+".hostname", "%s is no host name; write one like mail.example.org", quote(s.Hostname))
	}
	validateCount(p, key+".max_size", s.MaxSize, 1024, 64<<20)
	validateCount(p, key+".max_recipients", s.MaxRecipients, 1, 1000)
	validateCount(p, key+".max_connections", s.MaxConnections, 1, 100_000)
	validateCount(p, key+".max_per_client", s.MaxPerClient, 1, 100_000)
	validateCount(p, key+".max_rate", s.MaxRate, 1, 1_000_000)
	validateCount(p, key+".max_errors", s.MaxErrors, 1, 100_000)
	validateDuration(p, key+".timeout", s.Timeout, time.Second, time.Hour)
	validateDuration(p, key+".tarpit", s.Tarpit, 0, 5*time.Minute)
}

// sensors returns the listeners of mail servers, with their keys.
func (i *Intake) sensors() iter.Seq2[string, *Sensor] {
	return func(yield func(string, *Sensor) bool) {
		for n := range i.LMTP {
			if !yield(fmt.Sprintf("intake.lmtp[%d]", n), &i.LMTP[n]) {
				return
			}
		}
		for n := range i.Milter {
			if !yield(fmt.Sprintf("intake.milter[%d]", n), &i.Milter[n]) {
				return
			}
		}
	}
}

// listens returns the addresses with ports that the sensors listen on, with
// their keys.
func (i *Intake) listens() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		if !yield("intake.smtp.listen", i.SMTP.Listen) {
			return
		}
		if !yield("intake.reports.listen", i.Reports.Listen) {
			return
		}
		for key, s := range i.sensors() {
			if !strings.HasPrefix(s.Listen, unixPrefix) && !yield(key+".listen", s.Listen) {
				return
			}
		}
	}
}

// unixPrefix begins the name of a unix socket where an address with a port
// could be.
const unixPrefix = "unix:"

// maxUnixPath is what sockaddr_un holds on Linux, the final NUL left out.
const maxUnixPath = 107

func (s *Sensor) validate(p *problems, key string) {
	path, isUnix := strings.CutPrefix(s.Listen, unixPrefix)
	switch {
	case !isUnix:
		validateListen(p, key+".listen", s.Listen)
	case !filepath.IsAbs(path):
		p.add(key+".listen", "%s is no absolute path; write one like unix:/run/backscatter/lmtp", quote(path))
	case len(path) > maxUnixPath:
		p.add(key+".listen", "has a path of %d bytes, and the system allows %d; choose a shorter one", len(path), maxUnixPath)
	}
}

func (i *Intake) validate(p *problems) {
	i.SMTP.validate(p, "intake.smtp")
	i.Reports.validate(p, "intake.reports")
	validateCount(p, "intake.spool_size", i.SpoolSize, 1<<20, 1<<40)
	for key, s := range i.sensors() {
		s.validate(p, key)
	}
}

// validateSensors wants the sensors to belong to reporters that there are.
func (i *Intake) validateSensors(p *problems, reporters map[string]int, names string) {
	check := func(key, reporter string) {
		if _, ok := reporters[reporter]; !ok && p.sound("reporters") {
			p.add(key, "%s is not defined; add it to reporters, or write one of them: %s", quote(reporter), names)
		}
	}
	if i.SMTP.Listen != "" {
		check("intake.smtp.reporter", i.SMTP.Reporter)
	}
	for key, s := range i.sensors() {
		check(key+".reporter", s.Reporter)
	}
}

// Certificate reads the certificate for STARTTLS; nil when there is none.
func (s *SMTP) Certificate() (*tls.Certificate, error) {
	return certificate("intake.smtp", s.TLSCert, s.TLSKey)
}

// certificate reads a certificate and its key; nil when neither is named.
func certificate(section, cert, key string) (*tls.Certificate, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil //nolint:nilnil // no certificate is no error
	case cert == "" || key == "":
		return nil, fmt.Errorf("%s has one of tls_cert and tls_key; set both, or none", section)
	}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s.tls_cert %s, tls_key %s: %w", section, quote(cert), quote(key), err)
	}
	return &c, nil
}

// SMTPOptions returns the options of the SMTP trap that are configuration, and
// false when it is turned off; traps, relays, certificate, sink, logger and
// metrics are for the caller to add.
func (c *Config) SMTPOptions() (intake.SMTPOptions, bool) {
	s := c.Intake.SMTP
	return intake.SMTPOptions{
		Addr:     s.Listen,
		Hostname: s.Hostname,
		Reporter: s.Reporter,
		XCLIENT:  s.XCLIENT,
		Proxy:    s.Proxy,
		Limits: intake.Limits{
			Connections: s.MaxConnections,
			PerClient:   s.MaxPerClient,
			Rate:        s.MaxRate,
			Recipients:  s.MaxRecipients,
			Refusals:    s.MaxErrors,
			Size:        int64(s.MaxSize),
			Idle:        s.Timeout,
			Tarpit:      s.Tarpit,
		},
	}, s.Listen != ""
}

// LMTPOptions returns the options of the LMTP listeners, as SMTPOptions does.
func (c *Config) LMTPOptions() []intake.SMTPOptions {
	out := make([]intake.SMTPOptions, len(c.Intake.LMTP))
	for i, s := range c.Intake.LMTP {
		own := intake.DefaultLimits()
		own.PerClient = own.Connections // there is one client
		own.Size, own.Recipients = int64(c.Intake.SMTP.MaxSize), 1000
		out[i] = intake.SMTPOptions{Addr: s.Listen, Hostname: c.Intake.SMTP.Hostname, Reporter: s.Reporter, LMTP: true, Limits: own}
	}
	return out
}

// MilterOptions returns the options of the milters; what they take, the sink,
// logger and metrics are for the caller to add.
func (c *Config) MilterOptions() []intake.MilterOptions {
	out := make([]intake.MilterOptions, len(c.Intake.Milter))
	for i, s := range c.Intake.Milter {
		out[i] = intake.MilterOptions{Addr: s.Listen, Reporter: s.Reporter}
	}
	return out
}

// Relays returns the relays of a reporter.
func (c *Config) Relays(reporter string) []netip.Prefix {
	for _, r := range c.Reporters {
		if r.Name == reporter {
			return r.Relays
		}
	}
	return nil
}
