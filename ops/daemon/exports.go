package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"backscatter/listing"
	"backscatter/zonefile"
)

// acceptExports publishes what is held, of one zone or with no name of all.
func (d *Daemon) acceptExports(zone string) ([]zonefile.Publication, error) {
	var done []zonefile.Publication
	var errs []error
	for i, p := range d.publishers {
		if zone != "" && !strings.EqualFold(strings.TrimSuffix(zone, "."), strings.TrimSuffix(d.exports[i].Zone, ".")) || !p.State().Held {
			continue
		}
		publication, err := p.Accept(time.Now())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, publication)
	}
	return done, errors.Join(errs...)
}

// forbidden returns where something must not be published, and what tells why a
// prefix must not, as the exemptions and the configuration are now.
func (d *Daemon) forbidden() ([]netip.Prefix, func(netip.Prefix) error, error) {
	exemptions, err := d.store.Exemptions()
	if err != nil {
		return nil, nil, err
	}
	var blocks []netip.Prefix
	for _, x := range exemptions {
		blocks = append(blocks, x.Prefix)
	}
	for _, s := range listing.Specials {
		blocks = append(blocks, s.Prefix)
	}
	listable := d.store.Settings().Listable
	if !d.store.Brakes().Withheld.IsZero() { // what the settings open waits: what is exempt tells all
		listable = blocks
	}
	return blocks, forbids(exemptions, listable), nil
}

func forbids(exemptions []listing.Exemption, listable []netip.Prefix) func(netip.Prefix) error {
	exempt, special := new(bart.Lite), listing.SpecialIn(listable)
	for _, x := range exemptions {
		exempt.Insert(x.Prefix)
	}
	return func(p netip.Prefix) error {
		if exempt.OverlapsPrefix(p) {
			return errors.New("is exempt")
		}
		if block, ok := special(p); ok {
			return fmt.Errorf("is in special-purpose space: %s", block.Name)
		}
		return nil
	}
}
