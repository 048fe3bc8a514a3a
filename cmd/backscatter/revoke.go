package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

func (a *app) revokeCommand() *cobra.Command {
	var f orderFlags
	var v listing.Revocation
	var event, since string
	cmd := &cobra.Command{
		Use:   "revoke [--reporter R] [--sensor S] [--event ID] [--since T] --reason WHY",
		Short: "Withdraw evidence, and what was listed by it",
		Long: `Withdraw observations: those by a reporter, by a sensor, of an event
('show --all --json' tells their identities), received since a time, or that are
all of it which is given. They are kept and marked, and never count again.

Every listing that leaned on one of them is decided anew, as the rule and the
reporters' weights are now: it ends if it would not stand without them, and else
may have begun later and end sooner. To stop what a reporter sends from now on,
suspend it too.`,
		Example: `  backscatter revoke --sensor report --since 24h --reason "the trap domain was sold" --dry-run
  backscatter revoke --reporter local --sensor report --since 2025-11-21T10:00:00Z --reason "the trap domain was sold" --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := v.Event.UnmarshalText([]byte(event)); err != nil {
				return usageError("--event: %w", err)
			}
			var err error
			if v.Since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			if err := v.Validate(); err != nil {
				return usageError("%w: --reporter, --sensor, --event or --since", err)
			}
			// How much leans on it is known only when it was tried.
			return a.carryOut(cmd.Context(), f, largeChange+1, func(ctx context.Context, c *control.Client, o control.Order) (control.OrderResult, error) {
				return c.Revoke(ctx, control.RevokeRequest{Order: o, Revocation: v})
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&v.Reporter, "reporter", "", "what reporter `R` reported")
	cmd.Flags().StringVar(&v.Sensor, "sensor", "", "what came by sensor `S`: "+strings.Join(evidence.Sensors, ", "))
	cmd.Flags().StringVar(&event, "event", "", "the observation with this `ID`")
	cmd.Flags().StringVar(&since, "since", "", "what was received since `T`: 2026-11-21, 2026-11-21T10:00:00Z, or 24h for so long ago")
	a.jsonFlag(cmd)
	return cmd
}

// parseSince reads a day, a moment, or how long ago that was; zero when empty.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	d, err := config.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, usageError("--since %q: want a day (2026-11-21), a time (2026-11-21T10:00:00Z), or how long ago (24h, 7d)", text)
	}
	return now.Add(-d), nil
}
