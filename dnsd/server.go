package dnsd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Options is what a [Server] is made of.
type Options struct {
	// Listen holds the addresses to serve, as host:port. The host is an IP
	// address; without one it means every address of both families. Port 0
	// takes any port that is free for UDP and TCP.
	Listen []string

	// Sockets are open sockets, for addresses of Listen, of somebody who keeps them
	// open when the server ends. They are used in place of new ones. One for an
	// address that is not in Listen is an error, unless they are Inherited from a
	// former server, which may have had other addresses: then nobody keeps them.
	Sockets   []*os.File
	Inherited bool

	// Zones and Snapshots return what is served now. They are called once for
	// each question, or batch of questions, from many goroutines, Snapshots first:
	// who changes both changes the zones first, and no new serial is told with old
	// settings.
	Zones     func() *zonefile.Set
	Snapshots func() *listing.Snapshot

	// Version and Hostname are told to CHAOS questions for version.bind and
	// hostname.bind. Empty ones are not told.
	Version  string
	Hostname string

	// Rules returns what holds now of who asks; nil: nothing. It is called as
	// often as Zones.
	Rules func() *Rules

	// Secondaries returns who may take zones, and with what requests are signed;
	// nil: nobody. It is called as often as Zones. Compare is the store's, for
	// incremental transfers; nil: whole ones are made in their place.
	Secondaries func() *Secondaries
	Compare     func(from, to uint64, most int) (listing.Comparison, error)

	Limits  Limits                // zero fields take the values of DefaultLimits
	Logger  *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil counts without showing
}

// Limits bounds what clients can take from a server.
type Limits struct {
	UDPWorkers   int           // goroutines that answer on one UDP address; on Linux each has a socket and a thread of its own
	TCPClients   int           // TCP connections in all; beyond it the idlest goes
	TCPPerClient int           // TCP connections of one IPv4 /24 or IPv6 /56; beyond it its idlest goes
	TCPPipeline  int           // answers that wait on one connection before no more questions are read
	TCPIdle      time.Duration // how long a connection may wait for the next question (RFC 7766 §6.2.3)
	TCPRead      time.Duration // how long one question may take to come in
	TCPWrite     time.Duration // how long a client may take to accept answers
	Drain        time.Duration // how long a stopping server answers what it has received

	Transfers     int           // transfers of zones at a time; beyond it they are put off
	TransferStall time.Duration // how long a secondary may accept nothing
	TransferRate  int           // octets a second that it must accept beyond that
}

// DefaultLimits returns the limits that serve a small machine well.
func DefaultLimits() Limits {
	return Limits{
		UDPWorkers:   runtime.GOMAXPROCS(0),
		TCPClients:   512,
		TCPPerClient: 64,
		TCPPipeline:  64,
		TCPIdle:      10 * time.Second,
		TCPRead:      2 * time.Second,
		TCPWrite:     5 * time.Second,
		Drain:        200 * time.Millisecond,

		Transfers:     16,
		TransferStall: 30 * time.Second,
		TransferRate:  16 << 10,
	}
}

// orDefault fills in what is not set.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	return Limits{
		UDPWorkers:   cmp.Or(l.UDPWorkers, d.UDPWorkers),
		TCPClients:   cmp.Or(l.TCPClients, d.TCPClients),
		TCPPerClient: cmp.Or(l.TCPPerClient, d.TCPPerClient),
		TCPPipeline:  cmp.Or(l.TCPPipeline, d.TCPPipeline),
		TCPIdle:      cmp.Or(l.TCPIdle, d.TCPIdle),
		TCPRead:      cmp.Or(l.TCPRead, d.TCPRead),
		TCPWrite:     cmp.Or(l.TCPWrite, d.TCPWrite),
		Drain:        cmp.Or(l.Drain, d.Drain),

		Transfers:     cmp.Or(l.Transfers, d.Transfers),
		TransferStall: cmp.Or(l.TransferStall, d.TransferStall),
		TransferRate:  cmp.Or(l.TransferRate, d.TransferRate),
	}
}

// Server answers DNS questions on its own sockets. Its life is New, Listen,
// Serve, once each; Close is for a server that never came to Serve.
type Server struct {
	options Options
	limits  Limits
	log     *slog.Logger
	metrics *metrics
	loud    rate.Sometimes        // one packet in a loop must not fill the disk
	alarm   rate.Sometimes        // the same for panics, which no lesser trouble may hide
	watch   atomic.Pointer[watch] // who looks at what is asked; nil: nobody
	streams [streams]stream       // samples of what is asked

	now       atomic.Int64 // coarse clock: unix seconds, moved by Serve
	endpoints []endpoint   // opened by Listen
	clients   *clients
	limiter   *limiter
	transfers *transfers
}

// errNotListening is what Serve returns before Listen.
var errNotListening = errors.New("serve dns: no address is bound")

// New returns a server. It opens nothing.
func New(o Options) *Server {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		options: o,
		limits:  o.Limits.orDefault(),
		log:     log,
		metrics: newMetrics(o.Metrics),
		loud:    rate.Sometimes{First: 1, Interval: time.Second},
		alarm:   rate.Sometimes{First: 1, Interval: time.Second},
		limiter: newLimiter(),
	}
	s.clients = newClients(s.limits, s.metrics)
	s.transfers = newTransfers(s.limits.Transfers, o.Metrics)
	samples := newSampleCounter(o.Metrics)
	for i := range s.streams {
		s.streams[i].setUp(streamNames[i], samples)
	}
	return s
}

// Listen binds every address, or none: then the error names the address and
// what to do about it.
func (s *Server) Listen() error {
	h, err := sortHeld(s.options.Sockets)
	if err != nil {
		return err
	}
	for _, listen := range s.options.Listen {
		var endpoints []endpoint
		if endpoints, err = bind(listen, s.limits.UDPWorkers, h); err != nil {
			break
		}
		s.endpoints = append(s.endpoints, endpoints...)
	}
	switch {
	case s.options.Inherited:
		for _, f := range s.options.Sockets {
			_ = f.Close() // copies are used
		}
	case err == nil:
		err = h.left()
	}
	if err != nil {
		s.Close()
		s.endpoints = nil
	}
	return err
}

// Addrs returns the addresses that are served over UDP. TCP has the same.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, 0, len(s.endpoints))
	for _, e := range s.endpoints {
		addrs = append(addrs, e.udp.LocalAddr())
	}
	return addrs
}

// Threads returns how many threads Serve keeps for itself, most of the time
// asleep in the kernel.
func (s *Server) Threads() int {
	n := 0
	for _, e := range s.endpoints {
		n += e.udp.workers(s.limits.UDPWorkers)
	}
	return n
}

// Close closes the sockets at once. It is not needed after Serve.
func (s *Server) Close() {
	for _, e := range s.endpoints {
		e.close()
	}
	for i := range s.streams {
		s.streams[i].close()
	}
}

// Serve answers until ctx ends, then goes on for Limits.Drain with what was
// received, and returns nil. It returns an error when a socket breaks. All
// goroutines have ended when it returns.
func (s *Server) Serve(ctx context.Context) error {
	if len(s.endpoints) == 0 {
		return errNotListening
	}
	defer s.Close()
	defer s.runStreams(ctx)() // until nobody answers any more
	s.tick(time.Now())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.runClock(ctx) })
	var tcp sync.WaitGroup
	tcp.Add(len(s.endpoints))
	g.Go(func() error { return s.drain(ctx, &tcp) })
	for _, e := range s.endpoints {
		for socket := range e.udp.workers(s.limits.UDPWorkers) {
			w := s.worker(e.family)
			w.local = e.udp.LocalAddr().AddrPort()
			g.Go(func() error { return e.udp.serve(ctx, socket, w) })
		}
		counts := s.metrics.tally(TCP, e.family)
		g.Go(func() error {
			defer tcp.Done()
			return s.serveTCP(ctx, e.tcp, counts)
		})
	}
	return g.Wait()
}

// drain waits for the end of ctx. Then new connections are refused soon, and what
// has arrived before is answered. UDP is the last to end: where somebody goes on
// with its sockets, questions wait in them for as short as can be.
func (s *Server) drain(ctx context.Context, tcp *sync.WaitGroup) error {
	<-ctx.Done()
	for _, e := range s.endpoints {
		_ = e.tcp.SetDeadline(time.Now()) // an error means that it is closed
	}
	s.clients.stop(time.Now().Add(s.limits.Drain))
	tcp.Wait()
	for _, e := range s.endpoints {
		e.udp.stop(time.Now().Add(s.limits.Drain))
	}
	return nil
}

func (s *Server) tick(now time.Time) { s.now.Store(now.Unix()) }

// runClock moves the coarse clock.
func (s *Server) runClock(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.tick(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// handle answers one packet that came over TCP, come what may: a panic costs this
// packet alone. A transfer is not made yet, but told.
func (s *Server) handle(dst, packet []byte, cl *client, counts *tally) (out []byte, t *transfer) {
	defer func() {
		if p := recover(); p != nil {
			out, t = s.rescue(dst, packet, TCP, counts, p), nil
		}
	}()
	q, ok := parse(packet)
	if !ok {
		counts.count(Verdict{Kind: Dropped})
		return dst, nil
	}
	v := s.view()
	v.Client = cl.addr
	s.admit(&q, TCP, &v, nil)
	if t := v.transferOf(&q); t != nil {
		s.sampleTCP(packet, nil, cl, Verdict{Kind: Transfer, Type: q.qtype, Cookies: q.cookies})
		return dst, t
	}
	out, verdict := s.answer(dst, &q, TCP, counts, &v)
	s.sampleTCP(packet, out[len(dst):], cl, verdict)
	return out, nil
}

// admit finds out what the rules and the limits say of a question.
func (s *Server) admit(q *request, over Transport, v *View, a *account) {
	v.examine(q)
	s.limiter.weigh(q, over, v, a)
}

// view returns what is served now.
func (s *Server) view() View {
	snapshot := s.options.Snapshots() // before the zones: see Options
	var rules *Rules
	if s.options.Rules != nil {
		rules = s.options.Rules()
	}
	var secondaries *Secondaries
	if s.options.Secondaries != nil {
		secondaries = s.options.Secondaries()
	}
	return View{
		Secondaries: secondaries,

		Rules:    rules,
		Zones:    s.options.Zones(),
		Snapshot: snapshot,
		Version:  s.options.Version,
		Hostname: s.options.Hostname,
		Now:      time.Unix(s.now.Load(), 0),
	}
}

// answer takes the general path, and counts.
func (s *Server) answer(dst []byte, q *request, over Transport, counts *tally, v *View) ([]byte, Verdict) {
	out, verdict := v.respond(dst, q, over)
	if verdict.Err != nil {
		s.loud.Do(func() { s.log.Error("dns answer could not be made", "err", verdict.Err) })
	}
	counts.count(verdict)
	if verdict.Kind == Notified {
		v.hear()
	}
	if watch := s.watch.Load(); watch != nil {
		watch.see(q, v, verdict)
	}
	return out, verdict
}

// rescue answers SERVFAIL to a packet that made us panic.
func (s *Server) rescue(dst, packet []byte, over Transport, counts *tally, p any) (out []byte) {
	s.metrics.panics.Inc()
	stack := debug.Stack()
	s.alarm.Do(func() {
		s.log.Error("dns question caused a panic", "err", fmt.Sprint(p), "transport", over.String(), "stack", string(stack))
	})
	// If reading the packet is what panics, it will again, and gets no answer.
	defer func() {
		if recover() != nil {
			out = dst
		}
	}()
	q, ok := parse(packet)
	if !ok {
		return dst
	}
	r := failure(Failed, dns.RcodeServerFailure, noError)
	out, _, _ = r.append(dst, &q, q.room(over)) // without records it cannot fail
	counts.count(Verdict{Kind: Failed, Type: q.qtype, Rcode: dns.RcodeServerFailure})
	return out
}
