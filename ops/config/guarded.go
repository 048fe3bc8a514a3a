package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/lookup"
	"backscatter/evidence/sent"
)

// Guarded is domains that send mail, and what all of that mail carries.
type Guarded struct {
	Reporter         string   `key:"reporter" default:"the first of reporters" doc:"Whose domains they are."`
	Domains          []string `key:"domains" need:"yes" doc:"The domains. What follows holds for all mail that they send; turn a mark on two weeks after the mail server began to make it."`
	Relays           bool     `key:"relays" doc:"All their mail leaves through the reporter's relays, so that an original without a line that names one is not theirs."`
	BATVKeys         string   `key:"batv_keys" doc:"File with the keys by which envelope senders get prvs tags, as Exim makes them: a line each, the number of the key (0 to 9), a space and the secret. Keep an old key for two weeks after its last use."`
	MessageIDDomains []string `key:"message_id_domains" doc:"What stands behind the @ of all their Message-IDs."`
	MessageIDKeys    string   `key:"message_id_keys" doc:"File with the keys, one a line, by which the Message-IDs are tagged: LEFT.TAG@DOMAIN, with the first 10 hexadecimal digits of the HMAC-SHA1 of LEFT@DOMAIN as tag."`
	DKIM             bool     `key:"dkim" doc:"All their mail has a DKIM signature of the domain. Signatures are verified where lookups.enabled is set."`
	SRSKeys          string   `key:"srs_keys" doc:"File with the secrets, one a line, by which mail is forwarded under SRS0 addresses of these domains, so that their bounces are known as genuine."`
	SentLog          string   `key:"sent_log" doc:"File to which the mail server writes what it sent, a line each: Message-IDs, and the envelope senders that are of one message only (VERP). What answers one of them is genuine. It is followed as it grows and is rotated; at the start and at a reload FILE.1, FILE.2 and so on are read too, or FILE.2.gz."`
}

// Lookups is what is asked of the DNS about reports.
type Lookups struct {
	Enabled bool          `key:"enabled" doc:"Look up, with the machine's resolver, whether SPF of a forged domain fails for where the mail came from, and the keys of DKIM signatures. Domains that reports name are asked for, never addresses."`
	Timeout time.Duration `key:"timeout" doc:"The longest that one report waits for its answers. What is not answered by then is not known, and never counts."`
}

const (
	maxKeyFile = 16 << 10
	maxKeys    = 20
	maxMarked  = 1000
)

// Lookup returns what asks the DNS about reports, nil when it is turned off.
func (c *Config) Lookup() *lookup.Lookup {
	if !c.Lookups.Enabled {
		return nil
	}
	return lookup.New(lookup.Options{Timeout: c.Lookups.Timeout})
}

func (c *Config) validateGuarded(p *problems) {
	reporters := map[string]bool{}
	for _, r := range c.Reporters {
		reporters[r.Name] = true
	}
	known := map[[2]string]string{}
	for i := range c.Guarded {
		g, key := &c.Guarded[i], fmt.Sprintf("guarded[%d]", i)
		if !reporters[g.Reporter] && p.sound("reporters") {
			p.add(key+".reporter", "%s is not defined; add it to reporters, or write one of them: %s", quote(g.Reporter), c.reporterNames())
		}
		for j, domain := range g.Domains {
			at := fmt.Sprintf("%s.domains[%d]", key, j)
			name := [2]string{g.Reporter, zoneName(domain)}
			switch first, twice := known[name]; {
			case !isHostname(domain):
				p.add(at, "%s is no domain name; write one like real.example (other scripts in their xn-- form)", quote(domain))
			case twice:
				p.add(at, "%s is %s too; keep one", quote(domain), first)
			default:
				known[name] = at
			}
		}
		g.validate(p, key)
	}
	validateDuration(p, "lookups.timeout", c.Lookups.Timeout, 10*time.Millisecond, time.Minute)
}

func (g *Guarded) validate(p *problems, key string) {
	validateCount(p, key+".domains", len(g.Domains), 1, maxMarked)
	for i, domain := range g.MessageIDDomains {
		if !isHostname(domain) {
			p.add(fmt.Sprintf("%s.message_id_domains[%d]", key, i), "%s is no domain name; write what stands behind the @", quote(domain))
		}
	}
	if g.MessageIDKeys != "" && len(g.MessageIDDomains) == 0 {
		p.add(key+".message_id_domains", "is empty, and message_id_keys needs it; write what stands behind the @")
	}
	if !g.Relays && !g.DKIM && g.BATVKeys == "" && len(g.MessageIDDomains) == 0 && g.SRSKeys == "" && g.SentLog == "" {
		p.add(key, "names no mark, so it proves nothing; set relays, batv_keys, message_id_domains or dkim")
	}
}

// CheckKeys reads the files with keys as the server does at its start, looks at
// the others that it opens then, and tells what is wrong with them.
func (c *Config) CheckKeys() error {
	_, err := c.guarded()
	_, tls := c.Intake.SMTP.Certificate()
	_, reports := c.Intake.Reports.Certificate()
	return errors.Join(err, tls, reports, c.checkSigningKeys(), c.CheckMirrorKeys())
}

// CheckMirrorKeys does so for a mirror, which opens only some of them.
func (c *Config) CheckMirrorKeys() error {
	return errors.Join(c.checkCookies(), c.checkTransferKeys(), c.checkQueryLog())
}

func (c *Config) guarded() ([]evidence.Guarded, error) {
	var out []evidence.Guarded
	var errs []error
	for i := range c.Guarded {
		g, err := c.Guarded[i].evidence()
		if err != nil {
			errs = append(errs, fmt.Errorf("guarded[%d]: %w", i, err))
		}
		out = append(out, g)
	}
	return out, errors.Join(errs...)
}

// evidence reads the files that the section names.
func (g *Guarded) evidence() (evidence.Guarded, error) {
	out := evidence.Guarded{Reporter: g.Reporter, Domains: g.Domains, Relays: g.Relays, DKIM: g.DKIM}
	var errs [4]error
	if g.SentLog != "" {
		log, err := sent.Open(g.SentLog)
		if out.Sent = log; err != nil {
			errs[3] = fmt.Errorf("sent_log: %w; have the mail server write it, or leave it out", err)
		}
	}
	out.BATV, errs[0] = g.batv()
	out.SRS, errs[1] = readSecrets(g.SRSKeys)
	if len(g.MessageIDDomains) > 0 {
		out.MessageID = &evidence.MessageIDMark{Domains: g.MessageIDDomains}
		out.MessageID.Keys, errs[2] = readSecrets(g.MessageIDKeys)
	}
	return out, errors.Join(errs[:]...)
}

// batv reads the keys of BATV.
func (g *Guarded) batv() ([]evidence.BATVKey, error) {
	lines, err := readSecrets(g.BATVKeys)
	if err != nil {
		return nil, err
	}
	var keys []evidence.BATVKey
	for i, line := range lines {
		number, secret, _ := strings.Cut(line, " ")
		secret = strings.TrimSpace(secret)
		if len(number) != 1 || number < "0" || number > "9" || secret == "" || len(secret) > 64 {
			return nil, fmt.Errorf("key %d of %s is none; write a number from 0 to 9, a space, and a secret of 1 to 64 bytes", i+1, quote(g.BATVKeys))
		}
		for _, k := range keys {
			if k.Number == number[0] {
				return nil, fmt.Errorf("number %s is in %s twice; give each key its own", number, quote(g.BATVKeys))
			}
		}
		keys = append(keys, evidence.BATVKey{Number: number[0], Secret: secret})
	}
	return keys, nil
}

// readSecrets reads the lines of a file that nobody else may read; empty lines
// and those that begin with "#" are left out. Without a name there are none.
func readSecrets(name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; make the file, or give it to the server's user", quote(name), reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be looked at: %w", quote(name), reason(err))
	}
	if info.Mode().Perm()&0o077 != 0 || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s has mode %#o, and others can use the keys in it; chmod 600", quote(name), info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil || len(data) > maxKeyFile {
		return nil, errors.Join(fmt.Errorf("%s cannot be read, or is longer than %d KiB", quote(name), maxKeyFile>>10), err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 || len(lines) > maxKeys {
		return nil, fmt.Errorf("%s has %d keys; write 1 to %d, one a line", quote(name), len(lines), maxKeys)
	}
	return lines, nil
}
