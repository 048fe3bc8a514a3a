package daemon

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/dnsd"
	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/evidence/lookup"
	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/zonefile"
)

// Names of files in the state folder.
const (
	StoreName = "backscatter.db"
	keyName   = "recipients.key"
)

// rules is everything that a reload replaces, built whole before anything is
// replaced.
type rules struct {
	config   *config.Config
	zones    *zonefile.Set
	shared   *dnsd.Secondaries
	traps    *evidence.Traps
	judge    intake.Judge
	settings listing.Settings

	certificate *tls.Certificate // of the SMTP trap; nil without one
	reports     *tls.Certificate // of what takes reports over the network; nil without one

	guards func(reporter, rcpt string) bool // whether rcpt is in a guarded domain
}

func buildRules(c *config.Config, keys keyring) (*rules, error) {
	zones, err := c.ZoneSet()
	if err != nil {
		return nil, fmt.Errorf("build the zones: %w", err)
	}
	shared, err := c.Secondaries()
	if err != nil {
		return nil, fmt.Errorf("build the transfers: %w", err)
	}
	judging, err := c.JudgeConfig(keys.newest)
	if err != nil {
		return nil, fmt.Errorf("build the judge: %w", err)
	}
	judging.Former = keys.recognised(judging.Window)
	judge, err := evidence.NewJudge(judging)
	if err != nil {
		return nil, fmt.Errorf("build the judge: %w", err)
	}
	settings, err := c.ListingSettings()
	if err != nil {
		return nil, fmt.Errorf("build the listing rule: %w", err)
	}
	certificate, err := c.Intake.SMTP.Certificate()
	if err != nil {
		return nil, err
	}
	reports, err := c.Intake.Reports.Certificate()
	if err != nil {
		return nil, err
	}
	return &rules{
		config: c, reports: reports, zones: zones, shared: shared, traps: judging.Traps, settings: settings, certificate: certificate, guards: judge.Guards,
		judge: lookup.Judge{Judgement: judge, Lookup: c.Lookup()},
	}, nil
}

// core is the part that a daemon and a command without a daemon share: the
// store, and the desk at which reports are handed in.
type core struct {
	keys  keyring
	rules atomic.Pointer[rules]
	store *listing.Store
	desk  *intake.Desk

	intakeMetrics *intake.Metrics
}

// openCore opens the store and what stands on it.
func openCore(c *config.Config, logger *slog.Logger, reg prometheus.Registerer) (*core, error) {
	if err := prepareState(c.State); err != nil {
		return nil, err
	}
	keys, err := loadKeys(filepath.Join(c.State, keyName))
	if err != nil {
		return nil, err
	}
	r, err := buildRules(c, keys)
	if err != nil {
		return nil, err
	}
	store, err := listing.Open(filepath.Join(c.State, StoreName), listing.Options{
		Settings: r.settings, Logger: logger.With("room", "listing"), Metrics: reg,
	})
	if err != nil {
		return nil, err
	}
	k := &core{keys: keys, store: store, intakeMetrics: intake.NewMetrics(reg)}
	k.rules.Store(r)
	k.desk = intake.NewDesk(intake.DeskOptions{
		Judge: r.judge, Store: store, Logger: logger.With("room", "intake"), Metrics: k.intakeMetrics,
	})
	return k, nil
}

// reporter is the one whose reports name none: the first.
func (k *core) reporter() string { return k.rules.Load().config.FirstReporter() }

func (k *core) zones() *zonefile.Set           { return k.rules.Load().zones }
func (k *core) secondaries() *dnsd.Secondaries { return k.rules.Load().shared }

func (k *core) traps() *evidence.Traps { return k.rules.Load().traps }

func (k *core) certificate() *tls.Certificate { return k.rules.Load().certificate }

// wantedBy returns what tells whether mail to an address is evidence for a
// reporter: a trap, or a guarded domain.
func (k *core) wantedBy(reporter string) func(string) bool {
	return func(rcpt string) bool {
		r := k.rules.Load()
		return r.traps.Accepts(rcpt) || r.guards(reporter, rcpt)
	}
}

// relaysOf returns what tells the relays of a reporter that are in force.
func (k *core) relaysOf(reporter string) func() []netip.Prefix {
	return func() []netip.Prefix { return k.rules.Load().config.Relays(reporter) }
}

// prepareState makes the state folder and checks that it can be written, so
// that what is wrong is said once and clearly.
func prepareState(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the state folder: %w; make it by hand, or name another with 'state:'", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("write in the state folder %s: %w; give it to the daemon's user, or name another with 'state:'", dir, err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}
