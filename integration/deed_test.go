package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"backscatter/ops/control"
)

// deed is one order of an operator, told by its reason: it is in the audit once,
// and then all that it does is to be seen, or it is not, and nothing is.
type deed struct {
	reason string
	acked  bool
}

// affair is what an operator does about some addresses, or a reporter, that
// nobody else has to do with: deeds, one after the other.
type affair struct {
	kind  string
	first netip.Addr // of its addresses
	size  int
	until time.Time // of its listings; zero: permanent
	deeds []deed
	// look compares what is to be seen with what the last of its deeds leaves
	// that were done, by its place among them; -1 is none.
	look func(ctx context.Context, d *daemon, last int) error
}

// affairs are the kinds, each with what does them.
var affairs = map[string]func(*storm, context.Context, *affair) error{
	"list":   (*storm).listOne,
	"delist": (*storm).delistOne,
	"hold":   (*storm).delistOne,
	"exempt": (*storm).exemptOne,
	"import": (*storm).importSome,
	"revoke": (*storm).revokeOne,
	"expire": (*storm).listBriefly,
	"report": (*storm).suspendReporter,
}

var affairsBegun atomic.Uint32 // ever by this process

const affairSize = 4 // addresses of each

// conduct does one affair as far as the daemon lives.
func (s *storm) conduct(ctx context.Context, rng *rand.Rand) error {
	kinds := []string{"list", "delist", "hold", "exempt", "import", "revoke", "expire", "report"}
	kind := kinds[rng.IntN(len(kinds))]
	n := affairsBegun.Add(1) * affairSize
	a := &affair{kind: kind, first: netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)}), size: 1}
	err := affairs[kind](s, ctx, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.affairs = append(s.affairs, a)
	return err
}

// order does one deed of an affair.
func (s *storm) order(a *affair, what string, do func(control.Order) error) error {
	reason := fmt.Sprintf("%s %s: %s.", a.kind, a.first, what)
	err := do(control.Order{Reason: reason})
	a.deeds = append(a.deeds, deed{reason, err == nil})
	return err
}

func (a *affair) addrs() (all []netip.Addr) {
	for addr := a.first; len(all) < a.size; addr = addr.Next() {
		all = append(all, addr)
	}
	return all
}

func (s *storm) list(ctx context.Context, a *affair) error {
	var text strings.Builder
	for _, addr := range a.addrs() {
		fmt.Fprintln(&text, addr)
	}
	return s.order(a, "list", func(o control.Order) error {
		_, err := s.client.Import(ctx, control.ImportRequest{Order: o, Format: "txt", Until: a.until}, strings.NewReader(text.String()))
		return err
	})
}

func (s *storm) listOne(ctx context.Context, a *affair) error {
	a.look = a.wantListed
	return s.list(ctx, a)
}

// importSome lists some at once: all are, or none is.
func (s *storm) importSome(ctx context.Context, a *affair) error {
	a.size, a.look = affairSize, a.wantListed
	return s.list(ctx, a)
}

// wantListed wants all addresses listed by the last deed, or none.
func (a *affair) wantListed(ctx context.Context, d *daemon, last int) error {
	for _, addr := range a.addrs() {
		x, err := d.client.Show(ctx, addr.String(), false)
		if err != nil {
			return err
		}
		if x.Listed != (last >= 0) || x.Listed && x.Reason != a.deeds[last].reason {
			return fmt.Errorf("%s: listed is %t, with the reason %q", addr, x.Listed, x.Reason)
		}
	}
	return nil
}

func (s *storm) delistOne(ctx context.Context, a *affair) error {
	hold := time.Duration(0)
	if a.kind == "hold" {
		hold = 24 * time.Hour
	}
	a.look = func(ctx context.Context, d *daemon, last int) error {
		if last < 1 {
			return a.wantListed(ctx, d, last)
		}
		x, err := d.client.Show(ctx, a.first.String(), false)
		if err != nil {
			return err
		}
		if x.Listed || x.HoldUntil.IsZero() != (hold == 0) || len(x.History) != 1 || x.History[0].Why != a.deeds[last].reason {
			return fmt.Errorf("listed is %t, held until %s, before it was %+v", x.Listed, x.HoldUntil, x.History)
		}
		return nil
	}
	if err := s.list(ctx, a); err != nil {
		return err
	}
	return s.order(a, "delist", func(o control.Order) error {
		r := control.DelistRequest{Order: o, Hold: control.Duration(hold)}
		x, err := s.client.Show(ctx, a.first.String(), false)
		if err == nil {
			r.Keys = append(r.Keys, x.Key)
			_, err = s.client.Delist(ctx, r)
		}
		return err
	})
}

func (s *storm) exemptOne(ctx context.Context, a *affair) error {
	a.look = func(ctx context.Context, d *daemon, last int) error {
		if last < 1 {
			return a.wantListed(ctx, d, last)
		}
		x, err := d.client.Show(ctx, a.first.String(), false)
		if err != nil {
			return err
		}
		if x.Listed || x.Exempt == nil || x.Exempt.Reason != a.deeds[last].reason {
			return fmt.Errorf("listed is %t, and the exemption %+v", x.Listed, x.Exempt)
		}
		return nil
	}
	if err := s.list(ctx, a); err != nil {
		return err
	}
	return s.order(a, "exempt", func(o control.Order) error {
		r := control.ExemptRequest{Order: o}
		r.Exemptions = slices.Grow(r.Exemptions, 1)[:1]
		r.Exemptions[0].Prefix = netip.PrefixFrom(a.first, a.first.BitLen())
		_, err := s.client.Exempt(ctx, r)
		return err
	})
}

// revokeOne withdraws a report that it made itself. Its first deed is no order,
// and not in the audit: what revokes tells that it was there.
func (s *storm) revokeOne(ctx context.Context, a *affair) error {
	a.look = func(ctx context.Context, d *daemon, last int) error {
		x, err := d.client.Show(ctx, a.first.String(), false)
		if err != nil {
			return err
		}
		if last >= 0 && (len(x.Events) != 1 || x.Events[0].Revoked == 0) || last < 0 && len(x.Events) == 1 && x.Events[0].Revoked != 0 {
			return fmt.Errorf("revoked is %t, and the events are %+v", last >= 0, x.Events)
		}
		return nil
	}
	m := newMessage("bounce", a.first)
	if _, err := s.client.Report(ctx, control.ReportRequest{}, []byte(m.text())); err != nil {
		return err
	}
	x, err := s.client.Show(ctx, a.first.String(), false)
	if err != nil {
		return err
	}
	if len(x.Events) != 1 {
		return fmt.Errorf("%s has %d events, and one was acknowledged", a.first, len(x.Events))
	}
	return s.order(a, "revoke", func(o control.Order) error {
		r := control.RevokeRequest{Order: o}
		r.Event = x.Events[0].ID
		_, err := s.client.Revoke(ctx, r)
		return err
	})
}

// listBriefly lists for a moment: never shorter, and not much longer.
func (s *storm) listBriefly(ctx context.Context, a *affair) error {
	a.until = time.Now().Truncate(time.Second).Add(2 * time.Second)
	a.look = func(ctx context.Context, d *daemon, last int) error {
		for {
			x, err := d.client.Show(ctx, a.first.String(), false)
			if err != nil {
				return err
			}
			switch early := time.Now().Before(a.until); {
			case last < 0 && !x.Listed, last >= 0 && early && x.Listed, last >= 0 && !early && !x.Listed:
				return nil
			case last >= 0 && !early: // the writer has to wake up
				select {
				case <-ctx.Done():
					return errors.New("it should have ended")
				case <-time.After(20 * time.Millisecond):
				}
			default:
				return fmt.Errorf("listed is %t, to end at %s", x.Listed, a.until)
			}
		}
	}
	return s.list(ctx, a)
}

// suspendReporter enrols a reporter, suspends it and takes it back.
func (s *storm) suspendReporter(ctx context.Context, a *affair) error {
	name := fmt.Sprintf("r%x", a.first.As4())
	a.look = func(ctx context.Context, d *daemon, last int) error {
		page, err := d.client.Reporters(ctx)
		if err != nil {
			return err
		}
		enrolled, suspended := false, false
		for _, r := range page.Reporters {
			if r.Name == name {
				enrolled, suspended = true, !r.Suspended.IsZero()
			}
		}
		if enrolled != (last >= 0) || suspended != (last == 1) {
			return fmt.Errorf("reporter %s: enrolled is %t, and suspended %t", name, enrolled, suspended)
		}
		return nil
	}
	for _, action := range []string{"enrol", "suspend", "reinstate"} {
		err := s.order(a, action, func(o control.Order) error {
			r := control.ReporterRequest{Order: o, Name: name}
			if action == "enrol" {
				r.Organisation, r.Weight = name, 1
			}
			_, err := s.client.Reporter(ctx, action, r)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkAffair wants each deed that was acknowledged to be in the audit, none
// twice, and to be seen what the last of them leaves.
func (l *ledger) checkAffair(d *daemon, a *affair) {
	l.t.Helper()
	last := -1
	for i, one := range a.deeds {
		n := l.reasons[one.reason]
		if n > 1 || one.acked && n == 0 {
			l.t.Errorf("%q, acknowledged %t, is %d times in the audit", one.reason, one.acked, n)
		}
		if n > 0 {
			last = i
		}
	}
	if a.look == nil {
		return
	}
	if err := a.look(within(l.t), d, last); err != nil {
		l.t.Errorf("after %+v, of which the audit has %d: %v", a.deeds, last+1, err)
	}
}
