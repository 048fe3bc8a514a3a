package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/net/netutil"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
	"backscatter/ops/web"
	"backscatter/zonefile"
)

// MirrorOptions are what a mirror is made of.
type MirrorOptions struct {
	Config  *config.Config
	Load    func() (*config.Config, error) // reads the configuration anew, to tell at a reload that it has changed
	From    string                         // where the list comes from: a folder that something else copies it into, or primaries
	Version string
	Logger  *slog.Logger
}

// source keeps a copy of a list up to date, for a daemon that has no store.
type source interface {
	Run(ctx context.Context) error
	Begin(now time.Time) // before Run: gets what is at hand
	Look()               // has it looked for something newer soon
	Zones() *zonefile.Set
	Snapshot() *listing.Snapshot
	State() zonefile.FollowerState
}

// Mirror is a daemon that answers from what another has published. It has no
// store and takes nothing in; what answers is the same as in [Daemon].
type Mirror struct {
	Successor

	o       MirrorOptions
	log     *slog.Logger
	started time.Time
	source  source

	secondaries *dnsd.Secondaries // who may take the zone from us, and may tell us of a new one

	reloading sync.Mutex // held while the log of questions is opened anew

	dns      *dnsd.Server
	control  *control.Server
	controlL net.Listener
	web      *web.Server
	webL     net.Listener // nil when the web server is off
}

// NewMirror binds every socket. When anything fails, what was opened is closed
// again.
func NewMirror(o MirrorOptions) (_ *Mirror, err error) {
	if err := prepareState(o.Config.State); err != nil {
		return nil, err
	}
	m := &Mirror{Successor: newSuccessor(), o: o, log: o.Logger, started: time.Now()}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerBuildInfo(reg, o.Version)
	if m.secondaries, err = o.Config.Secondaries(); err != nil {
		return nil, err
	}
	if primaries, ok := Primaries(o.From); ok {
		m.source, err = m.copy(reg, primaries)
	} else {
		m.source, err = m.follow(reg)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	return m, m.bind(reg)
}

// follow returns the source that the options name.
func (m *Mirror) follow(reg prometheus.Registerer) (source, error) {
	if info, err := os.Stat(m.o.From); err != nil {
		return nil, fmt.Errorf("mirror: %w; make the folder, and have the list fetched into it, or write primaries as ADDRESS:PORT,…", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("mirror: %s is no folder", m.o.From)
	}
	key, err := m.o.Config.Mirror.PublicKey()
	if err != nil {
		return nil, err
	}
	var f *zonefile.Follower
	metrics := zonefile.NewFollowerMetrics(reg,
		func() zonefile.FollowerState { return f.State() }, func() *listing.Snapshot { return f.Snapshot() })
	f = zonefile.NewFollower(zonefile.FollowerOptions{
		Dir: m.o.From, Key: key, Every: m.o.Config.Mirror.Every, Memory: m.o.Config.State,
		Logger: m.log.With("room", "zonefile"), Metrics: metrics,
	})
	return f, nil
}

func (m *Mirror) bind(reg *prometheus.Registry) error {
	c := m.o.Config
	dns := c.DNSOptions()
	rules, err := dnsRules(c)
	if err != nil {
		return err
	}
	dns.Zones, dns.Snapshots, dns.Rules = m.source.Zones, m.source.Snapshot, func() *dnsd.Rules { return rules }
	dns.Secondaries = func() *dnsd.Secondaries { return m.secondaries }
	dns.Logger, dns.Metrics = m.log.With("room", "dnsd"), reg
	if err := useSockets(&dns); err != nil {
		return err
	}
	server := dnsd.New(dns)
	if err := server.Listen(); err != nil {
		return err
	}
	m.dns = server
	sampled, err := openSamples(c, m.o.Version)
	if err != nil {
		return err
	}
	sampled.use(m.dns, nil)
	if c.HTTP.Listen != "" {
		var config net.ListenConfig
		if m.webL, err = config.Listen(context.Background(), "tcp", c.HTTP.Listen); err != nil {
			return fmt.Errorf("listen for HTTP on %s: %w", c.HTTP.Listen, err)
		}
	}
	socket := filepath.Join(c.State, control.SocketName)
	// There is no store whose lock would tell that a socket is a left-over one.
	other := control.Dial(socket)
	defer other.Close()
	if err := other.Ping(context.Background()); !errors.Is(err, control.ErrUnreachable) {
		return fmt.Errorf("mirror: a daemon runs at %s; give this one another folder with 'state:'", socket)
	}
	m.controlL, err = control.Listen(socket)
	m.control = control.NewMirrorServer(control.Options{
		Status: m.Status, Reload: m.Reload, Restart: m.Restart, Logger: m.log.With("room", "control"),
	})
	m.web = web.New(web.Options{Ready: m.NotReady, Metrics: reg, Logger: m.log.With("room", "web")})
	return err
}

// NotReady returns why the mirror has nothing to answer from, or nothing that is
// to be trusted still; nothing when all is well.
func (m *Mirror) NotReady() []string {
	s := m.source.State()
	switch now := time.Now(); {
	case m.source.Snapshot() == nil && s.Err != nil:
		return []string{"nothing to answer from" + since(s.Expires) + ": " + s.Err.Error()}
	case m.source.Snapshot() == nil:
		return []string{"nothing to answer from yet"}
	case !now.Before(s.Expires):
		return []string{fmt.Sprintf("the list is of %s, and expired on %s: it is answered from still",
			s.Created.UTC().Format(time.RFC3339), s.Expires.UTC().Format(time.RFC3339))}
	}
	return nil
}

// since says that a list has expired.
func since(expired time.Time) string {
	if expired.IsZero() {
		return ""
	}
	return " since the list expired on " + expired.UTC().Format(time.RFC3339)
}

// Status is what the mirror is doing.
func (m *Mirror) Status() control.Status {
	s := m.source.State()
	out := control.Status{
		Version: m.o.Version, Running: true, Started: m.started, NotReady: m.NotReady(), Listen: m.listeners(),
		Mirror: &control.Mirror{
			From: m.o.From, Zone: s.Zone, Serial: s.Serial, Entries: s.Entries,
			Created: s.Created, Expires: s.Expires, Since: s.Since, Checked: s.Checked,
		},
	}
	out.Ready = len(out.NotReady) == 0
	if s.Err != nil {
		out.Mirror.Error = s.Err.Error()
	}
	return out
}

func (m *Mirror) listeners() []control.Listener {
	var out []control.Listener
	add := func(service string, a net.Addr) {
		out = append(out, control.Listener{Service: service, Network: a.Network(), Address: a.String()})
	}
	for _, a := range m.dns.Addrs() {
		add("dns", a)
	}
	if m.webL != nil {
		add("http", m.webL.Addr())
	}
	add("control", m.controlL.Addr())
	return out
}

// Run serves until ctx ends or a part fails, then stops everything in order. It
// gets what there is before it answers the first question. Ready, if not nil, is
// called as soon as everything runs. It returns [ErrRestart] for a restart in place.
func (m *Mirror) Run(ctx context.Context, ready func()) error {
	m.source.Begin(time.Now())
	failed := make(chan error, 1)
	work := stage{name: "control, web and the source", parts: []func(context.Context) error{
		m.source.Run,
		func(ctx context.Context) error { return serveHTTP(ctx, m.control.HTTP(), m.controlL) },
	}}
	if m.webL != nil {
		public := netutil.LimitListener(m.webL, maxWebClients)
		work.parts = append(work.parts, func(ctx context.Context) error { return serveHTTP(ctx, m.web.HTTP(), public) })
	}
	running := []runningStage{
		start(ctx, stage{name: "dns", parts: []func(context.Context) error{m.dns.Serve}}, failed),
		start(ctx, work, failed),
	}
	notifySystemd(ctx, "READY=1")
	s := m.source.State()
	m.log.Info("ready", "version", m.o.Version, "mirror", m.o.From, "serial", s.Serial, "listed", s.Entries)
	if ready != nil {
		ready()
	}
	var cause error
	select {
	case <-ctx.Done():
		m.log.Info("stopping")
	case <-m.asked:
		notifySystemd(ctx, reloadingState()) // STOPPING would have the manager end it
		return restarting(m.log, stopAll(running, m.o.Config.ShutdownTimeout))
	case cause = <-failed:
		m.log.Error("stopping because a part failed", "err", cause)
	}
	notifySystemd(context.WithoutCancel(ctx), "STOPPING=1")
	err := stopAll(running, m.o.Config.ShutdownTimeout)
	m.log.Info("stopped")
	return errors.Join(cause, err)
}

// close closes what NewMirror opened, for a mirror that never ran.
func (m *Mirror) close() error {
	var errs []error
	for _, l := range []net.Listener{m.controlL, m.webL} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if m.dns != nil {
		m.dns.Close()
	}
	return errors.Join(errs...)
}
