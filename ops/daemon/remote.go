package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"backscatter/ops/config"
	"backscatter/ops/remote"
)

// noncesName is the file in the state that remembers which requests of reporters
// there were.
const noncesName = "reports.nonces"

// maxRemoteClients bounds the connections of reporters, and of who is none.
const maxRemoteClients = 256

// maxRemotePerClient bounds those of one address.
const maxRemotePerClient = 16

// bindRemote binds the socket on which reporters hand in over the network.
func (d *Daemon) bindRemote(c *config.Config, reg prometheus.Registerer) error {
	metrics := remote.NewMetrics(reg)
	listen := c.Intake.Reports.Listen
	if listen == "" {
		return nil
	}
	var err error
	if d.nonces, err = remote.OpenNonces(filepath.Join(c.State, noncesName), c.Intake.Reports.Window, time.Now()); err != nil {
		return err
	}
	d.remote = remote.NewServer(remote.ServerOptions{
		Reporters: d.store, Sink: d.desk, Nonces: d.nonces, Limits: c.ReportsLimits(),
		Logger: d.log.With("room", "remote"), Metrics: metrics,
		Certificate: func() *tls.Certificate { return d.rules.Load().reports },
		Names:       func() []string { return d.rules.Load().config.Intake.Reports.Names },
		Proxies:     func() []netip.Prefix { return d.rules.Load().config.Intake.Reports.Proxies },
	})
	var own net.ListenConfig
	if d.remoteL, err = own.Listen(context.Background(), "tcp", listen); err != nil {
		return fmt.Errorf("listen for reports on %s: %w", listen, err)
	}
	return nil
}

// serveRemote serves reporters until ctx ends. Whether TLS is spoken is settled at
// the start; a reload renews the certificate.
func (d *Daemon) serveRemote(ctx context.Context) error {
	l := remote.LimitClients(netutil.LimitListener(d.remoteL, maxRemoteClients), maxRemotePerClient, d.remote.Proxies)
	if config := d.remote.TLS(); config != nil {
		l = tls.NewListener(l, config)
	}
	return errors.Join(serveHTTP(ctx, d.remote.HTTP(), l), d.nonces.Close())
}

// closeRemote closes what bindRemote opened, for a daemon that never ran.
func (d *Daemon) closeRemote() error {
	var errs []error
	if d.remoteL != nil {
		errs = append(errs, d.remoteL.Close())
	}
	if d.nonces != nil {
		errs = append(errs, d.nonces.Close())
	}
	return errors.Join(errs...)
}
