package daemon

import (
	"context"
	"time"

	"backscatter/listing"
	"backscatter/ops/web"
)

// feedRuns is how many spam runs the feed has.
const feedRuns = 1000

// origins returns the feed of the spam runs of the policy's window.
func (d *Daemon) origins() *web.Origins {
	return &web.Origins{
		Public: func() bool { return d.rules.Load().config.HTTP.Origins },
		Runs: func(ctx context.Context) ([]listing.PublicRun, error) {
			return d.store.PublicRuns(ctx, time.Now(), d.rules.Load().config.Policy.Window, feedRuns)
		},
	}
}
