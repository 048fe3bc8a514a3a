package listing_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"backscatter/listing"
)

// A prefix that is wider than may be listed is refused, counted, and told.
func TestWidePrefixesAreRefused(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	store, err := listing.Open(filepath.Join(t.TempDir(), "listing.db"), listing.Options{Settings: eager(), Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, "", store)
	metric := func(want string) {
		t.Helper()
		text := "# HELP backscatter_wide_prefixes_refused_total Prefixes that were to be listed and are wider than may be.\n" +
			"# TYPE backscatter_wide_prefixes_refused_total counter\nbackscatter_wide_prefixes_refused_total " + want + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(text), "backscatter_wide_prefixes_refused_total"); err != nil {
			t.Error(err)
		}
	}
	metric("0")
	for text, wide := range map[string]bool{
		"11.0.0.0/23": true, "2001:db8::/47": true, "0.0.0.0/0": true, "::/0": true, "::ffff:11.0.0.0/119": true,
		"11.0.0.0/24": false, "2001:db8::/48": false, "11.0.0.1/24": false, "nonsense": false,
	} {
		_, err := listing.ParseKey(text)
		if _, is := errors.AsType[*listing.WideError](err); is != wide || err != nil && !errors.Is(err, listing.ErrKey) {
			t.Errorf("%s: %v", text, err)
		}
		s.Refused(err)
	}
	_, err = listing.ParseKey("11.0.0.0/8")
	s.Refused(err)
	metric("6")
	st, err := s.Status()
	if err != nil || st.Wide == nil || st.Wide.Refused != 6 || st.Wide.Prefix != netip.MustParsePrefix("11.0.0.0/8") || st.Wide.Last.IsZero() {
		t.Errorf("%+v %v", st.Wide, err)
	}
}
