package listing_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A commit that bbolt has wait for ever is left behind, see TestSpoiltInACommit.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("go.etcd.io/bbolt.(*Tx).Commit"))
}
