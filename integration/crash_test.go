package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/ops/control"
)

// stormy lists after so many bounces that listings begin all through the
// rounds, and opens the benchmarking space (RFC 2544) for the operator's orders.
const stormy = loopback + `
intake: {smtp: {listen: "127.0.0.1:0"}}
traps: [{domain: trap.example}]
policy: {profile: solo, score: 20, originals: 20, recipients: 0, span: 0s, listable: [192.0.2.0/24, 198.18.0.0/15]}
`

const (
	crashes     = 12 // under BACKSCATTER_TORTURE 50, that many times
	sources     = 40
	smtpSenders = 8 // the trap takes 16 connections of one client
	apiSenders  = 3
	operators   = 2
	longestLife = 120 * time.Millisecond // of a daemon, from its first report
)

// factor is how many times as long a test is to torture the program.
func factor(t *testing.T) int {
	t.Helper()
	text := os.Getenv("BACKSCATTER_TORTURE")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("BACKSCATTER_TORTURE is %q: want a number from 1", text)
	}
	return n
}

// seedOf returns the seed of a test, which BACKSCATTER_SEED repeats as far as
// chance allows: the kernel schedules as it likes.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("BACKSCATTER_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("BACKSCATTER_SEED: %v", err)
		}
	}
	t.Logf("seed %d; repeat it with BACKSCATTER_SEED=%[1]d", seed)
	return seed
}

// TestCrashes kills the daemon again and again in the middle of its work, which
// is all that writes to its store, and finds everything afterwards that it had
// acknowledged, nothing by half, and a store with which nothing is wrong.
func TestCrashes(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	stores, rounds := 1, crashes
	if os.Getenv("BACKSCATTER_TORTURE") != "" {
		stores, rounds = factor(t), 50
	}
	for n := range stores {
		t.Run(fmt.Sprint(n), func(t *testing.T) { crash(t, seed+uint64(n), rounds) })
	}
	t.Logf("torture: kill -9: %d rounds, of %d stores", stores*rounds, stores)
}

// crash kills the daemon of one store.
func crash(t *testing.T, seed uint64, rounds int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, stormy)
	l := newLedger(t)
	strayed := 0
	for round := range rounds {
		if rng.IntN(4) == 0 { // it may crash before it is ready, too
			early := s.launch()
			<-time.After(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
			early.kill()
		}
		s.wantWhole()
		d := s.start()
		strayed += l.check(d)
		l.resend(d)
		storm := newStorm(d, seed, round)
		storm.rage(time.Duration(rng.Int64N(int64(longestLife))))
		l.take(storm)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	s.wantWhole()
	d := s.start()
	strayed += l.check(d)
	l.resend(d)
	d.stop()
	d = s.start() // and once more after an orderly stop
	l.check(d)
	l.checkDuplicates(d, rng)
	l.checkAudit(d, 0)
	for _, a := range l.affairs {
		l.checkAffair(d, a)
	}
	d.stop()
	s.wantWhole()
	t.Logf("%d rounds; acknowledged in storms: %d reports, and of operators' orders %v; %d reports were stored, but the daemon died before it could say so",
		rounds, l.ackedReports, l.ackedDeeds, strayed)
	if l.ackedReports < 5*rounds || len(l.ackedDeeds) == 0 {
		t.Error("the storms are too weak to prove anything")
	}
}

// wantWhole wants nothing to be wrong with the store of a daemon that has ended,
// if it has made one.
func (s *site) wantWhole() {
	s.t.Helper()
	path := filepath.Join(s.state, "backscatter.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	s.must("verify", path)
}

// handed is one thing that was handed in, and whether that was acknowledged.
type handed struct {
	message
	acked bool
}

// storm is many clients that work on one daemon until it dies under them.
type storm struct {
	*daemon
	seed   uint64
	round  int
	begun  chan struct{} // closed when the first report was acknowledged
	first  sync.Once
	ending atomic.Bool // the daemon is being killed: whatever fails from now on may

	mu      sync.Mutex // guards what follows
	reports []handed
	affairs []*affair
	serial  uint32 // the newest that DNS told
}

func newStorm(d *daemon, seed uint64, round int) *storm {
	return &storm{daemon: d, seed: seed, round: round, begun: make(chan struct{})}
}

// rage sends until some time after the first acknowledgement, kills the daemon,
// and waits for all who sent.
func (s *storm) rage(life time.Duration) {
	t := s.site.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var senders sync.WaitGroup
	send := func(id uint64, work func(context.Context, *rand.Rand) error) {
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(s.seed, uint64(s.round)<<8|id))
			for {
				if err := work(ctx, rng); err == nil {
					continue
				} else if !s.ending.Load() {
					t.Errorf("a sender fails before the daemon is killed: %v", err)
				}
				return
			}
		})
	}
	for n := range smtpSenders {
		send(uint64(n), s.sendSMTP)
	}
	for n := range apiSenders {
		send(uint64(100+n), s.sendAPI)
	}
	send(200, s.sendCommand)
	send(201, s.askDNS)
	for n := range operators {
		send(uint64(300+n), s.conduct)
	}
	select {
	case <-s.begun:
		<-time.After(life)
	case <-ctx.Done():
		t.Error("no report was acknowledged")
	}
	s.ending.Store(true)
	s.kill()
	senders.Wait()
}

// handedIn notes what became of a report.
func (s *storm) handedIn(m message, acked bool) {
	if acked {
		s.first.Do(func() { close(s.begun) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, handed{m, acked})
}

func randomSource(rng *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + rng.IntN(sources))})
}

// sendSMTP sends some messages in one session.
func (s *storm) sendSMTP(ctx context.Context, rng *rand.Rand) error {
	c, err := dialSMTP(ctx, s.smtp)
	if err != nil {
		return err
	}
	defer c.Close()
	for range 1 + rng.IntN(40) {
		m := newMessage("bounce", randomSource(rng))
		err := c.send(m.rcpt, m.text())
		s.handedIn(m, err == nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// sendAPI hands one message in as `report` does.
func (s *storm) sendAPI(ctx context.Context, rng *rand.Rand) error {
	m := newMessage("bounce", randomSource(rng))
	finding, err := s.client.Report(ctx, control.ReportRequest{}, []byte(m.text()))
	s.handedIn(m, err == nil && finding.Verdict == "proven")
	if err == nil && finding.Verdict != "proven" {
		err = fmt.Errorf("verdict %s: %s", finding.Verdict, finding.Reason)
	}
	return err
}

// sendCommand runs `report` on a folder of messages.
func (s *storm) sendCommand(_ context.Context, rng *rand.Rand) error {
	dir, err := os.MkdirTemp(s.site.dir, "mail-")
	if err != nil {
		return err
	}
	byPath := map[string]message{}
	for range 16 {
		m := newMessage("bounce", randomSource(rng))
		path := filepath.Join(dir, m.id+".eml")
		if err := os.WriteFile(path, []byte(m.text()), 0o600); err != nil {
			return err
		}
		byPath[path] = m
	}
	out, err := exec.Command(s.site.program, "report", "--json", "--config", s.site.config, dir).Output()
	for line := range strings.Lines(string(out)) {
		var finding struct{ Path, Verdict string }
		if err := json.Unmarshal([]byte(line), &finding); err != nil {
			return fmt.Errorf("report prints %q: %w", line, err)
		}
		s.handedIn(byPath[finding.Path], finding.Verdict == "proven")
		delete(byPath, finding.Path)
	}
	for _, m := range byPath {
		s.handedIn(m, false)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != 75 {
		s.site.t.Errorf("report ends with exit code %d: %s", exit.ExitCode(), exit.Stderr)
	}
	return err
}

// askDNS notes how far the world has seen the zone move.
func (s *storm) askDNS(ctx context.Context, _ *rand.Rand) error {
	q := new(dns.Msg).SetQuestion("bl.example.", dns.TypeSOA)
	reply, _, err := (&dns.Client{Timeout: 100 * time.Millisecond}).ExchangeContext(ctx, q, s.dns)
	if lost, ok := errors.AsType[net.Error](err); ok && lost.Timeout() {
		return nil // the daemon may have died with the question in its hands; the next is refused
	}
	if err != nil {
		return err
	}
	if len(reply.Answer) == 1 {
		if soa, ok := reply.Answer[0].(*dns.SOA); ok {
			s.mu.Lock()
			s.serial = soa.Serial
			s.mu.Unlock()
		}
	}
	return nil
}
