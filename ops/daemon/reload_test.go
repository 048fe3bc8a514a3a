package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/ops/control"
)

// A configuration with anything wrong in it, or anything that needs a restart,
// changes nothing at all.
func TestReloadAllOrNothing(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	zones, traps, settings, serial := f.Zones(), f.Traps(), f.Store().Settings(), f.Store().Snapshot().Serial()
	good := *f.text.Load()
	for name, c := range map[string]struct {
		edit []string
		code string
		want string
	}{
		"no YAML":        {[]string{"ttl: 300s", "ttl: 60s", "policy:", "policy: ["}, control.CodeBadRequest, "test.yaml:"},
		"a bare number":  {[]string{"trap.example", "new.example", "ttl: 300s", "ttl: 300"}, control.CodeBadRequest, "has no unit"},
		"two at a time":  {[]string{"ttl: 300s", "ttl: 1", "solo", "quartet"}, control.CodeBadRequest, "quartet"},
		"a restart":      {[]string{"ttl: 300s", "ttl: 60s", `dns: {listen: ["127.0.0.1:0"]}`, `dns: {listen: ["127.0.0.1:1"]}`}, control.CodeConflict, "a change of dns.listen needs a restart"},
		"another state":  {[]string{"ttl: 300s", "ttl: 60s", "state: /", "state: /other/"}, control.CodeConflict, "state needs a restart"},
		"another export": {[]string{"ttl: 300s", "ttl: 60s", "zones:", "exports: [{zone: bl.example, dir: /x}]\nzones:"}, control.CodeConflict, "exports needs a restart"},
	} {
		f.edit(c.edit...)
		_, err := f.client(t).Reload(t.Context())
		var refused *control.Error
		if !errors.As(err, &refused) || refused.Code != c.code || !strings.Contains(refused.Message, c.want) {
			t.Errorf("%s: %v, want %s: %s", name, err, c.code, c.want)
		}
		if f.Zones() != zones || f.Traps() != traps || f.Store().Snapshot().Serial() != serial {
			t.Errorf("%s: something changed", name)
		}
		if diff := cmp.Diff(settings, f.Store().Settings(), cmp.Comparer(func(a, b listing.Settings) bool {
			return fmt.Sprint(a) == fmt.Sprint(b)
		})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		f.text.Store(&good)
	}

	// And a right one all of it.
	f.edit("ttl: 300s", "ttl: 60s", "trap.example", "new.example", "solo", "community")
	result, err := f.client(t).Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"policy.profile", "traps", "zones"}, onlyOf(result.Changed, "policy.profile", "traps", "zones")); diff != "" {
		t.Error(diff)
	}
	if a := f.ask(t, "2.0.0.127.bl.example.", dns.TypeA).Answer; len(a) != 1 || a[0].Header().Ttl != 60 {
		t.Errorf("answer %v, want the new TTL", a)
	}
	soa, ok := f.ask(t, "bl.example.", dns.TypeSOA).Answer[0].(*dns.SOA)
	if !ok || soa.Serial != serial+1 {
		t.Errorf("serial %v, want it moved from %d: what is published changed", soa, serial)
	}
	finding, err := f.Submit(t.Context(), evidence.Report{Raw: []byte(bounce("x@new.example", "1")), Reporter: "local", Received: time.Now(), Envelope: evidence.Envelope{Recipients: []string{"x@new.example"}}})
	if err != nil || !finding.RecipientTrap {
		t.Errorf("the new trap is not judged by: %+v, %v", finding, err)
	}
	if _, ok := f.Traps().IsTrap("x@trap.example"); ok {
		t.Error("the former trap is still one")
	}
	if p := f.Store().Settings().Policy.Profile; p != "community" {
		t.Errorf("profile %s", p)
	}
	result, err = f.client(t).Reload(t.Context())
	if err != nil || len(result.Changed) != 0 || f.Store().Snapshot().Serial() != serial+1 {
		t.Errorf("a reload of the same: %v, %v, serial %d", result.Changed, err, f.Store().Snapshot().Serial())
	}
}

func onlyOf(have []string, wanted ...string) []string {
	var out []string
	for _, h := range have {
		for _, w := range wanted {
			if h == w {
				out = append(out, h)
			}
		}
	}
	return out
}

// Secondaries and mirrors go by the serial: whoever sees a new one sees the
// new settings with it.
func TestNoNewSerialWithOldSettings(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	first := f.Store().Snapshot().Serial()
	const reloads = 20
	stop := make(chan struct{})
	var watchers sync.WaitGroup
	for range 2 {
		watchers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				serial := f.Store().Snapshot().Serial()
				ttl := f.Zones().Find("bl.example").TTL
				if want := time.Duration(300+serial-first) * time.Second; ttl < want {
					t.Errorf("serial +%d with ttl %s, want %s", serial-first, ttl, want)
					return
				}
			}
		})
	}
	for i := range reloads {
		f.edit(fmt.Sprintf("ttl: %ds", 300+i), fmt.Sprintf("ttl: %ds", 301+i))
		if _, err := f.reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	watchers.Wait()
	if got := f.Store().Snapshot().Serial(); got != first+reloads {
		t.Errorf("serial moved by %d, want %d", got-first, reloads)
	}
}

// Whoever asked for a reload may leave; the store may have taken the new
// settings over by then, so the rest follows.
func TestReloadIsFinished(t *testing.T) {
	t.Parallel()
	f, err := open(t, tempDir(t), "") // not running, so the store lets the reload wait
	if err != nil {
		t.Fatal(err)
	}
	f.edit("ttl: 300s", "ttl: 60s")
	asker, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := f.reload(asker); done <- err }()
	waitFor(t, func() bool {
		s, err := f.Store().Status()
		return err == nil && s.Waiting > 0
	})
	leave()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- f.Store().Run(ctx) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if ttl := f.Zones().Find("bl.example").TTL; ttl != time.Minute {
		t.Errorf("ttl %s", ttl)
	}
	cancel()
	if err := errors.Join(<-ran, f.CloseAll()); err != nil {
		t.Error(err)
	}
}

// When the store cannot take the settings over, the zones go back too.
func TestReloadOfAStoreThatCannot(t *testing.T) {
	t.Parallel()
	f, err := open(t, tempDir(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.CloseAll(); err != nil {
		t.Fatal(err)
	}
	zones := f.Zones()
	f.edit("ttl: 300s", "ttl: 60s")
	if _, err := f.reload(t.Context()); !errors.Is(err, listing.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if f.Zones() != zones {
		t.Error("the new zones are served although nothing was taken over")
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(patience)
	for !condition() {
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatal("waited in vain")
		}
	}
}

// A reload by whose classes over half a zone would go, or come, takes nothing over.
func TestReloadOfClassesIsBraked(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "brakes: {endings: 2, endings_share: 0.5}\n")
	var keys []listing.Manual
	for n := range 3 {
		key, err := listing.ParseKey(fmt.Sprintf("192.0.2.%d", n))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, listing.Manual{Key: key})
	}
	order := listing.Order{By: listing.Actor{UID: -1, Name: "test"}, Reason: "a test"}
	if _, err := f.Store().List(t.Context(), order, keys); err != nil {
		t.Fatal(err)
	}
	all := *f.text.Load()
	none := strings.Replace(all, "ttl: 300s", "ttl: 60s, classes: [bounce]", 1)
	refuse := func(want string) {
		t.Helper()
		_, err := f.client(t).Reload(t.Context())
		refused, ok := errors.AsType[*control.Error](err)
		if !ok || refused.Code != control.CodeConflict || !strings.Contains(refused.Message, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	answers := func(ttl uint32, n int) {
		t.Helper()
		if a := f.ask(t, "1.2.0.192.bl.example.", dns.TypeA).Answer; len(a) != n || n > 0 && a[0].Header().Ttl != ttl {
			t.Errorf("answer %v, want %d for %d s", a, n, ttl)
		}
	}
	f.text.Store(&none)
	refuse("3 of the 3 listings of zone bl.example. would go at once and 0 would come; nothing was taken over")
	f.edit("endings: 2", "endings: 3")
	refuse("3 of the 3 listings") // by the brake in force
	answers(300, 1)

	for _, text := range []string{ // who lets so many go may have them go
		strings.Replace(all, "endings: 2", "endings: 3", 1), strings.Replace(none, "endings: 2", "endings: 3", 1), none,
	} {
		f.text.Store(&text)
		if _, err := f.client(t).Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	answers(60, 0)
	f.text.Store(&all)
	refuse("0 of the 0 listings of zone bl.example. would go at once and 3 would come")
	answers(60, 0)
}
