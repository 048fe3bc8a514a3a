package evidence_test

import (
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"
)

// TestFixes: each product once, in order.
func TestFixes(t *testing.T) {
	t.Parallel()
	var events []listing.Event
	for _, product := range []string{"qmail", "", "Exim", "<script>", "qmail"} {
		events = append(events, listing.Event{Traces: listing.Traces{Product: product}})
	}
	var got []string
	for _, f := range evidence.Fixes(events) {
		got = append(got, f.Product)
		if f.Text != evidence.Advice(f.Product) {
			t.Errorf("%s: %q", f.Product, f.Text)
		}
	}
	if strings.Join(got, " ") != "qmail Exim" {
		t.Errorf("fixes for %q", got)
	}
}

// TestAdvice: whoever runs a product that a rule recognises is told how to stop
// it, in full sentences, and nobody is told about software that no rule knows.
func TestAdvice(t *testing.T) {
	t.Parallel()
	general := evidence.Advice("nobody's mailer")
	if !strings.Contains(general, "RCPT") || !strings.Contains(general, "RFC 3834") {
		t.Errorf("in general: %q", general)
	}
	products := evidence.Products()
	for product := range products {
		text := strings.TrimSpace(evidence.Advice(product))
		if text == general {
			t.Errorf("%s: no advice of its own", product)
		}
		if !strings.HasSuffix(text, ".") || len(text) > 700 || strings.Contains(text, "  ") {
			t.Errorf("%s: %q", product, text)
		}
	}
	for _, product := range evidence.Advised() {
		if !products[product] {
			t.Errorf("advice for %s, which no rule recognises", product)
		}
	}
}
