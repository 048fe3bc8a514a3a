package config

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"backscatter/ops/remote"
)

// Reports configures what takes the reports of others over the network.
type Reports struct {
	Listen     string         `key:"listen" restart:"yes" doc:"Address with port for POST /v1/reports. Empty: none are taken."`
	TLSCert    string         `key:"tls_cert" doc:"File with the certificate, and those that it depends on (PEM). It is read at the start and at each reload. Without one plain HTTP is spoken, with loopback and the proxies alone."`
	TLSKey     string         `key:"tls_key" doc:"File with the key of the certificate (PEM)."`
	Names      []string       `key:"names" doc:"Names by which reporters call this server, beside those in the certificate. What was signed for another is refused."`
	Proxies    []netip.Prefix `key:"proxies" doc:"Proxies that speak HTTPS for this server, and plain HTTP with it. They have to pass the Host field on as it is."`
	MaxSize    int            `key:"max_size" restart:"yes" doc:"Octets of one request."`
	MaxReports int            `key:"max_reports" restart:"yes" doc:"Reports in one request."`
	MaxRate    int            `key:"max_rate" restart:"yes" doc:"Requests of one reporter within a minute."`
	Window     time.Duration  `key:"window" restart:"yes" doc:"How far the clock of a reporter may be off. So long it is remembered which requests there were, so that none counts again."`
}

func defaultReports() Reports {
	l := remote.DefaultLimits()
	return Reports{MaxSize: l.Body, MaxReports: l.Reports, MaxRate: l.Rate, Window: l.Window}
}

// leastBody is the least that a request must be able to hold: a message of a
// mebibyte, encoded, and its envelope.
const leastBody = 2 << 20

func (r *Reports) validate(p *problems, key string) {
	for i, name := range r.Names {
		if !isHostname(name) {
			p.add(fmt.Sprintf("%s.names[%d]", key, i), "%s is no host name; write one like reports.example.org", quote(name))
		}
	}
	validateApart(p, key+".proxies", r.Proxies, "")
	validateCount(p, key+".max_size", r.MaxSize, leastBody, 64<<20)
	validateCount(p, key+".max_reports", r.MaxReports, 1, 10_000)
	validateCount(p, key+".max_rate", r.MaxRate, 1, 6000)
	validateDuration(p, key+".window", r.Window, 30*time.Second, time.Hour)
	if r.Listen == "" {
		return
	}
	listen, err := parseListen(r.Listen)
	switch {
	case err != nil:
		p.add(key+".listen", "%s", err)
	case r.TLSCert != "" || listen.Addr().IsLoopback():
	case len(r.Proxies) == 0:
		p.add(key+".listen", "%s is no loopback address, and reports would come unencrypted; set tls_cert and tls_key, or name the proxies that speak HTTPS", quote(r.Listen))
	case len(r.Names) == 0:
		p.add(key+".names", "is empty; write the names by which reporters reach the proxies")
	}
}

// Certificate reads the certificate; nil when there is none.
func (r *Reports) Certificate() (*tls.Certificate, error) {
	return certificate("intake.reports", r.TLSCert, r.TLSKey)
}

// ReportsLimits returns the limits of what is taken over the network.
func (c *Config) ReportsLimits() remote.Limits {
	r := c.Intake.Reports
	l := remote.DefaultLimits()
	l.Body, l.Reports, l.Rate, l.Window = r.MaxSize, r.MaxReports, r.MaxRate, r.Window
	return l
}
