package daemon

import (
	"context"
	"fmt"
	"time"

	"backscatter/listing"
)

// RotateKey makes a new key under which recipients are hashed, and has the
// judge use it from the next report on. What was seen before stays as it is, and is
// recognised by the former key for as long as the policy counts it. The audit has
// it before it is done.
func (d *Daemon) RotateKey(ctx context.Context, o listing.Order) error {
	select {
	case <-d.reloading: // a reload would bring the former key back
		defer func() { d.reloading <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("rotate the recipients' key: a reload is under way: %w", ctx.Err())
	}
	if err := d.rotateKey(ctx, o); err != nil || o.DryRun {
		return err
	}
	old := d.rules.Load()
	fresh, err := buildRules(old.config, d.keys)
	if err != nil {
		return err
	}
	d.desk.SetJudge(fresh.judge)
	d.rules.Store(fresh)
	d.log.Info("the recipients' key was rotated")
	return nil
}

// rotateKey notes the rotation and writes the key.
func (k *core) rotateKey(ctx context.Context, o listing.Order) error {
	if err := k.store.NoteRotation(ctx, o); err != nil || o.DryRun {
		return err
	}
	keys, err := rotateKeys(KeyFile(k.rules.Load().config.State), time.Now())
	if err != nil {
		return err
	}
	k.keys = keys
	return nil
}
