package dnsd

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// serial asks for the SOA.
func (x *exchange) serial(now time.Time) (*dns.SOA, error) {
	if err := x.ask(dns.TypeSOA, nil, now); err != nil {
		return nil, err
	}
	r, err := x.next()
	if err != nil {
		return nil, err
	}
	soa, ok, err := x.soa(r)
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("it has no SOA of the zone"))
	}
	return soa, x.done()
}

// whole takes the zone (AXFR, RFC 5936).
func (x *exchange) whole(forbidden func(netip.Prefix) error, now time.Time) (*zonefile.Copy, error) {
	if err := x.ask(dns.TypeAXFR, nil, now); err != nil {
		return nil, err
	}
	first, err := x.next()
	if err != nil {
		return nil, err
	}
	soa, ok, err := x.soa(first)
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("it does not begin with the SOA"))
	}
	return x.assemble(soa, nil, forbidden)
}

// assemble makes a copy of what follows the first SOA, which is at hand, as may be
// the second record.
func (x *exchange) assemble(soa *dns.SOA, second *zonefile.Record, forbidden func(netip.Prefix) error) (*zonefile.Copy, error) {
	return zonefile.Assemble(x.name, x.untilSOA(soa, second), forbidden)
}

// untilSOA yields the records of a whole zone up to the SOA that ends it (RFC 5936
// §2.2), and it.
func (x *exchange) untilSOA(first *dns.SOA, second *zonefile.Record) iter.Seq2[zonefile.Record, error] {
	return func(yield func(zonefile.Record, error) bool) {
		r, err := second, error(nil)
		for {
			if r == nil {
				r, err = x.next()
			}
			if err != nil {
				yield(zonefile.Record{}, err)
				return
			}
			soa, ends, err := x.soa(r)
			if ends && err == nil {
				err = x.done()
				if !dns.IsDuplicate(soa, first) {
					err = errors.New("it ends with another SOA than it began with")
				}
			}
			if !yield(*r, err) || ends || err != nil {
				return
			}
			r = nil
		}
	}
}

// errCurrent says that there is nothing newer.
var errCurrent = errors.New("there is nothing newer")

// changes takes what changed since the copy (IXFR, RFC 1995), or all of the zone
// if that is what is sent in its place (§4).
func (x *exchange) changes(c *zonefile.Copy, forbidden func(netip.Prefix) error, now time.Time) (*zonefile.Copy, TransferKind, error) {
	have := c.Zones.All()[0].SOA(c.Snapshot.Sequence())
	if err := x.ask(dns.TypeIXFR, have, now); err != nil {
		return nil, Incremental, err
	}
	first, err := x.next()
	if err != nil {
		return nil, Incremental, err
	}
	soa, ok, err := x.soa(first)
	if err != nil || !ok {
		return nil, Incremental, errors.Join(err, errors.New("it does not begin with the SOA"))
	}
	// An SOA alone says that there is nothing newer (§2). Who is behind us knows
	// nothing of what we have.
	if order, ok := listing.CompareSerial(soa.Serial, have.Serial); x.left == 0 && (!ok || order <= 0) {
		if soa.Serial != have.Serial {
			return nil, Incremental, fmt.Errorf("it has serial %d, and we have %d", soa.Serial, have.Serial)
		}
		return nil, Current, errCurrent
	}
	second, err := x.next()
	if err != nil {
		return nil, Incremental, err
	}
	if _, incremental, err := x.soa(second); err != nil || !incremental {
		if err != nil {
			return nil, Incremental, err
		}
		next, err := x.assemble(soa, second, forbidden)
		return next, WholeAfter, err
	}
	next, err := c.Patch(x.sequences(have, soa, second), forbidden)
	return next, Incremental, err
}

// sequences yields what the difference sequences of an incremental transfer remove
// and add (RFC 1995 §4), up to the SOA that ends it.
func (x *exchange) sequences(have, last *dns.SOA, second *zonefile.Record) iter.Seq2[zonefile.Edit, error] {
	return func(yield func(zonefile.Edit, error) bool) {
		d := differences{exchange: x, serial: have.Serial, last: last.Serial}
		for r := second; ; {
			ends, err := d.step(r)
			if ends && err == nil {
				return
			}
			if !yield(zonefile.Edit{Record: *r, Removed: d.removing}, err) || err != nil {
				return
			}
			if r, err = x.next(); err != nil {
				yield(zonefile.Edit{}, err)
				return
			}
		}
	}
}

// differences is where in the sequences a record stands.
type differences struct {
	*exchange

	serial   uint32 // of the SOA before
	last     uint32
	removing bool
}

// step goes on to a record. Each sequence begins with the SOA that the one before it
// led to, and has another between what goes and what comes; a last SOA ends all.
func (d *differences) step(r *zonefile.Record) (ends bool, err error) {
	soa, is, err := d.soa(r)
	if err != nil || !is {
		return false, err
	}
	if d.removing = !d.removing; d.removing {
		if soa.Serial != d.serial {
			return false, fmt.Errorf("%w: it goes on from serial %d, and not from %d", zonefile.ErrMismatch, soa.Serial, d.serial)
		}
		if soa.Serial == d.last {
			return true, d.done()
		}
	}
	d.serial = soa.Serial
	return false, nil
}
