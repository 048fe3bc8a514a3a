package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"backscatter/dnsd"
)

// QueryLog configures the log of questions.
type QueryLog struct {
	To      string `key:"to" doc:"Where the lines go: the path of a file, to which JSON is appended and which each reload opens anew (for logrotate), or log for the server's own log. Empty logs no question."`
	Sample  int    `key:"sample" doc:"Of so many questions one is logged."`
	Rate    int    `key:"rate" doc:"Lines in a second at most."`
	Clients string `key:"clients" doc:"network tells of a client only its IPv4 /24 or IPv6 /56, address all of it."`
}

// Dnstap configures what is sent to who reads dnstap.
type Dnstap struct {
	Socket string `key:"socket" doc:"Path of the unix socket on which a reader of dnstap listens (frame streams). It gets questions and answers whole, with the client's address, and is looked for again when it has gone. Empty sends none."`
	Sample int    `key:"sample" doc:"Of so many questions one is sent."`
}

// What clients may be told as in the log of questions.
const (
	clientNetwork = "network"
	clientAddress = "address"
)

// ownLog in place of a file is the server's own log.
const ownLog = "log"

// mostSampled bounds one in how many questions is sampled.
const mostSampled = 1_000_000_000

func defaultQueryLog() QueryLog { return QueryLog{Sample: 1000, Rate: 100, Clients: clientNetwork} }

func defaultDnstap() Dnstap { return Dnstap{Sample: 1} }

func (l *QueryLog) validate(p *problems, key string) {
	if l.To != "" && l.To != ownLog && filepath.Dir(l.To) == "." {
		p.add(key+".to", "%s is no path; write log, or a file with its folder", quote(l.To))
	}
	validateCount(p, key+".sample", l.Sample, 1, mostSampled)
	validateCount(p, key+".rate", l.Rate, 1, 1_000_000)
	if l.Clients != clientNetwork && l.Clients != clientAddress {
		p.add(key+".clients", "%s is neither; write %s or %s", quote(l.Clients), clientNetwork, clientAddress)
	}
}

// longestSocket is how long the path of a unix socket may be on every platform.
const longestSocket = 103

func (d *Dnstap) validate(p *problems, key string) {
	if len(d.Socket) > longestSocket {
		p.add(key+".socket", "has %d bytes; a path of a socket has at most %d", len(d.Socket), longestSocket)
	}
	validateCount(p, key+".sample", d.Sample, 1, mostSampled)
}

// OpenQueryLog returns the log of questions, with its file open; nil when there
// is none.
func (c *Config) OpenQueryLog() (*dnsd.QueryLog, error) {
	l := c.DNS.QueryLog
	if l.To == "" {
		return nil, nil
	}
	out := &dnsd.QueryLog{Sample: l.Sample, Rate: l.Rate, Whole: l.Clients == clientAddress}
	if l.To == ownLog {
		return out, nil
	}
	f, err := os.OpenFile(l.To, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the log of questions: %w; make its folder, and let the daemon write there", err)
	}
	out.To = io.WriteCloser(f)
	return out, nil
}

// checkQueryLog tells whether the log of questions can be opened, and leaves no
// file behind: whoever checks the configuration may be another user than the server.
func (c *Config) checkQueryLog() error {
	to := c.DNS.QueryLog.To
	if to == "" || to == ownLog {
		return nil
	}
	at := to
	err := unix.Access(to, unix.W_OK)
	if errors.Is(err, fs.ErrNotExist) {
		at = filepath.Dir(to)
		err = unix.Access(at, unix.W_OK|unix.X_OK)
	} else if info, stat := os.Stat(to); stat == nil && info.IsDir() {
		err = unix.EISDIR
	}
	if err != nil {
		return fmt.Errorf("dns.query_log.to: %s cannot be written: %w; make its folder, and let the daemon write there", quote(at), err)
	}
	return nil
}

// Tap returns where samples are sent as dnstap; nil when nowhere.
func (c *Config) Tap(version string) *dnsd.Tap {
	d := c.DNS.Dnstap
	if d.Socket == "" {
		return nil
	}
	return &dnsd.Tap{Socket: d.Socket, Sample: d.Sample, Identity: c.DNS.NSID, Version: "backscatter " + version}
}
