package daemon

import (
	"context"
	"path/filepath"

	"backscatter/evidence/intake"
	"backscatter/ops/config"
)

// bindSensors binds the sockets by which reports come in.
func (d *Daemon) bindSensors(c *config.Config) error {
	if trap, on := c.SMTPOptions(); on {
		trap.Certificate = d.certificate
		d.smtp = d.newSMTP(trap)
		if err := d.smtp.Listen(); err != nil {
			return err
		}
	}
	for _, o := range c.LMTPOptions() {
		o.Wanted = d.wantedBy(o.Reporter)
		l := d.newSMTP(o)
		if err := l.Listen(); err != nil {
			return err
		}
		d.lmtp = append(d.lmtp, l)
	}
	return d.bindMilters(c)
}

// spoolName is the folder in the state where reports wait for the store that
// came by a way on which nobody could be asked for them again.
const spoolName = "spool"

// bindMilters opens the spool and binds the milters. The spool is opened without
// milters as well: it may hold what came when there were some.
func (d *Daemon) bindMilters(c *config.Config) error {
	log := d.log.With("room", "intake")
	spool, err := intake.NewSpool(intake.SpoolOptions{
		Dir: filepath.Join(c.State, spoolName), Most: int64(c.Intake.SpoolSize), Sink: d.desk, Logger: log, Metrics: d.intakeMetrics,
	})
	if err != nil {
		return err
	}
	d.spool = spool
	for _, o := range c.MilterOptions() {
		o.Sink, o.Takes, o.Logger, o.Metrics = spool, d.evidenceFor(o.Reporter), log, d.intakeMetrics
		m := intake.NewMilter(o)
		if err := m.Listen(); err != nil {
			return err
		}
		d.milters = append(d.milters, m)
	}
	return nil
}

// evidenceFor returns what tells by the envelope whether a message that passes a
// mail server is evidence: a trap gets nothing else, and a guarded domain gets it
// with a null sender.
func (d *Daemon) evidenceFor(reporter string) func(from, rcpt string) bool {
	return func(from, rcpt string) bool {
		r := d.rules.Load()
		return r.traps.Accepts(rcpt) || from == "" && r.guards(reporter, rcpt)
	}
}

func (d *Daemon) newSMTP(o intake.SMTPOptions) *intake.SMTP {
	o.Traps, o.Sink, o.Relays = d.traps, d.desk, d.relaysOf(o.Reporter)
	o.Logger, o.Metrics = d.log.With("room", "intake"), d.intakeMetrics
	return intake.NewSMTP(o)
}

// serveSensors returns what serves them.
func (d *Daemon) serveSensors() []func(context.Context) error {
	var parts []func(context.Context) error
	if d.smtp != nil {
		parts = append(parts, d.smtp.Serve)
	}
	for _, l := range d.lmtp {
		parts = append(parts, l.Serve)
	}
	for _, m := range d.milters {
		parts = append(parts, m.Serve)
	}
	if d.remoteL != nil {
		parts = append(parts, d.serveRemote)
	}
	return append(parts, d.spool.Run)
}
