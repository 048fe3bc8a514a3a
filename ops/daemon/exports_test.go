package daemon_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/ops/control"
)

// A list that grows by much at once waits for an operator, and says so.
func TestAcceptExport(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "export")
	f, _ := serve(t, "exports:\n  - {zone: bl.example, dir: "+dir+", every: 1s}\n")
	client := f.client(t)
	fill := func(net string, n int) uint32 {
		t.Helper()
		var list strings.Builder
		for i := range n {
			fmt.Fprintf(&list, "%s.%d\n", net, i)
		}
		r := control.ImportRequest{Order: control.Order{Reason: "test"}, Format: "txt"}
		if _, err := client.Import(t.Context(), r, strings.NewReader(list.String())); err != nil {
			t.Fatal(err)
		}
		return f.Store().Snapshot().Serial()
	}
	first := fill("9.9.9", 20)
	waitFor(t, func() bool { return f.Status().Exports[0].Serial == first })
	second := fill("9.9.8", 150)
	waitFor(t, func() bool { return f.Status().Exports[0].Held })
	if e := f.Status().Exports[0]; e.Serial != first || !strings.Contains(e.Error, "from 20 entries to 170") {
		t.Errorf("%+v", e)
	}
	for _, c := range []struct {
		name   string
		r      control.AcceptRequest
		held   int
		serial uint32
	}{
		{"dry run", control.AcceptRequest{Order: control.Order{Reason: "test", DryRun: true}}, 1, first},
		{"in earnest", control.AcceptRequest{Order: control.Order{Reason: "test"}, Zone: "BL.example"}, 1, second},
		{"again", control.AcceptRequest{Order: control.Order{Reason: "test"}}, 0, second},
	} {
		done, err := client.AcceptExport(t.Context(), c.r)
		if err != nil || len(done.Held) != c.held {
			t.Fatalf("%s: %+v, %v", c.name, done, err)
		}
		if e := f.Status().Exports[0]; e.Serial != c.serial || e.Held != (c.serial == first) {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	if _, err := client.AcceptExport(t.Context(), control.AcceptRequest{Zone: "bl.example"}); err == nil || !strings.Contains(err.Error(), "a reason is required") {
		t.Errorf("without a reason: %v", err)
	}
	audit, err := client.Audit(t.Context(), control.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, entry := range audit.Entries {
		if entry.Action == listing.ActionAccept {
			told = append(told, entry.Reason+" "+string(entry.Detail))
			if entry.By.Name == "" || entry.By.Via == "" {
				t.Errorf("the audit does not say by whom: %+v", entry)
			}
		}
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "test {") || !strings.Contains(told[0], "from 20 entries to 170") {
		t.Errorf("the audit tells %q", told)
	}
	if _, err := client.AcceptExport(t.Context(), control.AcceptRequest{Order: control.Order{Reason: "test"}, Zone: "none.example"}); err == nil {
		t.Error("a zone that is not there")
	}
}

// While special-purpose space that is not to be listable any more waits for an operator,
// what lies in it is answered for, and exported too.
func TestExportWhileListableWaits(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "export")
	f, _ := serve(t, "brakes: {endings: 1}\nexports:\n  - {zone: bl.example, dir: "+dir+", every: 1s}\n")
	client := f.client(t)
	list := func(addresses ...string) uint32 {
		t.Helper()
		r := control.ImportRequest{Order: control.Order{Reason: "test"}, Format: "txt"}
		if _, err := client.Import(t.Context(), r, strings.NewReader(strings.Join(addresses, "\n")+"\n")); err != nil {
			t.Fatal(err)
		}
		return f.Store().Snapshot().Serial()
	}
	first := list("192.0.2.1", "192.0.2.2", "192.0.2.3")
	waitFor(t, func() bool { return f.Status().Exports[0].Serial == first })
	f.edit("listable: [192.0.2.0/24]", "listable: []")
	if done, err := f.reload(t.Context()); err != nil || len(done.Held) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	second := list("9.9.9.9")
	waitFor(t, func() bool { return f.Status().Exports[0].Serial == second || f.Status().Exports[0].Error != "" })
	if e := f.Status().Exports[0]; e.Serial != second || e.Error != "" {
		t.Errorf("%+v", e)
	}
}
