package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"backscatter/listing"
	"backscatter/ops/config"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

// withClient runs work with a client of the daemon, or, when none runs, of the
// store opened in this process.
func (a *app) withClient(ctx context.Context, work func(*control.Client) error) error {
	socket := a.socket
	var c *config.Config // not needed, so it need not be right, when the socket is named
	if socket == "" {
		var err error
		if c, err = a.loadConfig(); err != nil {
			return err
		}
		socket = a.socketPath(c)
	}
	client := control.Dial(socket)
	defer client.Close()
	err := client.Ping(ctx)
	if errors.Is(err, control.ErrUnreachable) && c != nil {
		return a.offline(ctx, c, err, work)
	}
	if err != nil {
		return err
	}
	return work(client)
}

// offline opens the store itself, which its lock allows only while no daemon
// has it.
func (a *app) offline(ctx context.Context, c *config.Config, unreachable error, work func(*control.Client) error) error {
	store := filepath.Join(c.State, daemon.StoreName)
	if _, err := os.Stat(store); err != nil {
		return fmt.Errorf("%w; and there is no store at %s to work on without one", unreachable, store)
	}
	err := daemon.Offline(ctx, c, version, work)
	if errors.Is(err, listing.ErrLocked) {
		return fmt.Errorf("%w, yet a process holds the store %s: is the daemon starting or stopping?", unreachable, store)
	}
	return err
}

// printJSON writes one value, indented for people who look at it.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// confirm asks before a change of many listings. Without a terminal only --yes
// answers.
func (a *app) confirm(question string) error {
	if !isTerminal(a.in) || !isTerminal(a.err) {
		return usageError("%s: pass --yes to do it; there is no terminal to ask at", question)
	}
	fmt.Fprintf(a.err, "%s? [y/N] ", question)
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &codeError{exitFailed, errors.New("nothing was changed")}
}

// stamp writes a time for people: UTC, to the second.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// printJSONLine writes one value on one line, for output of many.
func (a *app) printJSONLine(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// printable replaces what could play tricks on a terminal: texts of reports
// come from strangers.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
