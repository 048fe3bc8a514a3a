package listing_test

import (
	"crypto/ed25519"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
)

// publicKey is a key that differs by n.
func publicKey(n byte) []byte {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func (r *running) remote(o listing.ReporterOrder) (listing.Enrolment, error) {
	o.Order = operator
	return r.Reporter(r.t.Context(), o)
}

// A reporter goes over from one key to the next; each key is one reporter's.
func TestReporterKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "listing.db")
		s := open(t, path, scoring())
		first, second := publicKey(1), publicKey(2)
		e, err := s.remote(listing.ReporterOrder{Action: listing.ActionEnrol, Name: "friend", Key: first})
		if err != nil || len(e.Keys) != 1 || e.Keys[0].ID != listing.KeyID(first) || !e.Keys[0].Added.Equal(time.Now()) {
			t.Fatalf("%+v %v", e, err)
		}
		if _, err := s.remote(listing.ReporterOrder{Action: listing.ActionAddKey, Name: "friend", Key: second}); err != nil {
			t.Fatal(err)
		}
		// Of a reporter of the configuration the store keeps the keys alone.
		if e, err := s.remote(listing.ReporterOrder{Action: listing.ActionAddKey, Name: "local", Key: publicKey(3)}); err != nil || !e.Configured || len(e.Keys) != 1 {
			t.Fatalf("%+v %v", e, err)
		}
		for name, refused := range map[string]listing.ReporterOrder{
			"another's key":  {Action: listing.ActionAddKey, Name: "local", Key: first},
			"its own again":  {Action: listing.ActionAddKey, Name: "friend", Key: first},
			"a short key":    {Action: listing.ActionAddKey, Name: "friend", Key: first[:31]},
			"an unknown one": {Action: listing.ActionRemoveKey, Name: "friend", KeyID: listing.KeyID(publicKey(9))},
			"nobody":         {Action: listing.ActionAddKey, Name: "nobody", Key: publicKey(9)},
		} {
			var r *listing.RefusedError
			if _, err := s.remote(refused); !errors.As(err, &r) {
				t.Errorf("%s: %v", name, err)
			}
		}
		s = s.reopen(scoring())
		for n, owner := range map[byte]string{1: "friend", 2: "friend", 3: "local"} {
			e, k, err := s.ReporterByKey(listing.KeyID(publicKey(n)))
			if err != nil || e.Name != owner || !slices.Equal(k.Public, publicKey(n)) || (owner == "local") != e.Configured {
				t.Errorf("key %d: %+v %+v %v", n, e, k, err)
			}
		}
		if e, err := s.remote(listing.ReporterOrder{Action: listing.ActionRemoveKey, Name: "friend", KeyID: listing.KeyID(first)}); err != nil || len(e.Keys) != 1 {
			t.Errorf("%+v %v", e, err)
		}
		if _, _, err := s.ReporterByKey(listing.KeyID(first)); !errors.Is(err, listing.ErrReporter) {
			t.Errorf("a removed key: %v", err)
		}
		s.reporter(listing.ActionSuspend, "friend", 0)
		if e, _, err := s.ReporterByKey(listing.KeyID(second)); err != nil || e.Suspended.IsZero() {
			t.Errorf("a suspended one: %+v %v", e, err)
		}
		audit, err := s.Audit(listing.AuditFilter{})
		if err != nil || !slices.ContainsFunc(audit, func(a listing.AuditEntry) bool {
			return a.Action == listing.ActionRemoveKey && strings.Contains(string(a.Detail), listing.KeyID(first).String())
		}) {
			t.Errorf("%+v %v", audit, err)
		}
		s.verify()
	})
}

// The relays of who is enrolled are never listed, as those of the configuration.
func TestReporterRelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), scoring())
		exempt := func() (out []string) {
			all, err := s.Exemptions()
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range all {
				if strings.HasSuffix(x.Reason, "reporter friend") {
					out = append(out, x.Prefix.String())
				}
			}
			return out
		}
		if _, err := s.remote(listing.ReporterOrder{Action: listing.ActionEnrol, Name: "friend", Relays: relays("192.0.2.66/32", "192.0.2.70/32")}); err != nil {
			t.Fatal(err)
		}
		s = s.reopen(scoring())
		for n := range 3 {
			s.observe(reportedBy("local", n, "192.0.2.66"))
			s.observe(reportedBy("local", n, "192.0.2.67"))
		}
		s.want("192.0.2.67/32")
		if got := exempt(); !slices.Equal(got, []string{"192.0.2.66/32", "192.0.2.70/32"}) {
			t.Errorf("exempt: %v", got)
		}
		e, err := s.remote(listing.ReporterOrder{Action: listing.ActionRelays, Name: "friend", Relays: relays("192.0.2.67/32", "192.0.2.70/32")})
		if err != nil || len(e.Relays) != 2 {
			t.Fatalf("%+v %v", e, err)
		}
		s.want()
		if got := exempt(); !slices.Equal(got, []string{"192.0.2.67/32", "192.0.2.70/32"}) {
			t.Errorf("exempt: %v", got)
		}
		for name, bad := range map[string][]netip.Prefix{
			"too wide": relays("192.0.0.0/7"), "twice": relays("192.0.2.1/32", "192.0.2.1/32"), "no prefix": {{}},
		} {
			var r *listing.RefusedError
			if _, err := s.remote(listing.ReporterOrder{Action: listing.ActionRelays, Name: "friend", Relays: bad}); !errors.As(err, &r) {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.verify()
	})
}

func relays(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// What is some reporter's relay is not listed, whatever else exempts it now or did:
// a wider relay, another reporter's, or an operator for a while. No command lifts it.
func TestRelaysAreExemptAsLongAsTheyAreRelays(t *testing.T) {
	t.Parallel()
	const relay = "192.0.2.66"
	enrol := func(name string, prefixes ...string) func(*running) {
		return func(s *running) {
			if _, err := s.remote(listing.ReporterOrder{Action: listing.ActionEnrol, Name: name, Relays: relays(prefixes...)}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	change := func(name string, prefixes ...string) func(*running) {
		return func(s *running) {
			if _, err := s.remote(listing.ReporterOrder{Action: listing.ActionRelays, Name: name, Relays: relays(prefixes...)}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	for name, steps := range map[string][]func(*running){
		"a wider one narrowed":             {enrol("a", "192.0.2.0/24"), change("a", relay+"/32")},
		"another's given up":               {enrol("a", relay+"/32"), enrol("b", relay+"/32"), change("a")},
		"another's wider given up":         {enrol("a", "192.0.2.0/24"), enrol("b", relay+"/32"), change("a")},
		"the configuration's alone before": {enrol("a", relay+"/32")},
		"exempt for a while": {
			func(s *running) {
				x := listing.Exemption{Prefix: netip.MustParsePrefix(relay + "/32"), Until: time.Now().Add(time.Hour)}
				if _, err := s.Exempt(s.t.Context(), operator, []listing.Exemption{x}); err != nil {
					s.t.Fatal(err)
				}
			},
			enrol("a", relay+"/32"), func(*running) { time.Sleep(2 * time.Hour) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "listing.db")
				settings := scoring()
				if strings.HasPrefix(name, "the configuration's") {
					settings.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix(relay + "/32"), Reason: "relay of a reporter"}}
				}
				s := open(t, path, settings)
				for _, step := range steps {
					step(s)
				}
				s.stop()
				s = open(t, path, scoring())
				if _, err := s.Unexempt(t.Context(), operator, relays(relay+"/32")); !errors.Is(err, listing.ErrNotExempt) {
					t.Errorf("lifted by command: %v", err)
				}
				for n := range 3 {
					s.observe(reportedBy("local", n, relay))
				}
				s.want()
				if _, err := s.Try(t.Context(), scoring(), func(one listing.Trial) error {
					t.Errorf("a trial with the same settings: %+v", one)
					return nil
				}, func(uint64, uint64) {}); err != nil {
					t.Error(err)
				}
				for _, r := range []string{"a", "b"} { // given up by all: evidence counts
					if _, err := s.remote(listing.ReporterOrder{Action: listing.ActionRelays, Name: r}); err != nil && r == "a" {
						t.Error(err)
					}
				}
				s.observe(reportedBy("local", 4, relay))
				s.want(relay + "/32")
				s.verify()
			})
		})
	}
}
