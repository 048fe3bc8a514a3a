package daemon_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestLimits wants a reload to put limits in force and to lift them, and the
// machine itself to have none unless it is told otherwise.
func TestLimits(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	limited := func() bool {
		// Two questions can be in two seconds.
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if f.ask(t, "bl.example.", dns.TypeSOA).Truncated {
				return true
			}
		}
		return false
	}
	unlimited := func(what string) {
		t.Helper()
		for range 20 {
			if f.ask(t, "bl.example.", dns.TypeSOA).Truncated {
				t.Fatalf("%s: limited", what)
			}
		}
	}
	reload := func(oldNew ...string) {
		t.Helper()
		f.edit(oldNew...)
		if _, err := f.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reload("dns: {", "dns: {limits: {same: 1, slip: 1}, ")
	unlimited("the machine itself")
	reload("dns: {", "dns: {access: [], ")
	if !limited() {
		t.Error("no limit")
	}
	reload("access: []", "access: [{prefix: 127.0.0.1, action: allow}]")
	unlimited("a client of the rule allow")
}
