package daemon

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"backscatter/dnsd"
	"backscatter/ops/control"
)

// Top watches what is asked over DNS for a time.
func (d *Daemon) Top(ctx context.Context, length time.Duration, most int) (control.Top, error) {
	top, err := d.dns.Top(ctx, length, most)
	if errors.Is(err, dnsd.ErrWatched) {
		return control.Top{}, &control.Error{Code: control.CodeConflict, Message: err.Error()}
	}
	return control.Top{
		For: control.Duration(top.For.Round(time.Millisecond)), Answers: top.Answers, Kinds: top.Kinds,
		Clients: frequent(top.Clients), Listed: frequent(top.Addresses),
	}, err
}

func frequent(counted []dnsd.Counted[netip.Addr]) []control.Frequent {
	out := make([]control.Frequent, 0, len(counted))
	for _, c := range counted {
		out = append(out, control.Frequent{Address: c.Key.String(), Count: c.Count, Over: c.Over})
	}
	return out
}
