package daemon

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"
)

// Primaries reads addresses with ports between commas; false when that is no such
// thing.
func Primaries(from string) ([]netip.AddrPort, bool) {
	var out []netip.AddrPort
	for text := range strings.SplitSeq(from, ",") {
		addr, err := netip.ParseAddrPort(strings.TrimSpace(text))
		if err != nil || addr.Port() == 0 {
			return nil, false
		}
		out = append(out, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	}
	return out, true
}

// copy returns a source that takes the zone from primaries.
func (m *Mirror) copy(reg prometheus.Registerer, primaries []netip.AddrPort) (source, error) {
	c := m.o.Config
	zone := c.Mirror.ZoneName()
	if zone == "" {
		return nil, fmt.Errorf("mirror of %s: mirror.zone is not set", m.o.From)
	}
	key, err := c.Signing()
	if err != nil {
		return nil, err
	}
	keeper, err := zonefile.NewKeeper(filepath.Join(c.State, "mirror."+strings.TrimSuffix(zone, ".")+".copy"))
	if err != nil {
		return nil, err
	}
	var copier *dnsd.Copier
	refusals := zonefile.NewFollowerMetrics(reg,
		func() zonefile.FollowerState { return copier.State() }, func() *listing.Snapshot { return copier.Snapshot() })
	copier, err = dnsd.NewCopier(dnsd.CopierOptions{
		Zone: zone, Primaries: primaries, Key: key, Keeper: keeper, Forbidden: notSpecial(c.Policy.Listable),
		Logger: m.log.With("room", "dnsd"), Metrics: reg, Refusals: refusals,
	})
	if err != nil {
		return nil, err
	}
	sources := dnsd.Sources{Zone: zone, Key: c.Mirror.TransferKey, Notify: copier.Notify}
	for _, p := range primaries {
		sources.From = append(sources.From, p.Addr())
	}
	m.secondaries, err = m.secondaries.Taking(sources)
	return copier, err
}

// notSpecial returns what refuses special-purpose space, but for what is opened for
// labs.
func notSpecial(listable []netip.Prefix) func(netip.Prefix) error {
	special := listing.SpecialIn(listable)
	return func(p netip.Prefix) error {
		if s, ok := special(p); ok {
			return fmt.Errorf("%s is listed and lies in %s, %s; if that is a lab, open it with policy.listable", p, s.Prefix, s.Name)
		}
		return nil
	}
}
