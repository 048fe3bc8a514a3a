package dnsd_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// listener is a secondary that notes what it is told, and answers with rcodes,
// the last of them for ever; -1 is no answer.
type listener struct {
	addr   netip.AddrPort
	rcodes []int

	mu   sync.Mutex // guards told
	told []uint32
}

func listen(t *testing.T, secrets map[string]string, rcodes ...int) *listener {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), rcodes: rcodes}
	server := &dns.Server{PacketConn: conn, TsigSecret: secrets, Handler: dns.HandlerFunc(l.handle)}
	// Without it a message that is no question is not handed on.
	server.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
	started, ended := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return l
}

func (l *listener) handle(w dns.ResponseWriter, m *dns.Msg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Opcode != dns.OpcodeNotify || !m.Authoritative || len(m.Question) != 1 || m.Question[0].Qtype != dns.TypeSOA || len(m.Answer) != 1 {
		return // and the test will wait in vain
	}
	l.told = append(l.told, m.Answer[0].(*dns.SOA).Serial)
	rcode := l.rcodes[0]
	if len(l.rcodes) > 1 {
		l.rcodes = l.rcodes[1:]
	}
	if rcode < 0 {
		return
	}
	r := new(dns.Msg).SetRcode(m, rcode)
	if sig := m.IsTsig(); sig != nil && w.TsigStatus() == nil {
		r.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, time.Now().Unix())
	}
	_ = w.WriteMsg(r)
}

func (l *listener) serials() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}

// notifying runs a notifier for bl.example, with a pace of milliseconds.
func notifying(t *testing.T, p *primary, reg prometheus.Registerer, targets ...dnsd.Target) *dnsd.Notifier {
	t.Helper()
	s, err := dnsd.NewSecondaries([]dnsd.Key{{Name: keyName, Algorithm: "hmac-sha256", Secret: []byte(secret)}},
		dnsd.Sharing{Zone: "bl.example.", Notify: targets})
	if err != nil {
		t.Fatal(err)
	}
	n := dnsd.NewNotifier(dnsd.NotifierOptions{
		Zones: func() *zonefile.Set { return p.zones }, Snapshots: p.current.Load, Secondaries: func() *dnsd.Secondaries { return s },
		Pause: 5 * time.Millisecond, Timeout: patience, Metrics: reg,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n
}

func (p *primary) move() uint32 {
	former := p.current.Load()
	p.publish(former.Next(listing.Next{Sequence: former.Sequence() + 1, Time: former.Time().Add(time.Second)}))
	former.Supersede()
	return p.current.Load().Serial()
}

// until polls a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func still(serial uint32) *primary {
	p := &primary{former: map[uint64]*listing.Snapshot{}}
	p.publish(listing.NewSnapshot(listing.Build{Sequence: uint64(serial), Time: base}))
	return p
}

// Each secondary hears of the serial at the start and of each that comes to stay,
// signed where there is a key.
func TestNotify(t *testing.T) {
	t.Parallel()
	p := still(1000)
	p.zones = zones(t)
	open, keyed := listen(t, nil, dns.RcodeSuccess), listen(t, tsigSecrets, dns.RcodeSuccess)
	reg := prometheus.NewPedanticRegistry()
	n := notifying(t, p, reg, dnsd.Target{To: open.addr}, dnsd.Target{To: keyed.addr, Key: keyName, From: netip.MustParseAddr("127.0.0.1")})
	heard := func(serial uint32) func() bool {
		return func() bool {
			states := n.State()
			return len(states) == 2 && !slices.ContainsFunc(states, func(s dnsd.SecondaryState) bool {
				return s.Acknowledged != serial || s.Serial != serial || s.Err != nil || s.Heard.IsZero() || s.Zone != "bl.example."
			})
		}
	}
	until(t, "both have heard of the first", heard(1000))
	for range 3 {
		until(t, "both have heard of the next", heard(p.move()))
	}
	for range 300 {
		p.move()
	}
	until(t, "both have heard of the last", heard(1303))
	if got := len(open.serials()); got > 150 {
		t.Errorf("%d messages for 304 serials", got)
	}
	if got := tallied(t, reg, "backscatter_dns_notifies_total", map[string]string{"result": "acknowledged"}); got < 10 {
		t.Errorf("%v were counted", got)
	}
}

// tallied returns the value of a counter.
func tallied(t *testing.T, reg prometheus.Gatherer, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			same := f.GetName() == name && len(m.GetLabel()) == len(labels)
			for _, l := range m.GetLabel() {
				same = same && labels[l.GetName()] == l.GetValue()
			}
			if same {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// Who does not answer, or refuses, is told again, and at last left alone until
// there is a new serial.
func TestNotifyAgain(t *testing.T) {
	t.Parallel()
	p := still(1000)
	p.zones = zones(t)
	refusing := listen(t, nil, dns.RcodeRefused, dns.RcodeNotAuth, dns.RcodeSuccess)
	never := listen(t, nil, dns.RcodeRefused)
	stranger := listen(t, map[string]string{keyName: "b3RoZXI="}, dns.RcodeSuccess) // has another secret, and does not sign
	n := notifying(t, p, nil, dnsd.Target{To: refusing.addr}, dnsd.Target{To: never.addr}, dnsd.Target{To: stranger.addr, Key: keyName})
	until(t, "the first is acknowledged", func() bool {
		return slices.ContainsFunc(n.State(), func(s dnsd.SecondaryState) bool { return s.To == refusing.addr && s.Acknowledged == 1000 })
	})
	if got := refusing.serials(); !slices.Equal(got, []uint32{1000, 1000, 1000}) {
		t.Errorf("told %d", got)
	}
	until(t, "the second is given up", func() bool { return len(never.serials()) == 8 })
	p.move()
	until(t, "it is told of the next", func() bool { return slices.Contains(never.serials(), 1001) })
	for _, s := range n.State() {
		if s.To == stranger.addr && !s.Heard.IsZero() {
			t.Errorf("%+v: nobody has signed that", s)
		}
	}
}

// A stop waits for no answer.
func TestNotifyStops(t *testing.T) {
	t.Parallel()
	p := still(1000)
	p.zones = zones(t)
	silent := listen(t, nil, -1)
	notifying(t, p, nil, dnsd.Target{To: silent.addr})
	until(t, "it was told", func() bool { return len(silent.serials()) == 1 })
}
