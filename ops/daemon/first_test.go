package daemon_test

import (
	"bytes"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/ops/control"
)

// Where no zone is named, the first of the configuration is meant: by an export, and
// by the page that tells whom to write to.
func TestFirstZone(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	f.edit("zones:\n", "zones:\n  - {name: z.example, ns: [ns1.z.example]}\n  - {name: a.example, ns: [ns1.a.example]}\n")
	if _, err := f.Reload(t.Context(), listing.Actor{Name: "test"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := f.client(t).Export(t.Context(), control.ExportRequest{Format: "zone"}, &out); err != nil || !strings.Contains(out.String(), "z.example") || strings.Contains(out.String(), "a.example") {
		t.Errorf("%v: exported\n%.500s", err, out.String())
	}
	k, err := listing.ParseKey("192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client(t).List(t.Context(), control.ListRequest{Order: control.Order{Reason: "x"}, Entries: []listing.Manual{{Key: k}}}); err != nil {
		t.Fatal(err)
	}
	if code, page := get(t, "http://"+f.Addr("http")+"/192.0.2.7"); code != 200 || !strings.Contains(page, "hostmaster@z.example") {
		t.Errorf("%d %s", code, page)
	}
}
