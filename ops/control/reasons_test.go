package control_test

import (
	"net/http"
	"strings"
	"testing"
)

// Whoever speaks to the socket without the program's own commands is refused
// just so, whatever else there is to say about the request.
func TestNoReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.store.Snapshot().Sequence()
	for path, body := range map[string]string{
		"list":             `{"entries":[{"key":"192.0.2.1"}]}`,
		"delist":           `{"reason":" \t ","keys":["192.0.2.1"]}`,
		"exempt":           `{"exemptions":[{"prefix":"192.0.2.0/24"}],"dry_run":true}`,
		"unexempt":         `{"prefixes":["192.0.2.0/24"]}`,
		"import":           "192.0.2.1\n",
		"revoke":           `{"sensor":"smtp"}`,
		"resume":           `{}`,
		"decommission":     `{}`,
		"reporter/suspend": `{"name":"local"}`,
		"compact":          `{"dry_run":true}`,
	} {
		query := ""
		if path == "import" {
			query = "?format=txt"
		}
		status, text := f.raw(t, http.MethodPost, "/v1/"+path+query, "application/json", strings.NewReader(body))
		if status != http.StatusBadRequest || !strings.Contains(text, "a reason is required") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if f.store.Snapshot().Sequence() != before {
		t.Error("something was changed")
	}
}
