package daemon_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"backscatter/ops/config"
	"backscatter/ops/control"
)

// askCookie asks for a cookie alone (RFC 7873 §5.4) with the data of a COOKIE
// option, and returns that of the answer.
func (f *fixture) askCookie(t *testing.T, data string) (rcode int, cookie string) {
	t.Helper()
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: data}}
	c := dns.Client{Net: "tcp", Timeout: patience}
	r, _, err := c.Exchange(m, f.Addr("dns"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.IsEdns0().Option {
		if got, ok := o.(*dns.EDNS0_COOKIE); ok {
			return r.Rcode, got.Cookie
		}
	}
	t.Fatal("no cookie in the answer")
	return 0, ""
}

const clientCookie = "0123456789abcdef"

// wantGood wants a cookie to be one that the server takes for its own, or not.
func (f *fixture) wantGood(t *testing.T, what, cookie string, want bool) {
	t.Helper()
	if rcode, _ := f.askCookie(t, cookie); (rcode == dns.RcodeSuccess) != want {
		t.Errorf("%s: %s", what, dns.RcodeToString[rcode])
	}
}

// TestCookieSecret wants the first start to make a secret that nobody else may
// read, and the next start to go on with it.
func TestCookieSecret(t *testing.T) {
	t.Parallel()
	f, stop := serve(t, "")
	_, cookie := f.askCookie(t, clientCookie)
	f.wantGood(t, "its own cookie", cookie, true)
	f.wantGood(t, "somebody's cookie", clientCookie+strings.Repeat("00", 16), false)
	name := filepath.Join(f.state, "cookie.secrets")
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info, err)
	}
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	again, err := open(t, f.state, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.CloseAll(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(name); err != nil || string(after) != string(before) {
		t.Errorf("the secret was made anew: %v", err)
	}
	if err := os.WriteFile(name, []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, f.state, ""); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%v, want the damaged file named", err)
	}
}

// TestRollCookies changes the secret in three steps: at each, the cookies that
// clients have are good, and after the last those of the old secret are not.
func TestRollCookies(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	name := filepath.Join(f.state, "cookie.secrets")
	client := f.client(t)
	order := control.Order{Reason: "the yearly change"}
	roll := func(want control.CookieStep) {
		t.Helper()
		for _, dryRun := range []bool{true, false} {
			order.DryRun = dryRun
			got, err := client.RollCookies(t.Context(), order)
			if diff := cmp.Diff(control.CookieResult{Step: want, File: name, DryRun: dryRun}, got); diff != "" || err != nil {
				t.Fatalf("%v (-want +got)\n%s", err, diff)
			}
		}
	}
	stages := func(want ...config.CookieStage) {
		t.Helper()
		secrets, err := config.ReadCookieSecrets(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []config.CookieStage
		for _, s := range secrets {
			got = append(got, s.Stage)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	_, old := f.askCookie(t, clientCookie)
	stages("active")
	roll(control.CookieStaged)
	stages("active", "staged")
	f.wantGood(t, "an old cookie, the new secret staged", old, true)
	roll(control.CookieActivated)
	stages("active", "old")
	f.wantGood(t, "an old cookie, the new secret active", old, true)
	_, fresh := f.askCookie(t, clientCookie)

	order.DryRun = false
	var refused *control.Error
	if _, err := client.RollCookies(t.Context(), order); !errors.As(err, &refused) || refused.Code != control.CodeConflict {
		t.Errorf("dropped while clients have old cookies: %v", err)
	}
	order.DryRun = true
	if got, err := client.RollCookies(t.Context(), order); err != nil || got.Early.Before(time.Now().Add(50*time.Minute)) {
		t.Errorf("%+v, %v, want it told that it is too early", got, err)
	}
	past := time.Now().Add(-66 * time.Minute)
	if err := os.Chtimes(name, past, past); err != nil {
		t.Fatal(err)
	}
	roll(control.CookieDropped)
	stages("active")
	f.wantGood(t, "an old cookie, its secret dropped", old, false)
	f.wantGood(t, "a new cookie", fresh, true)
}

// TestCookieSecretsByFile wants a reload to take a shared file over, and to
// change nothing when it cannot be read.
func TestCookieSecretsByFile(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	name := filepath.Join(f.state, "shared")
	text := "staged " + hex.EncodeToString(make([]byte, 16)) + "\nactive " + strings.Repeat("5a", 16) + "\n"
	f.edit(`dns: {listen`, `dns: {cookies: {file: `+name+`}, listen`)
	_, before := f.askCookie(t, clientCookie)
	if _, err := f.reload(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%v, want the missing file named", err)
	}
	f.wantGood(t, "a cookie from before the reload that failed", before, true)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.wantGood(t, "a cookie of the former secret", before, false)
	_, after := f.askCookie(t, clientCookie)
	f.wantGood(t, "a cookie of the shared secret", after, true)

	f.edit(`cookies: {`, `cookies: {enabled: false, `)
	if _, err := f.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rcode := f.ask(t, "bl.example.", dns.TypeSOA).Rcode; rcode != dns.RcodeSuccess {
		t.Errorf("without cookies: %s", dns.RcodeToString[rcode])
	}
	if _, err := f.client(t).RollCookies(t.Context(), control.Order{Reason: "none"}); err == nil {
		t.Error("rolled a secret where there is none")
	}
}
