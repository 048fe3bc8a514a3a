package evidence_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
)

var (
	lab     = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	now     = time.Date(2026, 11, 21, 10, 0, 30, 0, time.UTC)
	spamID  = "20261121.spam.1@pool-9.isp.example"
	fixture = func(name string) string { return filepath.Join("testdata", name+".eml") }
)

// newJudge returns a judge with one reporter, whose relays are in
// 203.0.113.0/28, and the trap domain trap.example.
func newJudge(tb testing.TB, change ...func(*evidence.Config)) *evidence.Judge {
	tb.Helper()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example", Senders: []string{"postmaster"}}})
	if err != nil {
		tb.Fatal(err)
	}
	c := evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local", Organisation: "lab", Relays: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8:1::/48"),
		}}},
		Traps:    traps,
		Listable: lab,
		Window:   168 * time.Hour,
		Key:      [32]byte{1, 2, 3},
	}
	for _, f := range change {
		f(&c)
	}
	j, err := evidence.NewJudge(c)
	if err != nil {
		tb.Fatal(err)
	}
	return j
}

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(fixture(name))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// told is what a fixture must be judged to be.
type told struct {
	Class     string
	Product   string
	Returned  evidence.Returned
	MessageID string
	Origin    string
}

var fixtures = map[string]told{
	"postfix":                 {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"postfix-delayed":         {"bounce", "Postfix", "headers", spamID, "198.51.100.9"},
	"vendor-rename":           {"bounce", "", "headers", spamID, "198.51.100.9"},
	"global":                  {"bounce", "", "headers", spamID, "198.51.100.9"},
	"mixed-type":              {"bounce", "", "full", spamID, "198.51.100.9"},
	"unclosed":                {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"bare-cr":                 {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"crlf":                    {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"wrong-boundary":          {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"no-boundary":             {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"no-mime":                 {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"lost-delimiters":         {"bounce", "Postfix", "full", spamID, "198.51.100.9"},
	"qmail":                   {"bounce", "qmail", "full", spamID, "198.51.100.9"},
	"exim":                    {"bounce", "Exim", "full", spamID, "198.51.100.9"},
	"sendmail-old":            {"bounce", "Sendmail", "none", "", "198.51.100.9"},
	"exchange-2003":           {"bounce", "Exchange", "none", "", ""},
	"exchange-html":           {"bounce", "Exchange", "headers", spamID, "198.51.100.9"},
	"hmailserver":             {"bounce", "hMailServer", "none", "", ""},
	"ironport":                {"bounce", "IronPort", "none", "", ""},
	"domino":                  {"bounce", "Domino", "none", "", ""},
	"unknown-appliance":       {"bounce", "", "full", spamID, "198.51.100.9"},
	"quoted-printable-german": {"bounce", "", "none", "", ""},
	"unknown-charset":         {"bounce", "", "none", "", ""},
	"sieve-reject":            {"bounce", "sieve", "headers", spamID, "198.51.100.9"},
	"virus-2003":              {"notice", "Sendmail", "none", "", "198.51.100.9"},
	"spf-bounce":              {"notice", "Postfix", "headers", spamID, "198.51.100.9"},
	"amavis":                  {"notice", "amavis", "none", spamID, "198.51.100.9"},
	"barracuda":               {"notice", "Barracuda", "none", "", ""},
	"virus-unknown":           {"notice", "", "none", "", ""},
	"vacation-marked":         {"autoreply", "", "none", spamID, ""},
	"vacation-words":          {"autoreply", "", "none", "", ""},
	"vacation-de":             {"autoreply", "", "none", "", ""},
	"vacation-fr":             {"autoreply", "", "none", "", ""},
	"vacation-es":             {"autoreply", "", "none", "", ""},
	"vacation-ja":             {"autoreply", "", "none", "", ""},
	"vacation-ru":             {"autoreply", "", "none", "", ""},
	"ticket":                  {"autoreply", "", "none", "", ""},
	"tmda":                    {"challenge", "TMDA", "none", "", ""},
	"boxbe":                   {"challenge", "Boxbe", "headers", spamID, "198.51.100.9"},
	"challenge-words":         {"challenge", "", "none", "", ""},
	"challenge-es":            {"challenge", "", "none", "", ""},
	"firstclass":              {"bounce", "FirstClass", "none", "", ""},
	"help-link":               {"bounce", "", "none", "", ""},
	"names-another":           {"bounce", "", "none", "", ""},
	"spam-de":                 {"notice", "", "none", "", ""},
	"ticket-unmarked":         {"autoreply", "", "none", "", ""},
}

// TestFixtures judges a message of each family, as it arrives at a trap.
func TestFixtures(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	for name, want := range fixtures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := j.Judge(evidence.Report{Raw: read(t, name), Reporter: "local", Received: now}, now)
			got := told{f.Class.String(), f.Product, f.Original.Returned, f.Original.MessageID, ""}
			if f.Original.Origin.IsValid() {
				got.Origin = f.Original.Origin.String()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("judged (-want +got):\n%s%v", diff, f.Rules)
			}
			if name == "virus-2003" { // as found on a page, without a trace line
				return
			}
			if f.Verdict != evidence.Proven || f.Source.String() != "192.0.2.66" || f.Level != listing.LevelB || !f.RecipientTrap {
				t.Errorf("verdict %s (%s), source %s, level %s, trap %t", f.Verdict, f.Reason, f.Source, f.Level, f.RecipientTrap)
			}
		})
	}
}

// TestLookalikes holds mail that resembles backscatter, and is none.
func TestLookalikes(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	names, err := filepath.Glob(filepath.Join("testdata", "look-*.eml"))
	if err != nil || len(names) < 10 {
		t.Fatalf("look-alikes: %v, %v", names, err)
	}
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), ".eml")
		f := j.Judge(evidence.Report{Raw: read(t, name), Reporter: "local", Received: now}, now)
		if f.Class != listing.ClassOther || f.Verdict != evidence.Unproven || f.Reason != evidence.ReasonOther {
			t.Errorf("%s: class %s, verdict %s (%s), rules %v", name, f.Class, f.Verdict, f.Reason, f.Rules)
		}
	}
}

// TestFixturesAreTold makes sure that no fixture lies about unused.
func TestFixturesAreTold(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".eml")
		if _, ok := fixtures[name]; !ok && !strings.HasPrefix(name, "look-") {
			t.Errorf("%s is in no table", path)
		}
	}
}
