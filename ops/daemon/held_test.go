package daemon

import (
	"os"
	"strconv"
	"testing"
)

// TestHeldSockets wants only what was meant for this very process, and the
// environment clean afterwards.
func TestHeldSockets(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name, pid, fds string
		bad            bool
	}{
		{"none", "", "", false},
		{"somebody else's", "1", "2", false},
		{"none of ours", own, "0", false},
		{"no number", own, "some", true},
		{"too many", own, "100000", true},
		{"less than none", own, "-1", true},
	} {
		t.Setenv("LISTEN_PID", c.pid)
		t.Setenv("LISTEN_FDS", c.fds)
		files, err := heldSockets()
		if (err != nil) != c.bad || len(files) != 0 {
			t.Errorf("%s: %v, %v", c.name, files, err)
		}
		if _, still := os.LookupEnv("LISTEN_FDS"); still {
			t.Errorf("%s: LISTEN_FDS is still set", c.name)
		}
	}
}
