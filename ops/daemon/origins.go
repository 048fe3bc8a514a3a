package daemon

import (
	"context"
	"time"

	"backscatter/listing"
)

// feedRuns is how many spam runs the feed has.
const feedRuns = 1000

// origins returns the spam runs of the window, and whether they are for everybody.
func (d *Daemon) origins(ctx context.Context) ([]listing.SpamRun, bool, error) {
	c := d.rules.Load().config
	if !c.HTTP.Origins {
		return nil, false, nil
	}
	all, err := d.store.SpamRuns(ctx, time.Now().Add(-c.Policy.Window), feedRuns)
	return all.Runs, true, err
}
