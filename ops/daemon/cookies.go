package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"backscatter/dnsd"
	"backscatter/evidence/durable"
	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

// keepOld is how long cookies made with a former secret are good, with what
// clocks may differ (RFC 9018 §4.3, §5).
const keepOld = 65 * time.Minute

// dnsRules builds what the DNS server does depending on who asks.
func dnsRules(c *config.Config) (*dnsd.Rules, error) {
	if !c.DNS.Cookies.Enabled {
		return c.DNSRules(nil), nil
	}
	secrets, err := cookieSecrets(c)
	if err != nil {
		return nil, err
	}
	var keys []dnsd.CookieSecret
	for _, s := range secrets {
		keys = append(keys, s.Secret)
	}
	return c.DNSRules(keys), nil
}

// loadDNSRules puts in force what the DNS server does depending on who asks.
func (d *Daemon) loadDNSRules(c *config.Config) error {
	rules, err := dnsRules(c)
	if err == nil {
		d.dnsRules.Store(rules)
	}
	return err
}

// cookieSecrets reads the secrets of DNS cookies, the active one first, and makes
// one at the first start.
func cookieSecrets(c *config.Config) ([]config.CookieSecret, error) {
	name, ours := c.CookieFile()
	secrets, err := config.ReadCookieSecrets(name)
	if !ours || !errors.Is(err, fs.ErrNotExist) {
		return secrets, err
	}
	fresh := []config.CookieSecret{{Stage: config.CookieActive, Secret: newCookieSecret()}}
	if err := writeNew(name, config.WriteCookieSecrets(fresh)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("keep the secret of DNS cookies: %w", err)
	}
	return config.ReadCookieSecrets(name)
}

func newCookieSecret() (s dnsd.CookieSecret) {
	_, _ = rand.Read(s[:]) // never fails
	return s
}

// nextStage returns the secrets after the next step of a change, and which step
// it is: a new secret is staged, then it becomes the active one, then the old one
// is dropped (RFC 9018 §5).
func nextStage(secrets []config.CookieSecret, fresh dnsd.CookieSecret) ([]config.CookieSecret, control.CookieStep) {
	is := func(stage config.CookieStage) func(config.CookieSecret) bool {
		return func(s config.CookieSecret) bool { return s.Stage == stage }
	}
	next := slices.Clone(secrets)
	if staged := slices.IndexFunc(next, is(config.CookieStaged)); staged >= 0 {
		next[0].Stage, next[staged].Stage = config.CookieOld, config.CookieActive
		next[0], next[staged] = next[staged], next[0]
		return next, control.CookieActivated
	}
	if slices.ContainsFunc(next, is(config.CookieOld)) {
		return slices.DeleteFunc(next, is(config.CookieOld)), control.CookieDropped
	}
	return append(next, config.CookieSecret{Stage: config.CookieStaged, Secret: fresh}), control.CookieStaged
}

// RollCookies takes the next step of a change of the secret of DNS cookies.
func (d *Daemon) RollCookies(ctx context.Context, o listing.Order, now time.Time) (control.CookieResult, error) {
	select {
	case <-d.reloading: // a reload reads the file
		defer func() { d.reloading <- struct{}{} }()
	case <-ctx.Done():
		return control.CookieResult{}, fmt.Errorf("roll the secret of DNS cookies: a reload is under way: %w", ctx.Err())
	}
	c := d.rules.Load().config
	if !c.DNS.Cookies.Enabled {
		return control.CookieResult{}, conflict("dns.cookies.enabled is false, so there is no secret to roll")
	}
	secrets, err := cookieSecrets(c)
	if err != nil {
		return control.CookieResult{}, err
	}
	name, _ := c.CookieFile()
	next, step := nextStage(secrets, newCookieSecret())
	result := control.CookieResult{Step: step, File: name, DryRun: o.DryRun}
	if step == control.CookieDropped {
		if result.Early, err = stillNeeded(name, now); err != nil {
			return result, err
		}
	}
	if o.DryRun {
		return result, nil
	}
	if !result.Early.IsZero() {
		return result, conflict(fmt.Sprintf("clients have cookies of the old secret until %s; roll again then", result.Early.Format(time.TimeOnly)))
	}
	if err := writeCookies(name, next); err != nil {
		return result, err
	}
	if err := d.loadDNSRules(c); err != nil {
		return result, err
	}
	d.log.Info("the secret of DNS cookies was rolled", "step", string(step), "file", name, "by", o.By.Name, "reason", o.Reason)
	return result, nil
}

func conflict(message string) error {
	return &control.Error{Code: control.CodeConflict, Message: message, Status: http.StatusConflict}
}

// stillNeeded returns until when clients have cookies of the secret that became
// old when the file was written last; zero when they have none any more.
func stillNeeded(name string, now time.Time) (time.Time, error) {
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at the secrets of DNS cookies: %w", err)
	}
	if until := info.ModTime().Add(keepOld); until.After(now) {
		return until.Round(time.Second), nil
	}
	return time.Time{}, nil
}

func writeCookies(name string, secrets []config.CookieSecret) error {
	err := renameio.WriteFile(name, []byte(config.WriteCookieSecrets(secrets)), 0o600)
	if err == nil {
		err = durable.Sync(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("keep the secrets of DNS cookies: %w", err)
	}
	return nil
}
