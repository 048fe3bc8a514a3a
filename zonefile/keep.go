package zonefile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"backscatter/listing"
)

// Keeper keeps a copy of a zone in a folder of its own, for a mirror that is to
// answer as soon as it starts again. The copy is an export, and is read as one: each
// file must have the bytes that its manifest says. It is written in turns into one
// of two folders, so that whatever stops the writing, the former one is there.
type Keeper struct {
	dir  string
	last string // folder of the newest copy
}

// keeperFolders are the two.
var keeperFolders = []string{"a", "b"}

// NewKeeper returns a keeper that uses the folder, whose parent exists.
func NewKeeper(dir string) (*Keeper, error) {
	for _, name := range []string{dir, filepath.Join(dir, keeperFolders[0]), filepath.Join(dir, keeperFolders[1])} {
		if err := os.Mkdir(name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make a folder for the copy: %w", err)
		}
	}
	return &Keeper{dir: dir}, nil
}

// Save writes a copy.
func (k *Keeper) Save(c *Copy, now time.Time) error {
	folder := keeperFolders[0]
	if k.last == folder {
		folder = keeperFolders[1]
	}
	zone := c.Zones.All()[0]
	p, err := NewPublisher(PublisherOptions{
		Dir: filepath.Join(k.dir, folder), Formats: []Format{IP4Set, IP6Trie}, Every: time.Second,
		Zone: func() *Zone { return zone }, Snapshots: func() *listing.Snapshot { return c.Snapshot },
	})
	if err != nil {
		return err
	}
	defer p.Tidy()
	if _, err := p.Publish(now); err != nil {
		return err
	}
	k.last = folder
	return nil
}

// Load reads the newest copy that is whole. The error is about those that are not.
func (k *Keeper) Load() (*Copy, error) {
	found := map[string]Manifest{}
	var errs []error
	for _, folder := range keeperFolders {
		m, err := ReadManifest(filepath.Join(k.dir, folder))
		switch {
		case err == nil:
			found[folder] = m
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	order := slices.Clone(keeperFolders)
	slices.SortStableFunc(order, func(a, b string) int { // the newest first
		return cmp.Or(int(int32(found[b].Serial-found[a].Serial)), found[b].Created.Compare(found[a].Created))
	})
	for _, folder := range order {
		if m, ok := found[folder]; ok {
			c, err := m.Load(filepath.Join(k.dir, folder))
			if err == nil {
				k.last = folder
				return c, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

// Confirmation is the newest serial that was in force, and when a primary last said
// that there was none newer.
type Confirmation struct {
	Serial    uint32    `json:"serial"`
	Confirmed time.Time `json:"confirmed"`
}

// Remember keeps a confirmation. It comes before what is answered by it: what was
// answered once must not be gone behind after a crash.
func (k *Keeper) Remember(c Confirmation) error {
	text, _ := json.Marshal(c) // plain values
	err := renameio.WriteFile(k.memory(), append(text, '\n'), 0o640)
	if err == nil {
		err = syncDir(k.dir)
	}
	if err != nil {
		return fmt.Errorf("remember serial %d: %w", c.Serial, err)
	}
	return nil
}

// Recall returns what was remembered last; false when nothing was.
func (k *Keeper) Recall() (c Confirmation, ok bool, err error) {
	text, err := readSmall(k.memory())
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, false, fmt.Errorf("%s: has not the newest serial: %w; remove it to take any", k.memory(), err)
	}
	return c, true, nil
}

func (k *Keeper) memory() string { return filepath.Join(k.dir, "newest") }

// ConfirmedAt returns the copy, which was told to be the newest at the time.
func (c *Copy) ConfirmedAt(at time.Time) (*Copy, error) {
	z := *c.Zones.All()[0]
	z.Copied = at
	zones, err := NewSet(&z)
	return &Copy{Manifest: c.Manifest, Zones: zones, Snapshot: c.Snapshot}, err
}
