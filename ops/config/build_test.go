package config_test

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/listing"
	"backscatter/zonefile"

	gocmp "github.com/google/go-cmp/cmp"
)

const built = `
dns: {listen: ["198.18.0.1:53", "192.0.2.53:53"], version: "1.0", udp_sockets: 3, max_tcp: 9}
http: {listen: "[2001:db8:1::1]:80"}
intake: {smtp: {listen: "198.18.0.1:25", max_size: 4096, hostname: trap.example}}
zones:
  - {name: BL.Example.org, ns: [ns1.example.org, ns2.example.org.], ttl: 10m, apex: {addresses: [192.0.2.80], txt: [hello]}}
  - {name: notice.bl.example.org, ns: [ns1.example.org], ttl: 1h, classes: [notice]}
reporters:
  - {name: local, relays: [127.0.0.0/8, 203.0.113.0/24]}
  - {name: acme, organisation: Acme, weight: 0.5, relays: [203.0.113.0/24]}
traps:
  - {domain: trap.example, senders: [boss@trap.example]}
policy: {listable: [192.0.2.0/24], window: 24h}
exempt: [{prefix: 203.0.113.0/24, reason: friends}]
log: {level: warn}
`

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

func TestListingSettings(t *testing.T) {
	t.Parallel()
	c := parse(t, built)
	got, err := c.ListingSettings()
	if err != nil {
		t.Fatal(err)
	}
	zones, err := c.ZoneSet()
	if err != nil {
		t.Fatal(err)
	}
	builtIn := func(prefix, reason string) listing.Exemption {
		return listing.Exemption{Prefix: netip.MustParsePrefix(prefix), Reason: reason, BuiltIn: true, By: "configuration"}
	}
	policy := listing.Community()
	policy.Window = 24 * time.Hour
	want := listing.Settings{
		Policy:   policy,
		Listable: prefixes("192.0.2.0/24"),
		// 192.0.2.53 is opened for the lab, so it may be listed though we listen on it.
		BuiltIn: []listing.Exemption{
			builtIn("203.0.113.0/24", "friends"), builtIn("127.0.0.0/8", "relay of a reporter"),
			builtIn("198.18.0.1/32", "address of this server"), builtIn("2001:db8:1::1/128", "address of this server"),
		},
		Reporters: []listing.Reporter{{Name: "local", Organisation: "local", Weight: 1}, {Name: "acme", Organisation: "Acme", Weight: 0.5}},
		Brakes:    listing.DefaultBrakes(),
		Probation: listing.DefaultProbation(),
		Retention: listing.DefaultRetention(),
		Traps:     []string{"trap.example"},
		Journal:   listing.Keep{For: 30 * 24 * time.Hour},
		Headers:   listing.KeepHeaders{Bytes: 256 << 20},
		GroupWait: listing.DefaultGroupWait,
		Published: zones.Digest(),
		Horizon:   time.Hour,
	}
	if diff := gocmp.Diff(want, got, same); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("the store refuses it: %v", err)
	}
}

// TestOwnAddresses holds that a server that listens on all addresses exempts
// those of the machine, of which every machine has the loopback.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	got, err := parse(t, "dns: {listen: [':53']}\nreporters: [{name: far}]\n").ListingSettings()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range got.BuiltIn {
		found = found || e.Prefix == netip.MustParsePrefix("127.0.0.1/32") && e.Reason == "address of this server"
	}
	if !found {
		t.Errorf("127.0.0.1 is not among %v", got.BuiltIn)
	}
}

func TestZoneSet(t *testing.T) {
	t.Parallel()
	set, err := parse(t, built).ZoneSet()
	if err != nil {
		t.Fatal(err)
	}
	want := zonefile.Zone{
		Name: "bl.example.org.", NS: []string{"ns1.example.org.", "ns2.example.org."}, Hostmaster: "hostmaster.BL.Example.org.",
		TTL: 10 * time.Minute, NegativeTTL: 5 * time.Minute, Refresh: time.Hour, Retry: 15 * time.Minute, Expire: 24 * time.Hour,
		Classes: listing.AllClasses &^ listing.ClassSetOf(listing.ClassCallout), URL: "https://BL.Example.org/",
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.80")}, Texts: []string{"hello"},
	}
	zone := set.Find("2.0.0.127.bl.EXAMPLE.org")
	if diff := gocmp.Diff(&want, zone, same); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if zone := set.Find("x.notice.bl.example.org"); zone == nil || zone.Classes != listing.ClassSetOf(listing.ClassNotice) {
		t.Errorf("the zone below is %+v", zone)
	}
}

func TestJudgeConfig(t *testing.T) {
	t.Parallel()
	key := [32]byte{1, 2, 3}
	got, err := parse(t, built).JudgeConfig(key)
	if err != nil {
		t.Fatal(err)
	}
	for rcpt, want := range map[string]bool{"a@trap.example": true, "BOSS@trap.example": false, "a@example.org": false} {
		if _, trap := got.Traps.IsTrap(rcpt); trap != want {
			t.Errorf("%s: trap %v, want %v", rcpt, trap, want)
		}
	}
	got.Traps = nil
	want := evidence.Config{
		Reporters: []evidence.Reporter{
			{Name: "local", Organisation: "local", Relays: prefixes("127.0.0.0/8", "203.0.113.0/24"), Weight: 1},
			{Name: "acme", Organisation: "Acme", Relays: prefixes("203.0.113.0/24"), Weight: 0.5},
		},
		Listable: prefixes("192.0.2.0/24"),
		Exempt:   prefixes("198.18.0.1/32", "2001:db8:1::1/128", "203.0.113.0/24"),
		Window:   24 * time.Hour,
		Key:      key,
	}
	if diff := gocmp.Diff(want, got, same); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestServerOptions(t *testing.T) {
	t.Parallel()
	c := parse(t, built)
	dns := c.DNSOptions()
	if len(dns.Listen) != 2 || dns.Version != "1.0" || dns.Hostname != "" || dns.Limits.TCPClients != 9 || dns.Limits.UDPWorkers != 3 || dns.Limits.TCPIdle != 10*time.Second {
		t.Errorf("DNS: %+v", dns)
	}
	smtp, on := c.SMTPOptions()
	if !on || smtp.Addr != "198.18.0.1:25" || smtp.Hostname != "trap.example" || smtp.Reporter != "local" || smtp.Limits.Size != 4096 ||
		smtp.Limits.Recipients != intake.DefaultLimits().Recipients {
		t.Errorf("SMTP: %+v %v", smtp, on)
	}
	if _, on := parse(t, "intake: {smtp: {listen: ''}}").SMTPOptions(); on {
		t.Error("SMTP is on without an address")
	}
	if c.LogLevel() != slog.LevelWarn {
		t.Errorf("log level %v", c.LogLevel())
	}
}
