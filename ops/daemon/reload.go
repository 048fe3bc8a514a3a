package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

// Reload reads the configuration anew and takes all of it over, or nothing:
// whatever can fail comes before the first change, and the store's transaction
// is the first change.
func (d *Daemon) Reload(ctx context.Context, by listing.Actor) (control.ReloadResult, error) {
	select {
	case <-d.reloading:
		defer func() { d.reloading <- struct{}{} }()
	case <-ctx.Done():
		return control.ReloadResult{}, fmt.Errorf("reload: another one is under way: %w", ctx.Err())
	}
	notifySystemd(ctx, reloadingState())
	defer notifySystemd(context.WithoutCancel(ctx), "READY=1")
	result, err := d.reload(ctx, by)
	if err != nil {
		d.log.Warn("reload refused, nothing has changed", "err", err)
		return result, fmt.Errorf("reload: %w", err)
	}
	d.log.Info("reloaded", "file", result.File, "changed", strings.Join(result.Changed, " "))
	return result, nil
}

func (d *Daemon) reload(ctx context.Context, by listing.Actor) (control.ReloadResult, error) {
	old := d.rules.Load()
	c, err := d.load()
	if err != nil {
		return control.ReloadResult{}, err
	}
	if keys := config.RestartNeeded(old.config, c); len(keys) > 0 {
		return control.ReloadResult{}, &control.Error{
			Code:    control.CodeConflict,
			Message: fmt.Sprintf("a change of %s needs a restart; nothing was taken over", strings.Join(keys, ", ")),
		}
	}
	fresh, err := buildRules(c, d.key)
	if err != nil {
		return control.ReloadResult{}, err
	}
	order := listing.Order{By: by, Reason: "reload of the configuration"}
	if _, err := d.store.Apply(ctx, order, fresh.settings); err != nil {
		return control.ReloadResult{}, err
	}
	d.rules.Store(fresh)
	d.desk.SetJudge(fresh.judge)
	changed := config.Changed(old.config, c)
	slices.Sort(changed)
	return control.ReloadResult{File: c.File, Changed: changed}, nil
}
