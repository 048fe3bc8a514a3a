package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/control"
)

var order = control.Order{Reason: "test"}

// Each refusal has a code that the caller branches on, and words that say
// what was wrong and no more.
func TestErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	list := func(r control.Order, until time.Time, keys ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			q := control.ListRequest{Order: r}
			for _, k := range keys {
				q.Entries = append(q.Entries, listing.Manual{Key: key(t, k), Until: until})
			}
			_, err := f.client.List(ctx, q)
			return err
		}
	}
	imported := func(format, text string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.client.Import(ctx, control.ImportRequest{Order: order, Format: format}, strings.NewReader(text))
			return err
		}
	}
	if err := list(order, time.Time{}, "198.51.100.0/24")(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do     func(context.Context) error
		status int
		code   string
		want   string
	}{
		"no reason":      {list(control.Order{}, time.Time{}, "192.0.2.1"), 400, control.CodeBadRequest, "a reason is required"},
		"long reason":    {list(control.Order{Reason: strings.Repeat("x", 1001)}, time.Time{}, "192.0.2.1"), 400, control.CodeBadRequest, "the reason has 1001 bytes"},
		"overlap":        {list(order, time.Time{}, "198.51.100.7"), 409, control.CodeConflict, "lies in 198.51.100.0/24"},
		"exempt":         {list(order, time.Time{}, "203.0.113.1"), 409, control.CodeConflict, "203.0.113.1: is exempt"},
		"an end in past": {list(order, time.Unix(1, 0), "192.0.2.1"), 409, control.CodeConflict, "which is past"},
		"not listed": {func(ctx context.Context) error {
			_, err := f.client.Delist(ctx, control.DelistRequest{Order: order, Keys: []listing.Key{key(t, "192.0.2.9")}})
			return err
		}, 404, control.CodeNotListed, "192.0.2.9: not listed"},
		"negative hold": {func(ctx context.Context) error {
			_, err := f.client.Delist(ctx, control.DelistRequest{Order: order, Keys: []listing.Key{key(t, "192.0.2.9")}, Hold: -1})
			return err
		}, 400, control.CodeBadRequest, "want 0 or more"},
		"not exempt": {func(ctx context.Context) error {
			_, err := f.client.Unexempt(ctx, control.UnexemptRequest{Order: order, Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}})
			return err
		}, 404, control.CodeNotFound, "no such exemption"},
		"exemption with bits set": {func(ctx context.Context) error {
			_, err := f.client.Exempt(ctx, control.ExemptRequest{Order: order, Exemptions: []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Reason: "x"}}})
			return err
		}, 400, control.CodeBadRequest, "did you mean 192.0.2.0/24"},
		"show nonsense": {func(ctx context.Context) error { _, err := f.client.Show(ctx, "nonsense", true); return err }, 400, control.CodeBadRequest, "no IPv4 or IPv6 address"},
		"show nothing":  {func(ctx context.Context) error { _, err := f.client.Show(ctx, "", true); return err }, 400, control.CodeBadRequest, "no address is named"},
		"page too long": {func(ctx context.Context) error {
			_, err := f.client.Listings(ctx, control.ListingsRequest{Limit: control.MaxPage + 1})
			return err
		}, 400, control.CodeBadRequest, "want 1 to 1000"},
		"negative page": {func(ctx context.Context) error {
			_, err := f.client.Audit(ctx, control.AuditRequest{Limit: -1})
			return err
		}, 400, control.CodeBadRequest, "want 1 to 1000"},
		"export of nothing": {func(ctx context.Context) error {
			return f.client.Export(ctx, control.ExportRequest{Format: "zone", Zone: "nope.example"}, io.Discard)
		}, 400, control.CodeBadRequest, "want one of bl.example, other.example"},
		"export format": {func(ctx context.Context) error {
			return f.client.Export(ctx, control.ExportRequest{Format: "csv"}, io.Discard)
		}, 400, control.CodeBadRequest, `format "csv"`},
		"import format":      {imported("csv", "192.0.2.1\n"), 400, control.CodeBadRequest, `format "csv"`},
		"import of removals": {imported("removals", "192.0.2.1\n"), 400, control.CodeBadRequest, "want one of txt, ip4set, ip4tset, ip4trie, ip6trie, combined, zone, jsonl"},
		"import of nonsense": {imported("txt", strings.Repeat("nonsense\n", 2000)), 400, control.CodeBadRequest, "is it txt at all\n  line 1: \"nonsense\""},
		"import bad lines":   {imported("txt", "192.0.2.1\nnonsense\n192.0.2.0/8\n"), 400, control.CodeBadRequest, "2 lines cannot be taken, and nothing was changed\n  line 2:"},
		"import cut off":     {imported("txt", "192.0.2.1\n192.0.2.1"), 400, control.CodeBadRequest, "ends without a newline"},
		"reload of nothing":  {func(ctx context.Context) error { _, err := f.client.Reload(ctx); return err }, 400, control.CodeBadRequest, "nothing to reload"},
	} {
		err := c.do(t.Context())
		var refused *control.Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v, want a refusal", name, err)
			continue
		}
		if refused.Status != c.status || refused.Code != c.code || !strings.Contains(refused.Message, c.want) {
			t.Errorf("%s: %d %s %q, want %d %s %q", name, refused.Status, refused.Code, refused.Message, c.status, c.code, c.want)
		}
		if strings.Contains(refused.Message, "bad request") {
			t.Errorf("%s: %q tells the code again", name, refused.Message)
		}
	}
	if n := f.store.Snapshot().Len(); n != 1 {
		t.Errorf("%d entries are listed, want the first alone", n)
	}
}

func TestStrictOrders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, body := range []string{
		``, `{`, `null x`, `[]`, `"text"`, "\x00\xff",
		`{"reason":"x","entries":[{"key":"192.0.2.1"}],"by":{"uid":0,"name":"root"}}`, // nobody says who he is
		`{"reason":"x","entries":[{"key":"192.0.2.1","forever":true}]}`,
		`{"reason":"x","entries":[{"key":"192.0.2.1"}]}{"reason":"y"}`,
		`{"reason":"x","entries":[{"key":"192.0.2.1/8"}]}`,
		`{"reason":"x","entries":[{"key":""}]}`,
		`{"reason":"x","entries":[{"key":"192.0.2.1","until":"tomorrow"}]}`,
		`{"reason":5,"entries":[]}`,
	} {
		status, text := f.raw(t, http.MethodPost, "/v1/list", "", strings.NewReader(body))
		var answer struct {
			Error *control.Error `json:"error"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Error == nil {
			t.Errorf("%q: %s", body, text)
			continue
		}
		if status != http.StatusBadRequest || answer.Error.Code != control.CodeBadRequest {
			t.Errorf("%q: %d %s", body, status, text)
		}
	}
	if n := f.store.Snapshot().Len(); n != 0 {
		t.Errorf("%d entries are listed", n)
	}
	for target, want := range map[string]int{"/v1/list": 405, "/v1/nothing": 404, "/": 404, "/v1/show?key=192.0.2.1": 200} {
		if status, text := f.raw(t, http.MethodGet, target, "", nil); status != want {
			t.Errorf("GET %s: %d %s, want %d", target, status, text, want)
		}
	}
}

// A client that calls the list a form, as curl does by itself, must not have
// an empty list imported.
func TestImportIsNoForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	status, text := f.raw(t, http.MethodPost, "/v1/import?format=txt&reason=test", "application/x-www-form-urlencoded", strings.NewReader("192.0.2.1\n"))
	if status != http.StatusOK || f.store.Snapshot().Len() != 1 {
		t.Errorf("%d %s, %d listed", status, text, f.store.Snapshot().Len())
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	endless := func() io.Reader {
		return io.LimitReader(repeating("# a comment, as there are many in lists that people made by themselves\n"), control.MaxOrderBytes+1)
	}
	_, err := f.client.Import(t.Context(), control.ImportRequest{Order: order, Format: "txt"}, endless())
	var refused *control.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusRequestEntityTooLarge || !strings.Contains(refused.Message, "import it in parts") {
		t.Errorf("import: %v", err)
	}
	// One key more than an order takes, well within the size.
	body := `{"reason":"x","prefixes":["10.0.0.0/8"` + strings.Repeat(`,"10.0.0.0/8"`, 1_000_000) + `]}`
	status, text := f.raw(t, http.MethodPost, "/v1/unexempt", "", strings.NewReader(body))
	if status != http.StatusBadRequest || !strings.Contains(text, "1000001 entries in one order, want at most 1000000") {
		t.Errorf("unexempt: %d %s", status, text)
	}
	if n := f.store.Snapshot().Len(); n != 0 {
		t.Errorf("%d entries are listed", n)
	}
}

// repeating reads a text again and again.
type repeating string

func (r repeating) Read(p []byte) (n int, err error) {
	for n < len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	c := control.Dial(tempDir(t) + "/none.sock")
	defer c.Close()
	err := c.Ping(t.Context())
	if !errors.Is(err, control.ErrUnreachable) || !strings.Contains(err.Error(), "start it with 'backscatter serve'") {
		t.Error(err)
	}
	// Somebody who listens and says nothing hangs; nobody waits for him for ever.
	l, err := control.Listen(filepath.Join(tempDir(t), control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mute := control.Dial(l.Addr().String())
	defer mute.Close()
	mute.SetWait(50 * time.Millisecond)
	if err := mute.Ping(t.Context()); !errors.Is(err, control.ErrUnreachable) || !strings.Contains(err.Error(), "does not answer within 50ms") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFixture(t)
	if err := f.client.Ping(ctx); err == nil || errors.Is(err, control.ErrUnreachable) {
		t.Errorf("cancelled: %v", err)
	}
}
