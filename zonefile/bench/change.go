package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"backscatter/listing"
	"backscatter/zonefile"
)

const moved = 200 // so many go, and so many come

// change returns addresses of a list that are gone, and new ones, anywhere.
func (b *bench) change() (old, gone, come []netip.Addr) {
	rnd := rand.New(rand.NewPCG(5, 6))
	all := slices.Collect(scattered(b.changed + moved))
	picked := rnd.Perm(len(all))[:2*moved]
	isNew := map[int]bool{}
	for i, at := range picked {
		if i < moved {
			come, isNew[at] = append(come, all[at]), true
		} else {
			gone = append(gone, all[at])
		}
	}
	for i, a := range all {
		if !isNew[i] {
			old = append(old, a)
		}
	}
	return old, gone, come
}

// days gives every address the day on which its listing ends.
type days map[netip.Addr]int

// versions are the two snapshots before and after the change.
func versions(before, after days, at time.Time) (old, now *listing.Snapshot) {
	of := func(d days, sequence uint64) *listing.Snapshot {
		return listing.NewSnapshot(listing.Build{Sequence: sequence, Time: at, Entries: func(yield func(listing.Entry) bool) {
			for addr, day := range d {
				last := at.AddDate(0, 0, day-7)
				if !yield(listing.Entry{
					Prefix: netip.PrefixFrom(addr, 32), Class: listing.ClassBounce, Classes: listing.ClassSetOf(listing.ClassBounce),
					Summary: listing.Summary{Events: 3, Since: listing.DateOf(last), Last: listing.DateOf(last), Until: listing.DateOf(last.AddDate(0, 0, 7))},
				}) {
					return
				}
			}
		}})
	}
	return of(before, uint64(at.Unix())), of(after, uint64(at.Unix())+1)
}

// rsync measures the bytes of a change as the client tells of them, with the flags
// of ops/rsyncd and with others. One change takes anything away; in the other, which
// is what a list by evidence does, those go that end today, and those come that end
// last.
func (b *bench) rsync(ctx context.Context) error {
	old, gone, come := b.change()
	anywhere, expiring := days{}, days{}
	for i, a := range old {
		anywhere[a], expiring[a] = 1, 1+i%7
	}
	anywhereNow, expiringNow := maps.Clone(anywhere), maps.Clone(expiring)
	for _, a := range gone {
		delete(anywhereNow, a)
	}
	left := moved
	for _, a := range old[b.changed/2:] {
		if expiring[a] == 1 && left > 0 {
			delete(expiringNow, a)
			left--
		}
	}
	for _, a := range come {
		anywhereNow[a], expiringNow[a] = 1, 7
	}
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct {
		name          string
		before, after days
	}{{"any go, any come", anywhere, anywhereNow}, {"the oldest go, new ones come", expiring, expiringNow}} {
		first, second := versions(c.before, c.after, now)
		if err := b.rsyncChange(ctx, c.name, first, second); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) rsyncChange(ctx context.Context, name string, first, second *listing.Snapshot) error {
	var texts [2]bytes.Buffer
	var plain [2]bytes.Buffer
	for i, s := range []*listing.Snapshot{first, second} {
		if _, err := zonefile.Write(&texts[i], zonefile.IP4Set, z, s); err != nil {
			return err
		}
		if _, err := zonefile.Write(&plain[i], zonefile.Plain, z, s); err != nil {
			return err
		}
	}
	sorted, err := b.transferred(ctx, map[string]string{"list": plain[0].String()}, map[string]string{"list": plain[1].String()}, "-z", "-B512")
	if err != nil {
		return err
	}
	for _, v := range []struct {
		what  string
		split bool
		flags []string
	}{
		{"-z -B512 (documented)", false, []string{"-z", "-B512"}},
		{"-z", false, []string{"-z"}},
		{"-z -B1024", false, []string{"-z", "-B1024"}},
		{"-z -B2048", false, []string{"-z", "-B2048"}},
		{"--zc=zstd --zl=19 -B512", false, []string{"--zc=zstd", "--zl=19", "-B512"}},
		{"-z -B512, a file for each /8", true, []string{"-z", "-B512"}},
	} {
		before, after := map[string]string{"list": texts[0].String()}, map[string]string{"list": texts[1].String()}
		if v.split {
			before, after = byNetwork(texts[0].String()), byNetwork(texts[1].String())
		}
		n, err := b.transferred(ctx, before, after, v.flags...)
		if err != nil {
			return err
		}
		b.row(row{
			what: "rsync of ip4set, " + name + ", " + v.what, figure: kilobytes(n), beside: "sorted text " + kilobytes(sorted),
			ratio: float64(n) / float64(sorted),
		})
	}
	return nil
}

// byNetwork cuts a file into one for each first octet, with the other lines in each.
func byNetwork(text string) map[string]string {
	parts := map[string]*strings.Builder{}
	for line := range strings.Lines(text) {
		first, _, ok := strings.Cut(line, ".")
		if _, err := strconv.Atoi(first); !ok || err != nil {
			first = "header"
		}
		if parts[first] == nil {
			parts[first] = &strings.Builder{}
		}
		parts[first].WriteString(line)
	}
	out := map[string]string{}
	for name, part := range parts {
		out[name] = part.String()
	}
	return out
}

var sentBytes = regexp.MustCompile(`Total bytes (?:sent|received): ([0-9,]+)`)

// transferred returns how many bytes rsync sends and receives to bring files up to date.
func (b *bench) transferred(ctx context.Context, before, after map[string]string, flags ...string) (int, error) {
	from, to := b.path("rsync-from"), b.path("rsync-to")
	defer func() { _, _ = os.RemoveAll(from), os.RemoveAll(to) }() // the whole folder goes at the end
	for dir, files := range map[string]map[string]string{to: before, from: after} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return 0, err
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return 0, err
			}
			if dir == to {
				past := time.Now().Add(-time.Hour)
				if err := os.Chtimes(filepath.Join(dir, name), past, past); err != nil {
					return 0, err
				}
			}
		}
	}
	args := slices.Concat([]string{"-rt", "--no-whole-file", "--stats"}, flags, []string{from + "/", to + "/"})
	out, err := exec.CommandContext(ctx, "rsync", args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("rsync: %w: %s", err, out)
	}
	total := 0
	for _, m := range sentBytes.FindAllSubmatch(out, -1) {
		n, err := strconv.Atoi(strings.ReplaceAll(string(m[1]), ",", ""))
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func kilobytes(n int) string { return fmt.Sprintf("%.0f kB", float64(n)/1000) }

// ixfr measures the bytes of the same change as a secondary gets it, from us and
// from BIND, which has our zone file.
func (b *bench) ixfr(ctx context.Context) (err error) {
	old, gone, come := b.change()
	d, err := b.serve(ctx, "ixfr", "zones: [{name: "+zone+", ns: [ns1.example.net], transfer: [{from: [127.0.0.1]}]}]")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.importList(ctx, slices.Values(old)); err != nil {
		return err
	}
	var files [2]string
	if files[0], err = d.zoneFile(ctx); err != nil {
		return err
	}
	serial, err := serialOf(ctx, d.addr())
	if err != nil {
		return err
	}
	leaving := strings.Fields(text(slices.Values(gone)))
	if err := d.command(ctx, append([]string{"delist", "--reason", "bench", "--yes"}, leaving...)...); err != nil {
		return err
	}
	if err := d.importList(ctx, slices.Values(come)); err != nil {
		return err
	}
	if files[1], err = d.zoneFile(ctx); err != nil {
		return err
	}
	ours, err := incremental(ctx, d.addr(), serial)
	if err != nil {
		return err
	}
	theirs, err := b.bindIncremental(ctx, "bind", files, serial)
	if err != nil {
		return fmt.Errorf("BIND: %w", err)
	}
	b.ixfrRows(ours, theirs)
	return nil
}

// labBytes is what BIND took for such a change in an earlier lab, with shorter texts.
const labBytes = 47_000

func (b *bench) ixfrRows(ours, theirs answered) {
	b.row(row{
		what: fmt.Sprintf("IXFR of %d gone and %d new", moved, moved), figure: kilobytes(ours.bytes), beside: "BIND, same texts " + kilobytes(theirs.bytes),
		ratio: float64(ours.bytes) / float64(theirs.bytes), bar: "BIND's", holds: ours.bytes <= theirs.bytes,
	})
	each := func(n int) string { return fmt.Sprintf("%d octets a name", n/(2*moved)) }
	b.row(row{what: "the same, of it texts", figure: each(ours.texts), beside: "BIND " + each(theirs.texts)})
	b.row(row{
		what: "the same, of it all else", figure: each(ours.bytes - ours.texts), beside: "BIND " + each(theirs.bytes-theirs.texts),
		ratio: float64(ours.bytes-ours.texts) / float64(theirs.bytes-theirs.texts),
	})
	texts := labBytes - (theirs.bytes - theirs.texts)
	like := ours.bytes - ours.texts + texts
	b.row(row{
		what: "the same, reckoned with texts as in the lab of the bar, " + each(texts), figure: kilobytes(like),
		beside: "BIND " + kilobytes(labBytes), ratio: float64(like) / labBytes, bar: kilobytes(labBytes), holds: like <= labBytes,
	})
}

func (s *server) zoneFile(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, s.cmd.Path, "export", "--format", "zone", "--config", s.config).Output()
	if err != nil {
		return "", fmt.Errorf("export: %w", err)
	}
	return string(out), nil
}

func serialOf(ctx context.Context, server string) (uint32, error) {
	reply, err := dns.ExchangeContext(ctx, new(dns.Msg).SetQuestion(zone+".", dns.TypeSOA), server)
	if err != nil {
		return 0, err
	}
	for _, rr := range reply.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("%s has no SOA of %s", server, zone)
}

// answered is how many bytes the messages of a transfer are, with their lengths, and
// how many of them the strings of texts.
type answered struct{ bytes, texts int }

// incremental asks for what changed since the serial.
func incremental(ctx context.Context, server string, serial uint32) (n answered, err error) {
	q := new(dns.Msg).SetIxfr(zone+".", serial, "ns1.example.net.", "hostmaster."+zone+".")
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
	if err != nil {
		return n, err
	}
	c := &dns.Conn{Conn: conn}
	defer c.Close()
	if err := errors.Join(c.SetDeadline(time.Now().Add(time.Minute)), c.WriteMsg(q)); err != nil {
		return n, err
	}
	soas := 0
	var newest *dns.SOA
	for soas < 3 { // the new SOA stands first, before the last additions, and last (RFC 1995 §4)
		text, err := c.ReadMsgHeader(nil)
		if err != nil {
			return n, err
		}
		n.bytes += 2 + len(text)
		m := new(dns.Msg)
		if err := m.Unpack(text); err != nil {
			return n, err
		}
		if newest == nil {
			if newest, err = opening(m); err != nil {
				return n, fmt.Errorf("IXFR from %s: %w", server, err)
			}
		}
		soas += n.count(m.Answer, newest.Serial)
	}
	return n, nil
}

// count adds the texts of some records, and returns how many of them are the SOA of
// the serial.
func (n *answered) count(records []dns.RR, serial uint32) (soas int) {
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.SOA:
			if rr.Serial == serial {
				soas++
			}
		case *dns.TXT:
			n.texts += len(strings.Join(rr.Txt, ""))
		}
	}
	return soas
}

// opening returns the SOA that an incremental answer begins with.
func opening(m *dns.Msg) (*dns.SOA, error) {
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) < 2 {
		return nil, errors.New(dns.RcodeToString[m.Rcode])
	}
	soa, ok := m.Answer[0].(*dns.SOA)
	if _, second := m.Answer[1].(*dns.SOA); !ok || !second {
		return nil, errors.New("it sends the whole zone")
	}
	return soa, nil
}

// bindIncremental has BIND serve one file and then the other, and asks it for the
// difference.
func (b *bench) bindIncremental(ctx context.Context, name string, files [2]string, serial uint32) (n answered, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return n, err
	}
	dir := b.path(name)
	config, file := filepath.Join(dir, "conf"), filepath.Join(dir, "zone")
	text := fmt.Sprintf(`options { directory %q; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
recursion no; notify no; dnssec-validation no; ixfr-from-differences yes; max-journal-size 512M; max-ixfr-ratio unlimited; };
controls { };
zone %q { type primary; file %q; allow-transfer { 127.0.0.1; }; };
`, dir, port, zone, file)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(config, []byte(text), 0o600), os.WriteFile(file, []byte(files[0]), 0o600)); err != nil {
		return n, err
	}
	program := filepath.Join(dir, "named") // AppArmor may keep the installed one from our folder
	if out, err := exec.CommandContext(ctx, "cp", "/usr/sbin/named", program).CombinedOutput(); err != nil {
		return n, fmt.Errorf("cp: %w: %s", err, out)
	}
	s, _, err := start(ctx, port, program, "-f", "-n", "1", "-c", config)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := errors.Join(os.WriteFile(file+".new", []byte(files[1]), 0o600), os.Rename(file+".new", file)); err != nil {
		return n, err
	}
	if err := s.cmd.Process.Signal(reread); err != nil {
		return n, err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now, err := serialOf(ctx, s.addr()); err == nil && now != serial {
			return incremental(ctx, s.addr(), serial)
		}
	}
	return n, errors.New("it does not take the new file")
}
