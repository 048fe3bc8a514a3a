package daemon

import (
	"context"
	"net/netip"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/zonefile"
)

// What the tests look into and put in.

// LoadKey reads or makes the recipients' key, and returns the one in use.
func LoadKey(name string) ([32]byte, error) {
	k, err := loadKeys(name)
	return k.newest, err
}

func (d *Daemon) Store() *listing.Store { return d.store }
func (d *Daemon) Zones() *zonefile.Set  { return d.zones() }
func (d *Daemon) CloseAll() error       { return d.closeAll() }
func (d *Daemon) CloseWeb() error       { return d.webL.Close() }
func (d *Daemon) Traps() *evidence.Traps {
	return d.traps()
}

// Submit hands a report to the desk.
func (d *Daemon) Submit(ctx context.Context, r evidence.Report) (evidence.Finding, error) {
	return d.desk.Submit(ctx, r)
}

// RunParts starts a stage of one part for each, in order, and returns what
// stops them all.
func (d *Daemon) RunParts(ctx context.Context, failed chan<- error, names []string, part func(ctx context.Context, name string) error) (stop func() error) {
	running := startParts(ctx, failed, names, part)
	return func() error { return d.stop(running) }
}

// GiveWayParts is RunParts that returns what ends them for a restart.
func (d *Daemon) GiveWayParts(ctx context.Context, names []string, part func(ctx context.Context, name string) error) (giveWay func() error) {
	running := startParts(ctx, make(chan error, 1), names, part)
	return func() error { return d.giveWay(running) }
}

func startParts(ctx context.Context, failed chan<- error, names []string, part func(ctx context.Context, name string) error) (running []runningStage) {
	for _, name := range names {
		one := stage{name: name, parts: []func(context.Context) error{
			func(ctx context.Context) error { return part(ctx, name) },
		}}
		running = append(running, start(ctx, one, failed))
	}
	return running
}

// WantTwice wants a restart while another is under way.
func WantTwice(ctx context.Context) error {
	s := newSuccessor()
	<-s.free
	return s.want(ctx, nil, "")
}

// NotSpecial refuses special-purpose space.
func NotSpecial(listable []netip.Prefix) func(netip.Prefix) error { return notSpecial(listable) }
