package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"backscatter/dnsd"
	"backscatter/evidence/intake"
	"backscatter/ops/config"
	"backscatter/ops/control"
	"backscatter/ops/remote"
	"backscatter/ops/web"
	"backscatter/zonefile"
)

// Options are what a daemon is made of.
type Options struct {
	Config  *config.Config
	Load    func() (*config.Config, error) // reads the configuration anew, for a reload
	Version string
	Logger  *slog.Logger
}

// Daemon is one life of the server: New binds, Run serves until its end.
type Daemon struct {
	*core
	Successor

	load    func() (*config.Config, error)
	version string
	log     *slog.Logger
	started time.Time

	dns        *dnsd.Server
	notifier   *dnsd.Notifier
	dnsRules   atomic.Pointer[dnsd.Rules]
	smtp       *intake.SMTP // nil when the trap is off
	lmtp       []*intake.SMTP
	milters    []*intake.Milter
	spool      *intake.Spool
	remote     *remote.Server // nil when no reports are taken over the network
	remoteL    net.Listener
	nonces     *remote.Nonces
	publishers []*zonefile.Publisher
	exports    []control.Export // what each publisher writes, and where
	control    *control.Server
	controlL   net.Listener
	web        *web.Server
	webL       net.Listener // nil when the web server is off

	notReady  atomic.Pointer[string] // why the daemon is not ready; nil when it is
	reloading chan struct{}          // holds one token; a reload takes it
}

// New opens the store and binds every socket. When anything fails, what was
// opened is closed again, and the error says what was tried and on what.
func New(o Options) (_ *Daemon, err error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	k, err := openCore(o.Config, o.Logger, reg)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		core: k, Successor: newSuccessor(), load: o.Load, version: o.Version, log: o.Logger, started: time.Now(),
		reloading: make(chan struct{}, 1),
	}
	d.reloading <- struct{}{}
	d.setNotReady("starting")
	defer func() {
		if err != nil {
			err = errors.Join(err, d.closeAll())
		}
	}()
	registerBuildInfo(reg, o.Version)
	if err := d.bind(o.Config, reg); err != nil {
		return nil, err
	}
	return d, d.build(o.Config, reg)
}

func registerBuildInfo(reg prometheus.Registerer, version string) {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "backscatter_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	g.Set(1)
	reg.MustRegister(g)
}

// bind binds every socket. The store's lock is held, so a control socket that
// is still there belongs to nobody.
func (d *Daemon) bind(c *config.Config, reg prometheus.Registerer) error {
	if err := d.loadDNSRules(c); err != nil {
		return err
	}
	dns := c.DNSOptions()
	dns.Zones, dns.Snapshots, dns.Rules = d.zones, d.store.Snapshot, d.dnsRules.Load
	dns.Secondaries, dns.Compare = d.secondaries, d.store.Compare
	dns.Logger, dns.Metrics = d.log.With("room", "dnsd"), reg
	var err error
	if err := useSockets(&dns); err != nil {
		return err
	}
	d.dns = dnsd.New(dns)
	d.notifier = dnsd.NewNotifier(dnsd.NotifierOptions{
		Zones: d.zones, Snapshots: d.store.Snapshot, Secondaries: d.secondaries, Logger: dns.Logger, Metrics: reg,
	})
	if err := d.dns.Listen(); err != nil {
		return err
	}
	sampled, err := openSamples(c, d.version)
	if err != nil {
		return err
	}
	sampled.use(d.dns, nil)
	if err := d.bindSensors(c); err != nil {
		return err
	}
	if err := d.bindRemote(c, reg); err != nil {
		return err
	}
	if c.HTTP.Listen != "" {
		var config net.ListenConfig
		if d.webL, err = config.Listen(context.Background(), "tcp", c.HTTP.Listen); err != nil {
			return fmt.Errorf("listen for HTTP on %s: %w", c.HTTP.Listen, err)
		}
	}
	d.controlL, err = control.Listen(filepath.Join(c.State, control.SocketName))
	return err
}

// build makes the parts that stand on bound sockets.
func (d *Daemon) build(c *config.Config, reg *prometheus.Registry) error {
	d.control = control.NewServer(control.Options{
		Store: d.store, Sink: d.desk, Zones: d.zones, Reporter: d.reporter, Reload: d.Reload, Restart: d.Restart, RotateKey: d.RotateKey, RollCookies: d.RollCookies, Top: d.Top, Status: d.Status, Accept: d.acceptExports,
		Logger: d.log.With("room", "control"),
	})
	d.web = web.New(web.Options{
		Lookup:  d.store,
		Policy:  func() []string { return d.store.Settings().Text() },
		Origins: d.origins(),
		List:    &web.List{To: c.HTTP.Poll, Proxies: c.HTTP.Proxies, Zones: d.zones, Snapshot: d.store.Snapshot, Compare: d.store.Compare, Changes: d.store.Changes},
		Contact: d.contact,
		Ready:   d.NotReady,
		Metrics: reg,
		Logger:  d.log.With("room", "web"),
	})
	metrics := zonefile.NewMetrics(reg)
	for _, e := range c.Exports {
		key, err := e.SigningKey()
		if err != nil {
			return err
		}
		p, err := zonefile.NewPublisher(zonefile.PublisherOptions{
			Dir: e.Dir, Zone: d.zoneNamed(e.Zone), Formats: e.Formats, Gzip: e.Gzip, Key: key, Brake: e.Brake, Every: e.Every,
			Forbidden: d.forbidden,
			Snapshots: d.store.Snapshot, Changes: d.store.Changes, Logger: d.log.With("room", "zonefile"), Metrics: metrics,
		})
		if err != nil {
			return err
		}
		d.publishers = append(d.publishers, p)
		d.exports = append(d.exports, control.Export{Zone: e.Zone, Dir: e.Dir})
	}
	return nil
}

// zoneNamed returns what finds the zone of an export in the configuration in
// force, whose settings a reload may have changed.
func (d *Daemon) zoneNamed(name string) func() *zonefile.Zone {
	return func() *zonefile.Zone { return d.zones().Named(name) }
}

// Addr returns an address that a service (dns, smtp, lmtp, milter, http, control)
// listens on, or nothing when it is off.
func (d *Daemon) Addr(service string) string {
	for _, l := range d.listeners() {
		if l.Service == service {
			return l.Address
		}
	}
	return ""
}

func (d *Daemon) listeners() []control.Listener {
	var out []control.Listener
	add := func(service string, a net.Addr) {
		out = append(out, control.Listener{Service: service, Network: a.Network(), Address: a.String()})
	}
	for _, a := range d.dns.Addrs() {
		add("dns", a)
	}
	if d.smtp != nil {
		add("smtp", d.smtp.Addr())
	}
	for _, l := range d.lmtp {
		add("lmtp", l.Addr())
	}
	for _, m := range d.milters {
		add("milter", m.Addr())
	}
	if d.remoteL != nil {
		add("reports", d.remoteL.Addr())
	}
	if d.webL != nil {
		add("http", d.webL.Addr())
	}
	add("control", d.controlL.Addr())
	return out
}

// contact is where the listed can write to: the hostmaster of the first zone.
// Its first label is the local part (RFC 1035 §8).
func (d *Daemon) contact() string {
	first := d.zones().Named("")
	if first == nil {
		return ""
	}
	return strings.Replace(strings.TrimSuffix(first.Hostmaster, "."), ".", "@", 1)
}

// Status is what the daemon is doing, all but the store's part.
func (d *Daemon) Status() control.Status {
	s := control.Status{
		Version: d.version, Running: true, Started: d.started,
		NotReady: d.NotReady(), Warnings: d.rules.Load().config.Warnings(), Listen: d.listeners(),
	}
	s.Ready = len(s.NotReady) == 0
	s.Secondaries = secondariesOf(d.notifier)
	for i, e := range d.exports {
		state := d.publishers[i].State()
		e.Serial, e.Published, e.Held = state.Serial, state.Current, state.Held
		if state.Err != nil {
			e.Error = state.Err.Error()
		}
		s.Exports = append(s.Exports, e)
	}
	return s
}

// NotReady returns why the daemon does not do all of its work; nothing when it
// does.
func (d *Daemon) NotReady() []string {
	var why []string
	if reason := d.notReady.Load(); reason != nil {
		why = append(why, *reason)
	}
	switch st, err := d.store.Status(); {
	case err != nil:
		why = append(why, err.Error())
	case !st.Writable:
		why = append(why, st.WhyNot)
	}
	return why
}

func (d *Daemon) setNotReady(why string) { d.notReady.Store(&why) }

// closeAll closes what New opened, for a daemon that never ran.
func (d *Daemon) closeAll() error {
	var errs []error
	if d.controlL != nil {
		errs = append(errs, d.controlL.Close())
	}
	if d.webL != nil {
		errs = append(errs, d.webL.Close())
	}
	errs = append(errs, d.closeRemote())
	if d.smtp != nil {
		errs = append(errs, d.smtp.Close())
	}
	for _, l := range d.lmtp {
		errs = append(errs, l.Close())
	}
	for _, m := range d.milters {
		errs = append(errs, m.Close())
	}
	if d.dns != nil {
		d.dns.Close()
	}
	return errors.Join(append(errs, d.store.Close())...)
}
