package dnsd

import (
	"context"
	"time"

	"backscatter/zonefile"

	"github.com/prometheus/client_golang/prometheus"
)

// accept lets a copy take the place of the one before, now that a primary has it.
func (c *Copier) accept(next *zonefile.Copy, now time.Time) error {
	next, err := next.ConfirmedAt(now)
	if err != nil {
		return err
	}
	if err := c.remember(zonefile.Confirmation{Serial: next.Snapshot.Serial(), Confirmed: now}); err != nil {
		return err
	}
	former := c.current.Load()
	c.enter(next, now)
	if former != nil {
		former.Snapshot.Supersede()
	}
	select { // who saves needs the newest only
	case <-c.unsaved:
	default:
	}
	c.unsaved <- next // has room: nobody else sends
	return nil
}

// confirm notes that a primary has just what we have.
func (c *Copier) confirm(now time.Time) error {
	have, err := c.current.Load().ConfirmedAt(now)
	if err != nil {
		return err
	}
	if err := c.remember(zonefile.Confirmation{Serial: have.Snapshot.Serial(), Confirmed: now}); err != nil {
		return err
	}
	since := c.State().Since
	c.enter(have, now)
	s := c.State()
	s.Since = since
	c.state.Store(&s)
	return nil
}

func (c *Copier) remember(n zonefile.Confirmation) error {
	if err := c.o.Keeper.Remember(n); err != nil {
		return err
	}
	c.newest, c.known = n, true
	return nil
}

// enter puts a copy in force.
func (c *Copier) enter(next *zonefile.Copy, now time.Time) {
	z := next.Zones.All()[0]
	c.current.Store(next)
	c.state.Store(&zonefile.FollowerState{
		Zone: z.Name[:len(z.Name)-1], Serial: next.Snapshot.Serial(), Entries: next.Snapshot.Len(),
		Created: next.Snapshot.Time(), Expires: z.Copied.Add(z.Expire), Since: now, Checked: z.Copied,
	})
	c.expire(now)
}

// expire notes whether what is in force is too old: a secondary stops to answer then
// (RFC 1035 §3.3.13).
func (c *Copier) expire(now time.Time) {
	copied := c.current.Load()
	if copied == nil {
		return
	}
	z := copied.Zones.All()[0]
	expired := !now.Before(z.Copied.Add(z.Expire))
	if c.expired.Swap(expired) != expired && expired {
		c.log.Error("no primary has confirmed the copy for too long, so nothing is answered", "serial", copied.Snapshot.Serial(), "confirmed", z.Copied)
	}
}

func (c *Copier) tell(err error) {
	s := c.State()
	s.Err = err
	c.state.Store(&s)
}

// save writes what is in force to the disk, but not all the time.
func (c *Copier) save(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			select {
			case next := <-c.unsaved:
				c.write(next)
			default:
			}
			return nil
		case next := <-c.unsaved:
			_ = pause(ctx, max(savePause, saveShare*c.write(next))) // that ctx has ended is seen next
		}
	}
}

// write writes a copy, and returns how long that took.
func (c *Copier) write(next *zonefile.Copy) time.Duration {
	begun := time.Now()
	if err := c.o.Keeper.Save(next, begun); err != nil {
		c.log.Error("the copy could not be kept on the disk for the next start", "err", err)
	}
	return time.Since(begun)
}

// copierCounts are the metrics of a copier.
type copierCounts struct {
	taken *prometheus.CounterVec
	bytes *prometheus.CounterVec
}

func newCopierCounts(reg prometheus.Registerer) copierCounts {
	m := copierCounts{
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_mirror_transfers_total", Help: "Transfers of the zone from primaries, by what was sent and what became of it.",
		}, []string{"kind", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_mirror_transfer_bytes_total", Help: "Octets of transfers from primaries.",
		}, []string{"kind"}),
	}
	for kind := range transferKinds {
		m.taken.WithLabelValues(kind.String(), transferDone)
		m.taken.WithLabelValues(kind.String(), transferFailed)
		m.bytes.WithLabelValues(kind.String())
	}
	if reg != nil {
		reg.MustRegister(m.taken, m.bytes)
	}
	return m
}

// count notes a transfer.
func (m *copierCounts) count(kind TransferKind, bytes int64, err error) {
	result := transferDone
	if err != nil && kind != Current {
		result = transferFailed
	}
	m.taken.WithLabelValues(kind.String(), result).Inc()
	m.bytes.WithLabelValues(kind.String()).Add(float64(bytes))
}
