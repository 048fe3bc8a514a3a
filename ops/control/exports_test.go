package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/ops/control"
)

// hook writes on until it has n bytes, then calls what to do.
type hook struct {
	n    int
	then func() error
}

func (h *hook) Write(p []byte) (int, error) {
	if h.n -= len(p); h.n <= 0 {
		return 0, h.then()
	}
	return len(p), nil
}

// Both ways of asking give the same file, and as much of it.
func TestExport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(t, 5000)
	local := control.Local(f.server, control.LocalActor("offline"))
	for _, format := range []string{"ip4set", "ip6trie", "zone", "txt"} {
		var over, here bytes.Buffer
		r := control.ExportRequest{Format: format, Zone: "BL.example"}
		if err := errors.Join(f.client.Export(t.Context(), r, &over), local.Export(t.Context(), r, &here)); err != nil {
			t.Error(err)
		}
		if over.Len() == 0 || !bytes.Equal(over.Bytes(), here.Bytes()) {
			t.Errorf("%s: %d bytes over the socket, %d in the process", format, over.Len(), here.Len())
		}
	}
	// Without a zone it is the first.
	var first bytes.Buffer
	if err := local.Export(t.Context(), control.ExportRequest{Format: "zone"}, &first); err != nil || !strings.Contains(first.String(), "$ORIGIN bl.example.\n") {
		t.Errorf("%v, %.100s", err, first.String())
	}
}

// Whoever takes a part of a list for all of it would unlist the rest. goleak
// sees to it that the other side ends.
func TestExportBrokenOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(t, 20_000) // 3 MB as a zone: more than any buffer on the way holds
	r := control.ExportRequest{Format: "zone"}
	full := errors.New("no space left")
	local := control.Local(f.server, control.LocalActor("offline"))
	for name, c := range map[string]*control.Client{"socket": f.client, "local": local} {
		if err := c.Export(t.Context(), r, &hook{100_000, func() error { return full }}); !errors.Is(err, full) {
			t.Errorf("%s: the file cannot be written, and export says %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := c.Export(ctx, r, &hook{100_000, func() error { cancel(); return ctx.Err() }})
		if cancel(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled, and export says %v", name, err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("%s: after it: %v", name, err)
		}
	}
	// The daemon dies in the middle.
	slow := io.Writer(&closer{f: f})
	if err := f.client.Export(t.Context(), r, slow); err == nil || !strings.Contains(err.Error(), "broken off") {
		t.Errorf("the daemon is gone, and export says %v", err)
	}
}

// closer closes the server once it gets something.
type closer struct {
	f    *fixture
	done bool
}

func (c *closer) Write(p []byte) (int, error) {
	if !c.done {
		c.done = true
		c.f.http.Close()
	}
	return len(p), nil
}

// Without a daemon all orders work as with one.
func TestLocal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	by := control.LocalActor("offline")
	local := control.Local(f.server, by)
	if _, err := local.List(t.Context(), control.ListRequest{Order: order, Entries: []listing.Manual{{Key: key(t, "192.0.2.1")}}}); err != nil {
		t.Fatal(err)
	}
	e, err := local.Show(t.Context(), "192.0.2.1", false)
	if err != nil || !e.Listed || e.Operator != by.String() {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = local.List(t.Context(), control.ListRequest{Order: order, Entries: []listing.Manual{{Key: key(t, "203.0.113.1")}}})
	var refused *control.Error
	if !errors.As(err, &refused) || refused.Code != control.CodeConflict || refused.Status != 409 {
		t.Error(err)
	}
	r, err := local.Import(t.Context(), control.ImportRequest{Order: order, Format: "txt"}, strings.NewReader(many(1000)))
	if err != nil || r.NAdded != 1000 {
		t.Errorf("%d, %v", r.NAdded, err)
	}
	page, err := local.Audit(t.Context(), control.AuditRequest{})
	if err != nil || page.Entries[len(page.Entries)-1].By != by {
		t.Errorf("%+v, %v", page.Entries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := local.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	local.Close()
}
