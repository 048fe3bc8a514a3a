package daemon

import (
	"context"

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
	return nil
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
	return parts
}
