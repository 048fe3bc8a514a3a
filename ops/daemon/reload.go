package daemon

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

// Reload reads the configuration anew and takes all of it over, or nothing:
// whatever can fail but the store's transaction comes before the first change.
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
		return control.ReloadResult{}, &control.Error{
			Code: control.CodeBadRequest, Message: err.Error(), Status: http.StatusBadRequest,
		}
	}
	if keys := config.RestartNeeded(old.config, c); len(keys) > 0 {
		return control.ReloadResult{}, &control.Error{
			Code:    control.CodeConflict,
			Message: fmt.Sprintf("a change of %s needs a restart; nothing was taken over", strings.Join(keys, ", ")),
		}
	}
	fresh, err := buildRules(c, d.keys)
	if err != nil {
		return control.ReloadResult{}, err
	}
	if err := mayCarry(d.store.Snapshot(), old, fresh); err != nil {
		return control.ReloadResult{}, err
	}
	dns, err := dnsRules(c)
	if err != nil {
		return control.ReloadResult{}, err
	}
	sampled, err := openSamples(c, d.version)
	if err != nil {
		return control.ReloadResult{}, err
	}
	held, err := d.takeOver(ctx, by, old, fresh)
	if err != nil {
		return control.ReloadResult{}, sampled.drop(err)
	}
	d.dnsRules.Store(dns)
	sampled.use(d.dns, old.config.Tap(d.version))
	changed := config.Changed(old.config, c)
	slices.Sort(changed)
	return control.ReloadResult{File: c.File, Changed: changed, Held: held}, nil
}

// takeOver puts fresh in force in place of old. The zones come before the
// store, whose commit moves the serial: mirrors and secondaries go by the serial,
// and one that fetched a new serial with old settings would keep them. For the
// time of the commit the old serial has the new settings; it is asked for again
// right after. It returns what a brake keeps from taking effect.
func (d *Daemon) takeOver(ctx context.Context, by listing.Actor, old, fresh *rules) (held []string, err error) {
	early := *old
	early.zones = fresh.zones
	d.rules.Store(&early)
	order := listing.Order{By: by, Reason: "reload of the configuration"}
	// What was begun is finished even if whoever asked has gone: the store may
	// have committed, and the rest must not stay behind it.
	done, err := d.store.Apply(context.WithoutCancel(ctx), order, fresh.settings)
	if err != nil {
		d.rules.Store(old)
		return nil, err
	}
	for _, p := range done.Skipped {
		held = append(held, p.Key+": "+p.Why)
	}
	d.desk.SetJudge(fresh.judge)
	d.rules.Store(fresh)
	return held, nil
}
