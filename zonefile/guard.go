package zonefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RefusedDir is where in the directory that is kept which was not published.
// rsync passes over what begins with a dot, by our configuration.
const RefusedDir = ".refused"

// WhyName is the file there that says why, in one line.
const WhyName = "WHY"

// RefusedError tells why files that were written must not be published. The
// former ones stay in force.
type RefusedError struct {
	cause error
	lasts bool // to try again changes nothing
}

// Error implements error.
func (e *RefusedError) Error() string { return "refused: " + e.cause.Error() }

// Unwrap returns what the guard said.
func (e *RefusedError) Unwrap() error { return e.cause }

func refuse(format string, args ...any) error {
	return &RefusedError{cause: fmt.Errorf(format, args...), lasts: true}
}

// guard looks at what the list is, once its files are read back.
func (p *Publisher) guard(b *batch, brake float64) error {
	if err := p.guardEntries(b.list); err != nil {
		return err
	}
	// A list that has ended is empty because an operator said so.
	if brake == 0 || !b.list.Snapshot.Decommissioned().IsZero() {
		return nil
	}
	former, err := ReadManifest(p.o.Dir)
	if err != nil {
		return nil //nolint:nilerr // none, or none that tells anything
	}
	return b.brake(former, brake)
}

// guardEntries wants nothing to be published that is exempt or of special
// purpose. It looks up what lies there: that is little, and the list is long.
func (p *Publisher) guardEntries(list List) error {
	if p.o.Forbidden == nil {
		return nil
	}
	blocks, why, err := p.o.Forbidden()
	if err != nil {
		return err
	}
	for _, block := range blocks {
		if block.Addr().Is4In6() {
			continue // what would lie there is listed as IPv4
		}
		for _, prefix := range list.Zone.listedAround(list.Snapshot, block) {
			if bad := why(prefix); bad != nil {
				// What was exempted a moment ago is gone from the snapshot that follows.
				return &RefusedError{cause: fmt.Errorf("%s: %w", prefix, bad), lasts: p.o.Snapshots() == list.Snapshot}
			}
		}
	}
	return nil
}

// brakeLeast is how few entries may always come or go.
const brakeLeast = 100

// brake compares with what is published: a list that doubles or empties at once
// is more often an accident than news.
func (b *batch) brake(former Manifest, share float64) error {
	entries := map[string]int{}
	for _, f := range former.Files {
		entries[f.Name] = f.Entries
	}
	for _, f := range b.files {
		was := entries[f.name]
		if f.plain != nil || f.format == Removals || was == 0 { // a list has to begin
			continue
		}
		change := max(f.entries-was, was-f.entries)
		if change > brakeLeast && float64(change) > share*float64(was) {
			return refuse("%s would go from %d entries to %d at once; if that is right, say so with 'backscatter export accept'", f.name, was, f.entries)
		}
	}
	return nil
}

// setAside keeps what was refused, with the reason, in place of what was kept
// before; what is no refusal is not kept.
func (b *batch) setAside(why error, now time.Time) error {
	if _, refused := errors.AsType[*RefusedError](why); !refused {
		return nil
	}
	aside := filepath.Join(b.dir, RefusedDir)
	if err := errors.Join(os.RemoveAll(aside), os.Mkdir(aside, 0o755)); err != nil {
		return fmt.Errorf("keep what was refused: %w", err)
	}
	var errs []error
	for _, f := range b.files {
		if err := os.Rename(f.path, filepath.Join(aside, f.name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	line := fmt.Sprintf("%s serial=%d %s\n", stamp(now), b.list.Snapshot.Serial(), strings.ReplaceAll(why.Error(), "\n", "; "))
	return errors.Join(append(errs, os.WriteFile(filepath.Join(aside, WhyName), []byte(line), 0o644))...)
}
