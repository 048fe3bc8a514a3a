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

// Reload has the mirror look for something newer soon, and opens the log of
// questions anew. That is all that it does without a restart: a configuration that
// cannot be read, or that has changed in what a mirror reads, is an error.
func (m *Mirror) Reload(_ context.Context, by listing.Actor) (control.ReloadResult, error) {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	m.source.Look()
	err := m.reopen()
	if err == nil {
		err = m.unchanged()
	}
	if err != nil {
		m.log.Warn("reload refused, or not all of it done", "by", by.Name, "via", by.Via, "err", err)
		return control.ReloadResult{}, fmt.Errorf("reload: %w", err)
	}
	m.log.Info("reloaded", "by", by.Name, "via", by.Via)
	return control.ReloadResult{File: m.o.Config.File}, nil
}

// reopen opens the log of questions anew.
func (m *Mirror) reopen() error {
	sampled, err := openSamples(m.o.Config, m.o.Version)
	if err != nil {
		return fmt.Errorf("the former log of questions goes on: %w", err)
	}
	sampled.use(m.dns, sampled.tap)
	return nil
}

// unchanged tells what a restart would change.
func (m *Mirror) unchanged() error {
	c, err := m.o.Load()
	if err != nil {
		return &control.Error{Code: control.CodeBadRequest, Message: err.Error(), Status: http.StatusBadRequest}
	}
	keys := slices.DeleteFunc(config.Changed(m.o.Config, c), func(key string) bool { return !readByMirror(key) })
	if len(keys) == 0 {
		return nil
	}
	return &control.Error{
		Code:    control.CodeConflict,
		Message: fmt.Sprintf("a change of %s needs a restart of a mirror; nothing was taken over", strings.Join(keys, ", ")),
	}
}

// readByMirror tells the keys that a mirror reads from those of a configuration that
// it shares with others.
func readByMirror(key string) bool {
	section, _, _ := strings.Cut(key, ".")
	return slices.Contains([]string{"state", "dns", "http", "log", "mirror", "zones", "shutdown_timeout"}, section) || key == "policy.listable"
}
