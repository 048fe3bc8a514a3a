package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/pflag"

	"backscatter/listing"
	"backscatter/zonefile"
)

// checkFlags are what verify is told about an export or a live server.
type checkFlags struct {
	zone, key, against string
	maxAge             time.Duration
}

func (f *checkFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.zone, "zone", "", "`ZONE` to ask a server about (default: that of --against, or the first of the configuration)")
	flags.StringVar(&f.key, "key", "", "public `KEY` that must have signed the export (default: mirror.key)")
	flags.StringVar(&f.against, "against", "", "compare a server with the export in `DIR`: serial, and samples of listed and unlisted addresses")
	flags.DurationVar(&f.maxAge, "max-age", 48*time.Hour, "the oldest that the list may be")
}

// checkup is what was found of an export or a server.
type checkup struct {
	What     string    `json:"what"`
	OK       bool      `json:"ok"`
	Zone     string    `json:"zone,omitempty"`
	Serial   uint32    `json:"serial"`
	Time     time.Time `json:"time,omitzero"` // when the list was made, as far as it is told
	Age      int       `json:"age_seconds"`
	Entries  int       `json:"entries"`
	Files    int       `json:"files,omitempty"`
	Signed   bool      `json:"signed"`
	Compared int       `json:"compared,omitempty"` // addresses asked for
	Problems []string  `json:"problems,omitempty"`
}

func (c *checkup) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// tooOld says so, too.
func (c *checkup) tooOld(now time.Time, maxAge time.Duration) {
	c.Age = int(max(0, now.Sub(c.Time)) / time.Second)
	if age := now.Sub(c.Time); age > maxAge {
		c.problem("it is %s old, and may be %s", age.Truncate(time.Second), maxAge)
	}
}

// print prints one line, fit for a monitor, or JSON.
func (a *app) printCheckup(c *checkup) error {
	c.OK = len(c.Problems) == 0
	if a.asJSON {
		if err := a.printJSON(c); err != nil {
			return err
		}
	}
	if !c.OK {
		return &codeError{exitFailed, fmt.Errorf("%s: %s", c.What, strings.Join(c.Problems, "; "))}
	}
	if a.asJSON {
		return nil
	}
	signed := "not signed"
	if c.Signed {
		signed = "signed"
	}
	if c.Files == 0 {
		signed = fmt.Sprintf("%d addresses compared", c.Compared)
	}
	_, err := fmt.Fprintf(a.out, "%s is good: %s, serial %d of %s, %d s old, %d entries, %s\n",
		c.What, c.Zone, c.Serial, stamp(c.Time), c.Age, c.Entries, signed)
	return err
}

// verifyExport checks what a mirror would: signature, expiry, every file against
// the manifest, and that what a mirror answers from can be read.
func (a *app) verifyExport(dir string, f checkFlags, now time.Time) error {
	c := &checkup{What: dir}
	copied, err := a.openExport(dir, f, c)
	if err != nil {
		c.problem("%v", err)
		return a.printCheckup(c)
	}
	m := copied.Manifest
	c.Zone, c.Serial, c.Time, c.Files = m.Zone, m.Serial, m.Created, len(m.Files)
	c.Entries = copied.Snapshot.Len()
	if err := m.Verify(dir); err != nil {
		c.problem("%v", err)
	}
	if !now.Before(m.Expires) {
		c.problem("it expired on %s", stamp(m.Expires))
	}
	c.tooOld(now, f.maxAge)
	return a.printCheckup(c)
}

func (a *app) openExport(dir string, f checkFlags, c *checkup) (*zonefile.Copy, error) {
	text := f.key
	if text == "" {
		config, err := a.loadConfig()
		if err != nil {
			return nil, err
		}
		text = config.Mirror.Key
	}
	var m zonefile.Manifest
	var err error
	if text == "" {
		m, err = zonefile.ReadManifest(dir)
	} else {
		key, e := zonefile.ReadPublicKey(text)
		if e != nil {
			return nil, e
		}
		m, err = zonefile.OpenManifest(dir, *key)
		c.Signed = err == nil
	}
	if err != nil {
		return nil, err
	}
	return m.Load(dir)
}

// verifyServer asks a server over the DNS.
func (a *app) verifyServer(ctx context.Context, server string, f checkFlags, now time.Time) error {
	c := &checkup{What: server, Zone: f.zone}
	q := &questioner{server: server, client: dns.Client{Timeout: 5 * time.Second}}
	var copied *zonefile.Copy
	if f.against != "" {
		var err error
		if copied, err = a.openExport(f.against, f, c); err != nil {
			return fmt.Errorf("verify against %s: %w", f.against, err)
		}
		c.Zone = copied.Manifest.Zone
	}
	if c.Zone == "" {
		config, err := a.loadConfig()
		if err != nil {
			return err
		}
		c.Zone = config.Zones[0].Name
	}
	q.zone = dns.Fqdn(c.Zone)
	if err := q.check(ctx, c, f, now); err != nil {
		c.problem("%v", err)
	} else if copied != nil {
		if err := q.compare(ctx, c, copied); err != nil {
			c.problem("%v", err)
		}
	}
	return a.printCheckup(c)
}

// questioner asks one server about one zone.
type questioner struct {
	server, zone string
	client       dns.Client
}

func (q *questioner) ask(ctx context.Context, name string, rrtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, rrtype)
	m.RecursionDesired = false
	reply, _, err := q.client.ExchangeContext(ctx, m, q.server)
	if err != nil {
		return nil, fmt.Errorf("ask for %s %s: %w", name, dns.TypeToString[rrtype], err)
	}
	return reply, nil
}

// answer returns the A record of an address, or "" when it has none.
func (q *questioner) answer(ctx context.Context, z *zonefile.Zone, addr netip.Addr) (string, error) {
	reply, err := q.ask(ctx, z.Owner(addr), dns.TypeA)
	if err != nil {
		return "", err
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return "", fmt.Errorf("%s is answered with %s", addr, dns.RcodeToString[reply.Rcode])
	}
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String(), nil
		}
	}
	return "", nil
}

// check asks for the serial, the age and the test points (RFC 5782 §5).
func (q *questioner) check(ctx context.Context, c *checkup, f checkFlags, now time.Time) error {
	reply, err := q.ask(ctx, q.zone, dns.TypeSOA)
	if err != nil {
		return err
	}
	soa, ok := first[*dns.SOA](reply)
	if !ok {
		return fmt.Errorf("it has no zone %s: %s", q.zone, dns.RcodeToString[reply.Rcode])
	}
	c.Serial = soa.Serial
	if reply, err = q.ask(ctx, "_status."+q.zone, dns.TypeTXT); err != nil {
		return err
	}
	if txt, ok := first[*dns.TXT](reply); ok {
		readStatus(c, txt.Txt)
	}
	if !c.Time.IsZero() { // rbldnsd has no _status
		c.tooOld(now, f.maxAge)
	}
	z := &zonefile.Zone{Name: q.zone}
	for _, point := range []struct {
		addr   string
		listed bool
	}{{"127.0.0.2", true}, {"127.0.0.1", false}} {
		got, err := q.answer(ctx, z, netip.MustParseAddr(point.addr))
		if err != nil {
			return err
		}
		if (got != "") != point.listed {
			c.problem("the test point %s answers %q (RFC 5782 §5)", point.addr, got)
		}
	}
	return nil
}

func first[T dns.RR](m *dns.Msg) (rr T, ok bool) {
	for _, answer := range m.Answer {
		if rr, ok = answer.(T); ok {
			return rr, true
		}
	}
	return rr, false
}

// readStatus reads the strings of _status that are known.
func readStatus(c *checkup, told []string) {
	for _, text := range told {
		name, value, _ := strings.Cut(text, "=")
		switch name {
		case "mirror": // newer than the time: an unchanged list is published again
			c.Time, _ = time.Parse(time.RFC3339, value)
		case "entries":
			_, _ = fmt.Sscan(value, &c.Entries)
		}
	}
}

// samples is how many listed, and as many unlisted, addresses are compared.
const samples = 200

// compare asks for listed addresses of an export, evenly over all of it, and for
// those beside them.
func (q *questioner) compare(ctx context.Context, c *checkup, copied *zonefile.Copy) error {
	z := copied.Zones.All()[0]
	switch ours := copied.Snapshot.Serial(); {
	case int32(c.Serial-ours) < 0: // RFC 1982
		c.problem("its serial is older than %d of the export", ours)
		return nil
	case c.Serial != ours:
		c.problem("its serial is newer than %d of the export, so they cannot be compared", ours)
		return nil
	}
	step, at := max(1, copied.Snapshot.Len()/samples), 0
	for e := range copied.Snapshot.All() {
		if at++; at%step != 0 {
			continue
		}
		for _, addr := range []netip.Addr{e.Prefix.Addr(), beyond(e)} {
			want := ""
			if e, ok := z.Lookup(copied.Snapshot, addr); ok {
				want = zonefile.Code(e.Class).String()
			}
			got, err := q.answer(ctx, z, addr)
			if err != nil {
				return err
			}
			if c.Compared++; got != want {
				c.problem("%s answers %q, want %q", addr, got, want)
			}
		}
		if len(c.Problems) > maxFaults {
			return nil
		}
	}
	return nil
}

// beyond returns the address behind an entry.
func beyond(e listing.Entry) netip.Addr {
	last := e.Prefix.Addr().AsSlice()
	for i := e.Prefix.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return addr.Next()
}

// isFolder and isServer tell the arguments of verify apart.
func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func isServer(name string) bool {
	if _, err := os.Stat(name); err == nil {
		return false
	}
	i := strings.LastIndexByte(name, ':')
	return i > 0 && i < len(name)-1 && strings.Trim(name[i+1:], "0123456789") == ""
}
