package listing_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// An entry of the audit that somebody changes, with a checksum that is right, breaks
// the chain, and verify names the place, whichever it is.
func TestVerifyNamesAChangedAuditEntry(t *testing.T) {
	t.Parallel()
	s := start(t)
	for n := range 6 {
		s.list(time.Time{}, fmt.Sprintf("192.0.2.%d", n))
	}
	all, err := s.Audit(listing.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	good := read(t, s.path)
	for n := range all {
		copied := s.path + fmt.Sprint(n)
		if err := os.WriteFile(copied, good, 0o600); err != nil {
			t.Fatal(err)
		}
		edit(t, copied, func(tx *bolt.Tx) error {
			return listing.RewriteAudit(tx, uint64(n+1), func(a *listing.AuditEntry) { a.Reason = "nothing happened" })
		})
		v, err := listing.Check(copied)
		want := fmt.Sprintf("the chain breaks before entry %d:", n+2)
		if n == len(all)-1 {
			want = fmt.Sprintf("the chain ends at entry %d of %[1]d:", n+1) // in another than the state knows
		}
		if err != nil || len(v.Damage) != 1 || v.Damage[0].Part != "audit" || !strings.Contains(v.Damage[0].What, want) {
			t.Errorf("entry %d of %d: %+v %v, want %q", n+1, len(all), v.Damage, err, want)
		}
	}
}

// The audit of an import names the first of many prefixes, and counts them all.
func TestAuditOfAnImport(t *testing.T) {
	t.Parallel()
	const n = 50_000
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, n)); err != nil {
		t.Fatal(err)
	}
	all, err := s.Audit(listing.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	if last.Count != n || len(last.Prefixes) != 1000 || last.Prefixes[999] != hosts(t, n)[999].Key.Prefix() {
		t.Errorf("it counts %d, and names %d", last.Count, len(last.Prefixes))
	}
	s.verify()
}
