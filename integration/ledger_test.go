package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"backscatter/ops/control"
)

// ledger is what a daemon must know, whatever happened to it: what was
// acknowledged, and nothing twice.
type ledger struct {
	t       *testing.T
	present map[netip.Addr][]message // stored, by source
	open    []handed                 // of the last storm, not checked yet
	unheard []message                // not acknowledged, to be sent again, stored or not
	affairs []*affair                // of operators, all
	recent  []*affair                // of the last storm
	reasons map[string]int           // in the audit
	serial  uint32                   // the newest that anybody saw
	audit   []string                 // entries, as read last

	elsewhere int // observations of affairs

	ackedReports int            // in storms
	ackedDeeds   map[string]int // likewise, by the kind of the affair
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{t: t, present: map[netip.Addr][]message{}, reasons: map[string]int{}, ackedDeeds: map[string]int{}}
}

// take takes over what was handed in during a storm.
func (l *ledger) take(s *storm) {
	l.open = append(l.open, s.reports...)
	l.affairs = append(l.affairs, s.affairs...)
	l.recent = s.affairs
	for _, h := range s.reports {
		if h.acked {
			l.ackedReports++
		}
	}
	for _, a := range s.affairs {
		for _, one := range a.deeds {
			if one.acked {
				l.ackedDeeds[a.kind]++
			}
		}
	}
	if s.serial != 0 {
		l.serial = s.serial
	}
}

// check wants everything to be there, and returns how many reports were stored
// without anybody having been told.
func (l *ledger) check(d *daemon) (strayed int) {
	l.t.Helper()
	l.checkAudit(d, len(l.audit))
	for _, a := range l.recent {
		l.checkAffair(d, a)
		if a.kind == "revoke" {
			x, err := d.client.Show(within(l.t), a.first.String(), false)
			if err != nil {
				l.t.Fatal(err)
			}
			l.elsewhere += x.Observations
		}
	}
	l.recent = nil
	strayed = l.checkReports(d)
	l.checkAnswers(d)
	return strayed
}

// checkReports looks for the reports of the last storm, each of them under its
// source, and counts all that came before.
func (l *ledger) checkReports(d *daemon) (strayed int) {
	l.t.Helper()
	bySource := map[netip.Addr][]handed{}
	for _, h := range l.open {
		bySource[h.source] = append(bySource[h.source], h)
	}
	l.open = nil
	total := 0
	for n := range sources {
		source := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n)})
		found, err := d.client.Show(within(l.t), source.String(), false)
		if err != nil {
			l.t.Fatal(err)
		}
		seen := map[string]int{} // Message-IDs of the newest events
		for _, e := range found.Events {
			if seen[e.Traces.MessageID]++; seen[e.Traces.MessageID] == 2 {
				l.t.Errorf("%s is stored twice", e.Traces.MessageID)
			}
		}
		for _, h := range bySource[source] {
			stored := seen[h.messageID()] > 0
			if stored {
				l.present[source] = append(l.present[source], h.message)
			}
			switch {
			case !h.acked:
				l.unheard = append(l.unheard, h.message)
				if stored {
					strayed++
				}
			case !stored:
				l.t.Errorf("%s was acknowledged and is gone", h.id)
			}
		}
		if want := len(l.present[source]); found.Observations != want {
			l.t.Errorf("%s has %d observations, want %d", source, found.Observations, want)
		}
		total += found.Observations
	}
	status, err := d.client.Status(within(l.t))
	if err != nil {
		l.t.Fatal(err)
	}
	if status.Store.Observations != uint64(total+l.elsewhere) {
		l.t.Errorf("the store tells of %d observations, and shows %d", status.Store.Observations, total+l.elsewhere)
	}
	return strayed
}

// resend hands in what nobody answered for, as a mail server would. It counts
// then, and once only: what the daemon had stored before it died is known.
func (l *ledger) resend(d *daemon) {
	l.t.Helper()
	var sessions sync.WaitGroup
	for all := range slices.Chunk(l.unheard, 1+len(l.unheard)/smtpSenders) {
		sessions.Go(func() {
			c, err := dialSMTP(within(l.t), d.smtp)
			if err != nil {
				l.t.Error(err)
				return
			}
			defer c.Close()
			for _, m := range all {
				if err := c.send(m.rcpt, m.text()); err != nil {
					l.t.Errorf("send %s again: %v", m.id, err)
					return
				}
			}
		})
	}
	sessions.Wait()
	for _, m := range l.unheard {
		if !slices.Contains(l.present[m.source], m) {
			l.open = append(l.open, handed{m, true})
		}
	}
	l.unheard = nil
}

// listed is a listing as the store has it.
type listed struct{ addr, code, reason string }

func (l *ledger) listings(d *daemon) (all []listed) {
	l.t.Helper()
	request := control.ListingsRequest{}
	for {
		page, err := d.client.Listings(within(l.t), request)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, one := range page.Listings {
			prefix := one.Key.Prefix()
			if !prefix.IsSingleIP() {
				l.t.Errorf("%s is listed", prefix)
			}
			if !one.Published { // it is exempt, or its end has just come
				continue
			}
			all = append(all, listed{prefix.Addr().String(), code[one.Class.String()], one.Reason})
		}
		if page.Next == nil {
			return all
		}
		request.After = *page.Next
	}
}

// checkAnswers wants DNS to answer what the store has, and no serial that is
// older than one that the world has seen. What ends between two questions is no
// fault: they are asked again.
func (l *ledger) checkAnswers(d *daemon) {
	l.t.Helper()
	asker := newAsker(l.t, "udp", d.dns)
	defer asker.conn.Close()
	eventually(l.t, "DNS answers what the store has", func(context.Context) error { return l.compareAnswers(d, asker) })
	serial := asker.serial(l.t, "bl.example")
	if int32(serial-l.serial) < 0 && l.serial != 0 {
		l.t.Errorf("serial %d, after %d was answered before the crash", serial, l.serial)
	}
	l.serial = serial
}

// mostAnswers bounds how many of the operators' listings are asked for at a time.
const mostAnswers = 200

func (l *ledger) compareAnswers(d *daemon, asker *asker) error {
	l.t.Helper()
	all := l.listings(d)
	codes := map[string]string{}
	for n, one := range all {
		if n < 2*mostAnswers || n >= len(all)-mostAnswers {
			codes[one.addr] = one.code
		}
	}
	for n := range 255 { // all sources, and others
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}).String()
		if _, ok := codes[addr]; !ok {
			codes[addr] = "NXDOMAIN"
		}
	}
	for addr, want := range codes {
		if got := asker.data(l.t, reversed(netip.MustParseAddr(addr))+".bl.example", dns.TypeA); got != want {
			return fmt.Errorf("%s is answered with %s, want %s", addr, got, want)
		}
	}
	status := asker.data(l.t, "_status.bl.example", dns.TypeTXT)
	if want := fmt.Sprintf("|entries=%d|", len(all)); !strings.Contains(status, want) {
		return fmt.Errorf("_status is %q, want %q in it", status, want)
	}
	return nil
}

// checkAudit reads the audit after the first entries, and wants it to go on
// from what was read before: no gap, nothing changed.
func (l *ledger) checkAudit(d *daemon, first int) {
	l.t.Helper()
	request := control.AuditRequest{After: uint64(first)}
	number, sequence := uint64(first), uint64(0)
	for {
		page, err := d.client.Audit(within(l.t), request)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, e := range page.Entries {
			if number++; e.Number != number || e.Sequence < sequence {
				l.t.Errorf("audit entry %d at sequence %d comes where %d should, after sequence %d", e.Number, e.Sequence, number, sequence)
			}
			sequence = e.Sequence
			text, err := json.Marshal(e)
			if err != nil {
				l.t.Fatal(err)
			}
			switch at := int(number) - 1; {
			case at >= len(l.audit):
				l.audit = append(l.audit, string(text))
				l.reasons[e.Reason]++
			case l.audit[at] != string(text):
				l.t.Errorf("audit entry %d was\n%s\nand is\n%s", number, l.audit[at], text)
			}
		}
		if page.Next == 0 {
			break
		}
		request.After = page.Next
	}
	if int(number) != len(l.audit) {
		l.t.Errorf("the audit ends at entry %d, and had %d", number, len(l.audit))
	}
}

// checkDuplicates hands some of the reports in again, which must change
// nothing.
func (l *ledger) checkDuplicates(d *daemon, rng *rand.Rand) {
	l.t.Helper()
	for _, stored := range l.present {
		m := stored[rng.IntN(len(stored))]
		finding, err := d.client.Report(within(l.t), control.ReportRequest{}, []byte(m.text()))
		if err != nil {
			l.t.Fatal(err)
		}
		if finding.Verdict != "unproven" || finding.Reason != "duplicate" {
			l.t.Errorf("%s handed in again: verdict %s (%s)", m.id, finding.Verdict, finding.Reason)
		}
	}
	l.checkReports(d)
}
