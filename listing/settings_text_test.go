package listing_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

// The rule in words tells all that is in force beside the thresholds, and nobody's name.
func TestSettingsText(t *testing.T) {
	t.Parallel()
	s := listing.Settings{
		Policy: listing.Community(), Brakes: listing.DefaultBrakes(), Probation: listing.DefaultProbation(),
		Reporters: []listing.Reporter{{Name: "reporter-7", Organisation: "organisation-7"}},
		Traps:     []string{"trap-7.example"},
		BuiltIn:   []listing.Exemption{{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Reason: "friend-7"}},
	}
	rule := s.Policy.Text()
	want := []string{
		"Exempt: special-purpose addresses (RFC 6890), those of this server and of its reporters' mail servers, and what an operator exempts, such as large shared providers. What they send is observed, and not listed.",
		"Brake on listing: after more than 50 new listings by evidence, or 1 % of the list if that is more, within an hour, evidence lists nothing new before an operator has looked.",
		"Brake on publication: more than 100 listings, or 50 % of the list if that is more, come or go at once only by an operator's order.",
		"Widest: nothing wider than an IPv4 /24 or an IPv6 /48 is ever listed, by operators neither.",
		"New reporters: what one reports counts for 25 % of its weight for 30 days, or until 2 other organisations had reported 3 of the hosts that it reported.",
		"Kept: what was observed of a host for 365 days after it came and after its last listing ended, and when it was listed as long as the rule asks; what identifies a report, so that it counts once, for 365 days; who did what, and why, for 730 days. Never a body; whom it was sent to and its subject only as keyed hashes.",
	}
	got := s.Text()
	if diff := cmp.Diff(want, got[len(rule)-1:len(got)-1]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(rule, append(got[:len(rule)-1:len(rule)-1], got[len(got)-1])); diff != "" {
		t.Errorf("the rule (-want +got)\n%s", diff)
	}
	if text := strings.Join(got, "\n"); strings.Contains(text, "-7") || strings.Contains(text, "100.7") {
		t.Errorf("it names somebody: %s", text)
	}

	s.Brakes, s.Probation = listing.Brakes{Listings: 9}, listing.Probation{}
	s.Headers = listing.KeepHeaders{For: 30 * day}
	s.Retention = listing.Retention{Observations: 100 * day, Audit: 200 * day}
	s.Listable = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	s.Policy.Direct, s.Policy.RelapseFactor, s.Policy.DeliveredFactor = 3, 0.25, 0.75
	s.Policy.Relapse = time.Hour
	text := strings.Join(s.Text(), "\n")
	for _, want := range []string{
		"Open for tests: 192.0.2.0/24.", "Brake on listing: after more than 9 new listings by evidence within an hour, ",
		"for 100 days after", "why, for 200 days", "; headers, less local parts of addresses and the subject, for 30 days.",
		"on 3 or more of its trap domains.", "25 % of the score and of the originals suffice for 1 hour.", "times 0.75 for a bounce that says",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	for _, none := range []string{"Brake on publication", "New reporters"} {
		if strings.Contains(text, none) {
			t.Errorf("it says %q, which is off", none)
		}
	}
}
