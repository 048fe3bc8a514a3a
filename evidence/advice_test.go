package evidence_test

import (
	"strings"
	"testing"

	"backscatter/evidence"
)

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
