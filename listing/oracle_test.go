package listing_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

const (
	modelWindow = 7 * 24 * time.Hour
	modelSteps  = 150
)

// model is the store as plain maps, without cleverness: it looks at everything
// each time. It knows the addresses 192.0.2.0 to .15 alone.
type model struct {
	now     time.Time
	hosts   map[netip.Prefix]*modelKey
	exempt  map[netip.Prefix]time.Time // zero: for ever
	seen    map[int]bool
	source  map[int]netip.Prefix
	mirror  map[netip.Prefix]listing.Entry // what a secondary has, from the journal alone
	through uint64
	behind  []listing.Entry // what another secondary has, who asks now and then what differs
	asked   uint64

	pasts     []past // the last of each moment
	sequences []past // all
}

type modelKey struct {
	manual, evidence *time.Time // until; zero: permanent
	from, hold       time.Time
	expired          time.Time
	received         []modelEvent
}

type modelEvent struct {
	n       int
	at      time.Time
	revoked bool
}

func (m *model) key(p netip.Prefix) *modelKey {
	if m.hosts[p] == nil {
		m.hosts[p] = &modelKey{}
	}
	return m.hosts[p]
}

func contains(wide, p netip.Prefix) bool { return wide.Bits() <= p.Bits() && wide.Contains(p.Addr()) }

func (m *model) isExempt(p netip.Prefix) bool {
	for x := range m.exempt {
		if contains(x, p) {
			return true
		}
	}
	return false
}

// advance lets time pass, event by event.
func (m *model) advance(to time.Time) {
	for {
		next := to.Add(time.Second)
		consider := func(t time.Time) {
			if !t.IsZero() && t.Before(next) {
				next = t
			}
		}
		for _, k := range m.hosts {
			consider(k.hold)
			if k.manual != nil {
				consider(*k.manual)
			}
			if k.evidence != nil {
				consider(*k.evidence)
			}
		}
		for _, until := range m.exempt {
			consider(until)
		}
		if next.After(to) {
			m.now = to
			return
		}
		m.now = next
		over := func(t time.Time) bool { return !t.IsZero() && !t.After(next) }
		for p, until := range m.exempt {
			if over(until) {
				delete(m.exempt, p)
			}
		}
		for p, k := range m.hosts {
			if k.manual != nil && over(*k.manual) {
				k.manual = nil
			}
			if k.evidence != nil && over(*k.evidence) {
				k.evidence, k.expired = nil, next
			}
			if over(k.hold) {
				k.hold = time.Time{}
				m.decide(p, k)
			}
		}
	}
}

func (m *model) decide(p netip.Prefix, k *modelKey) {
	var last time.Time
	for _, e := range k.received {
		if !e.revoked && e.at.After(k.from) && m.now.Sub(e.at) <= modelWindow && e.at.After(last) {
			last = e.at
		}
	}
	until := last.Add(modelWindow)
	switch {
	case last.IsZero() || !until.After(m.now) || m.isExempt(p):
	case k.evidence != nil:
		if until.After(*k.evidence) {
			k.evidence = &until
		}
	case !m.now.Before(k.hold) && last.After(k.expired):
		k.evidence = &until
	}
}

func (m *model) answers(addr netip.Addr) bool {
	host := netip.PrefixFrom(addr, 32)
	if m.isExempt(host) {
		return false
	}
	for p, k := range m.hosts {
		if p.Contains(addr) && (k.manual != nil || k.evidence != nil) {
			return true
		}
	}
	return false
}

// play does one random thing to both, and says what.
func (m *model) play(t *testing.T, s *running, r *rand.Rand, n int) string {
	t.Helper()
	host := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(16))}), 32)
	wide := netip.PrefixFrom(host.Addr(), 28+r.IntN(5)).Masked()
	until := time.Time{}
	if r.IntN(3) > 0 {
		until = m.now.Add(time.Duration(1+r.IntN(14*24)) * time.Hour)
	}
	k, err := listing.PrefixKey(wide)
	if err != nil {
		t.Fatal(err)
	}
	switch r.IntN(9) {
	case 8:
		return m.revoke(t, s, r)
	case 0:
		return fmt.Sprintf("list %s until %s: %t", wide, until, m.list(t, s, k, until))
	case 1:
		hold := time.Duration(r.IntN(3)) * 24 * time.Hour
		_, err := s.Delist(t.Context(), operator, []listing.Key{k}, hold)
		mk := m.key(wide)
		listed := mk.manual != nil || mk.evidence != nil
		if (err == nil) != (listed || hold > 0) {
			t.Fatalf("delist %s, listed %t: %v", wide, listed, err)
		}
		if err == nil {
			mk.manual, mk.evidence, mk.from = nil, nil, m.now
			if hold > 0 {
				mk.hold = m.now.Add(hold)
			}
		}
		return fmt.Sprintf("delist %s for %s", wide, hold)
	case 2:
		if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: wide, Until: until}}); err != nil {
			t.Fatal(err)
		}
		m.exempt[wide] = until
		return fmt.Sprintf("exempt %s until %s", wide, until)
	case 3:
		for p := range m.exempt {
			if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{p}); err != nil {
				t.Fatal(err)
			}
			delete(m.exempt, p)
			return fmt.Sprintf("unexempt %s", p)
		}
		return "nothing"
	case 4:
		d := time.Duration(r.IntN(4*24*3600)) * time.Second
		time.Sleep(d)
		synctest.Wait()
		m.advance(m.now.Add(d))
		return fmt.Sprintf("wait %s", d)
	default:
		if r.IntN(10) == 0 {
			n = r.IntN(n + 1) // perhaps once more
		}
		if before, ok := m.source[n]; ok {
			host = before // an identity is of one source
		}
		at := m.now.Add(-time.Duration(r.IntN(8*24*3600)) * time.Second)
		out := s.observe(bounce(n, host.Addr().String(), at))
		stale := m.now.Sub(at) > modelWindow
		if out.Duplicate != m.seen[n] || !m.seen[n] && out.Stale != stale || out.Exempt != (!m.seen[n] && !stale && m.isExempt(host)) {
			t.Fatalf("observe %s %s: %+v", host, at, out)
		}
		if !m.seen[n] && !stale {
			m.seen[n], m.source[n] = true, host
			mk := m.key(host)
			mk.received = append(mk.received, modelEvent{n: n, at: at})
			if !m.isExempt(host) {
				m.decide(host, mk)
			}
		}
		return fmt.Sprintf("observe %s at %s", host, at)
	}
}

// revoke withdraws one event, or all from a time on. A listing that is left
// nothing to stand on ends; another ends no later than it would have.
func (m *model) revoke(t *testing.T, s *running, r *rand.Rand) string {
	t.Helper()
	v := listing.Revocation{Event: id(r.IntN(modelSteps))}
	if r.IntN(4) == 0 {
		v = listing.Revocation{Since: m.now.Add(-time.Duration(r.IntN(3*24*3600)) * time.Second)}
	}
	withdrawn, ended := 0, 0
	for _, k := range m.hosts {
		touched := false
		for i := range k.received {
			e := &k.received[i]
			if !e.revoked && (v.Event == id(e.n) || v.Event.IsZero() && !e.at.Before(v.Since)) {
				e.revoked = true
				withdrawn++
				touched = touched || e.at.After(k.from)
			}
		}
		if !touched || k.evidence == nil {
			continue
		}
		if until := k.replay(); !until.After(m.now) {
			k.evidence = nil
			ended++
		} else if until.Before(*k.evidence) {
			k.evidence = &until
		}
	}
	got, err := s.Revoke(t.Context(), operator, v)
	if (err == nil) != (withdrawn > 0) || got.Observations != withdrawn || got.Ended != ended {
		t.Fatalf("revoke %+v: %+v %v, want %d withdrawn and %d ended", v, got, err, withdrawn, ended)
	}
	return fmt.Sprintf("revoke %+v: %d, %d", v, withdrawn, ended)
}

// replay returns until when what is left would list the key.
func (k *modelKey) replay() (until time.Time) {
	left := slices.DeleteFunc(slices.Clone(k.received), func(e modelEvent) bool { return e.revoked || !e.at.After(k.from) })
	slices.SortFunc(left, func(a, b modelEvent) int { return a.at.Compare(b.at) })
	for _, e := range left {
		if e.at.Before(until) || e.at.After(k.expired) {
			until = e.at.Add(modelWindow)
		}
	}
	return until
}

func (m *model) list(t *testing.T, s *running, k listing.Key, until time.Time) bool {
	t.Helper()
	p := k.Prefix()
	allowed := !m.isExempt(p)
	for q, other := range m.hosts {
		if q != p && other.manual != nil && q.Overlaps(p) {
			allowed = false
		}
	}
	if _, err := s.List(t.Context(), operator, []listing.Manual{{Key: k, Until: until}}); (err == nil) != allowed {
		t.Fatalf("list %s, allowed %t: %v", k, allowed, err)
	}
	if allowed {
		m.key(p).manual = &until
	}
	return allowed
}

// check compares everything that can be seen.
func (m *model) check(t *testing.T, s *running) {
	t.Helper()
	snap := s.Snapshot()
	for n := range 16 {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		if _, got := snap.Lookup(addr); got != m.answers(addr) {
			t.Fatalf("%s is answered %t, want %t", addr, got, m.answers(addr))
		}
	}
	changes, err := collected(s.Journal(m.through))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		for _, e := range c.Removed {
			if m.mirror[e.Prefix] != e {
				t.Fatalf("journal %d removes %+v, there is %+v", c.Sequence, e, m.mirror[e.Prefix])
			}
			delete(m.mirror, e.Prefix)
		}
		for _, e := range c.Added {
			if old, ok := m.mirror[e.Prefix]; ok {
				t.Fatalf("journal %d adds %+v, there is %+v", c.Sequence, e, old)
			}
			m.mirror[e.Prefix] = e
		}
		m.through = c.Sequence
	}
	all := slices.Collect(snap.All())
	if m.through%7 == 0 && m.through > m.asked {
		d, err := s.Since(m.asked)
		if err != nil {
			t.Fatal(err)
		}
		removed, added := listing.Diff(m.behind, all)
		if !slices.Equal(d.Removed, removed) || !slices.Equal(d.Added, added) || d.To != m.through {
			t.Fatalf("since %d: %+v, want %+v away and %+v new", m.asked, d, removed, added)
		}
		m.behind, m.asked = all, m.through
	}
	if m.through != snap.Sequence() || len(all) != len(m.mirror) {
		t.Fatalf("the journal makes %d entries at %d, published are %d at %d", len(m.mirror), m.through, len(all), snap.Sequence())
	}
	for _, e := range all {
		if m.mirror[e.Prefix] != e {
			t.Fatalf("published %+v, by the journal %+v", e, m.mirror[e.Prefix])
		}
	}
}

// Random orders, observations, waits, stops and crashes: the store and the
// model agree at every step.
func TestStoreAgainstModel(t *testing.T) {
	t.Parallel()
	settings := eager()
	settings.Policy.AgedTo = 1
	settings.Policy.LifetimeMax = settings.Policy.Lifetime
	seeds := uint64(long(t, 4))
	t.Cleanup(func() {
		t.Logf("torture: model: %d seeds of %d steps, half of them past the end of the serials; failed: %t", seeds, modelSteps, t.Failed())
	})
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				hindsight := rand.New(rand.NewPCG(seed, 2))
				s := open(t, filepath.Join(t.TempDir(), "listing.db"), settings)
				if seed%2 == 1 { // its serials are about to wrap
					s.stop()
					if err := listing.SetSequence(s.path, 1<<32-40); err != nil {
						t.Fatal(err)
					}
					s = open(t, s.path, settings)
				}
				m := &model{
					now: time.Now().UTC(), hosts: map[netip.Prefix]*modelKey{}, exempt: map[netip.Prefix]time.Time{},
					seen: map[int]bool{}, source: map[int]netip.Prefix{}, mirror: map[netip.Prefix]listing.Entry{}, through: s.Snapshot().Sequence(), asked: s.Snapshot().Sequence(),
				}
				var played []string
				t.Cleanup(func() {
					if t.Failed() {
						for i, what := range played {
							t.Log(i, what)
						}
					}
				})
				for n := range modelSteps {
					if r.IntN(20) == 0 {
						s.verify()
						s = s.reopen(settings)
						synctest.Wait()
						played = append(played, "reopen")
					}
					if r.IntN(50) == 0 {
						s.OnCompactStep(func(step string) error {
							if step == "ready" || step == "renamed" {
								return nil // the writer waits
							}
							for i := range r.IntN(6) {
								played = append(played, step+": "+m.play(t, s, r, modelSteps+10*n+i))
								m.remember(s)
							}
							return nil
						})
						if _, err := s.Compact(t.Context(), operator, func(int64, int64) {}); err != nil {
							t.Fatal(err)
						}
						played = append(played, "compacted")
						s.verify()
					}
					played = append(played, "…")
					played[len(played)-1] = m.play(t, s, r, n)
					m.check(t, s)
					m.remember(s)
					m.lookBack(t, s, hindsight)
					if n%8 == 0 {
						m.try(t, s)
					}
				}
				s.verify()
			})
		})
	}
}
