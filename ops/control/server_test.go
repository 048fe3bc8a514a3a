package control_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

// The user of an order is who the kernel says is at the other end.
func TestActorIsThePeer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := f.client.List(t.Context(), control.ListRequest{Order: order, Entries: []listing.Manual{{Key: key(t, "192.0.2.1")}}}); err != nil {
		t.Fatal(err)
	}
	page, err := f.client.Audit(t.Context(), control.AuditRequest{Within: netip.MustParsePrefix("192.0.2.1/32")})
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	want := listing.Actor{UID: os.Getuid(), Name: "uid", Via: "control socket"}
	if me, err := user.Current(); err == nil {
		want.Name = me.Username
	}
	if diff := cmp.Diff(want, page.Entries[0].By); diff != "" {
		t.Error(diff)
	}
	if e, err := f.client.Show(t.Context(), "192.0.2.1", false); err != nil || e.Operator != want.Name {
		t.Errorf("operator %q, %v", e.Operator, err)
	}
	if e, err := f.client.Show(t.Context(), "192.0.2.1", true); err != nil || e.Operator != "" || !e.Listed {
		t.Errorf("told the public that %q listed it: %+v, %v", e.Operator, e, err)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	path := filepath.Join(dir, "control.sock")
	first, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v, %v; want it for owner and group alone", info.Mode(), err)
	}
	// One that was left behind by a crash is replaced.
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}

	// What is no socket is nobody's to remove.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "something else of that name") {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	link := filepath.Join(dir, "link.sock")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(link); err == nil {
		t.Error("took a symbolic link")
	}
	if _, err := control.Listen(filepath.Join(dir, strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "the system allows 107") {
		t.Error(err)
	}
	if _, err := control.Listen(filepath.Join(dir, "none", "control.sock")); err == nil {
		t.Error("listens in a folder that is not there")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	null, received := "", time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	full := control.ReportRequest{
		Reporter: "other", Client: netip.MustParseAddr("2001:db8::1"), HELO: "he.sender.example", PTR: "mail.sender.example", MailFrom: &null,
		Recipients: []string{"a@trap.example", "b&c=d@trap.example"}, Truncated: true, Hearsay: true, Received: received,
	}
	if _, err := f.client.Report(t.Context(), full, []byte("Subject: x\r\n\r\n\x00\xff")); err != nil {
		t.Fatal(err)
	}
	want := evidence.Report{
		Raw: []byte("Subject: x\r\n\r\n\x00\xff"), Truncated: true, Hearsay: true, Received: received, Reporter: "other", Sensor: "report",
		Envelope: evidence.Envelope{Client: full.Client, HELO: "he.sender.example", PTR: "mail.sender.example", MailFromKnown: true, Recipients: full.Recipients},
	}
	if diff := cmp.Diff(want, f.sink.last(t), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}

	// Nothing is known: the first reporter's, received now, not held by us.
	before := time.Now()
	finding, err := f.client.Report(t.Context(), control.ReportRequest{}, nil)
	if err != nil || finding.Class != listing.ClassBounce || finding.Reason != evidence.ReasonNoProof {
		t.Errorf("%+v, %v", finding, err)
	}
	got := f.sink.last(t)
	if got.Reporter != "local" || got.Held || got.Envelope.MailFromKnown || got.Envelope.Client.IsValid() || got.Received.Before(before) {
		t.Errorf("%+v", got)
	}

	// More than is judged is cut, and said to be.
	if _, err := f.client.Report(t.Context(), control.ReportRequest{}, bytes.Repeat([]byte("x"), control.MaxReportBytes)); err != nil || f.sink.last(t).Truncated {
		t.Errorf("a message that just fits: %v, cut %t", err, f.sink.last(t).Truncated)
	}
	if _, err := f.client.Report(t.Context(), control.ReportRequest{}, bytes.Repeat([]byte("x"), control.MaxReportBytes+1)); err != nil {
		t.Fatal(err)
	}
	if got := f.sink.last(t); len(got.Raw) != control.MaxReportBytes || !got.Truncated {
		t.Errorf("%d bytes, cut %t", len(got.Raw), got.Truncated)
	}

	for _, query := range []string{"client_ip=nonsense", "received=yesterday"} {
		if status, text := f.raw(t, http.MethodPost, "/v1/report?"+query, "", nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}

	// What could not be stored is to be sent again.
	for _, f.sink.err = range []error{errors.New("the disk is full"), listing.ErrUnavailable, listing.ErrBrake, listing.ErrKey} {
		_, err = f.client.Report(t.Context(), control.ReportRequest{}, nil)
		var refused *control.Error
		if !errors.As(err, &refused) || refused.Code != control.CodeTryAgain || !strings.Contains(refused.Message, f.sink.err.Error()) {
			t.Error(err)
		}
	}
}

func TestHasEnvelope(t *testing.T) {
	t.Parallel()
	null := ""
	for _, c := range []struct {
		r    control.ReportRequest
		want bool
	}{
		{control.ReportRequest{}, false},
		{control.ReportRequest{Reporter: "x", Truncated: true, Received: time.Unix(1, 0)}, false},
		{control.ReportRequest{MailFrom: &null}, true},
		{control.ReportRequest{Client: netip.MustParseAddr("192.0.2.1")}, true},
		{control.ReportRequest{Recipients: []string{"a@trap.example"}}, true},
	} {
		if got := c.r.HasEnvelope(); got != c.want {
			t.Errorf("%+v: %t", c.r, got)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(t, 25)
	var got []string
	r := control.ListingsRequest{Limit: 10, By: listing.ByOperator, Class: listing.ClassManual, Within: netip.MustParsePrefix("10.0.0.0/24")}
	for pages := 0; ; pages++ {
		page, err := f.client.Listings(t.Context(), r)
		if err != nil || pages > 3 {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, l := range page.Listings {
			got = append(got, l.Key.String())
		}
		if page.Next == nil {
			break
		}
		r.After = *page.Next
	}
	if want := strings.Fields(many(25)); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	audit, err := f.client.Audit(t.Context(), control.AuditRequest{Limit: 1})
	if err != nil || len(audit.Entries) != 1 || audit.Next != audit.Entries[0].Number {
		t.Fatalf("%+v, %v", audit, err)
	}
	next, err := f.client.Audit(t.Context(), control.AuditRequest{After: audit.Next})
	if err != nil || next.Next != 0 || len(next.Entries) == 0 || next.Entries[0].Number != audit.Next+1 {
		t.Errorf("%+v, %v", next, err)
	}
}

// A panic costs one request, and its words go to the log alone.
func TestPanic(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	var log bytes.Buffer
	s := control.NewServer(control.Options{
		Store: newStore(t, dir), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Status: func() control.Status { panic("secret") },
		Zones:  func() *zonefile.Set { return zones(t) },
	})
	c := control.Local(s, control.LocalActor("test"))
	_, err := c.Status(t.Context())
	var refused *control.Error
	if !errors.As(err, &refused) || refused.Code != control.CodeInternal || strings.Contains(refused.Message, "secret") {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "secret") {
		t.Errorf("log: %s", log.String())
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dry := control.Order{Reason: "test", DryRun: true}
	r, err := f.client.Import(t.Context(), control.ImportRequest{Order: dry, Format: "txt"}, strings.NewReader(many(150)))
	if err != nil || !r.DryRun || r.NAdded != 150 || len(r.Added) != 150 || r.Taken != 150 {
		t.Errorf("%+v, %v", r, err)
	}
	if n := f.store.Snapshot().Len(); n != 0 {
		t.Errorf("%d entries are listed", n)
	}
	// What was done is told by its first hundred; the counts are whole.
	r, err = f.client.Import(t.Context(), control.ImportRequest{Order: order, Format: "txt"}, strings.NewReader(many(150)))
	if err != nil || r.DryRun || r.NAdded != 150 || len(r.Added) != 100 {
		t.Errorf("added %d, told %d, %v", r.NAdded, len(r.Added), err)
	}
}

// Where nobody is known to be at the other end, the audit says so.
func TestUnknownActor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := &discard{header: http.Header{}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "/v1/list", strings.NewReader(`{"reason":"x","entries":[{"key":"192.0.2.1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	f.server.ServeHTTP(w, req)
	page, err := f.client.Audit(t.Context(), control.AuditRequest{Within: netip.MustParsePrefix("192.0.2.1/32")})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].By != (listing.Actor{UID: -1, Name: "unknown", Via: "control"}) {
		t.Errorf("%+v, %v", page.Entries, err)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
