package daemon_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

// However the parts end that came before it, the DNS ends last and the program is
// executed anew: its sockets would go with the process.
func TestGiveWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ends func(ctx context.Context, release <-chan struct{}) error // of the intake
		want []string                                                 // what has ended by then
		shut bool                                                     // the store
	}{
		"in order": {func(ctx context.Context, _ <-chan struct{}) error { <-ctx.Done(); return nil }, []string{"intake", "store", "dns"}, true},
		"with an error": {func(ctx context.Context, _ <-chan struct{}) error {
			<-ctx.Done()
			return errors.New("the spool is on fire")
		}, []string{"intake", "store", "dns"}, true},
		"not in time": {func(_ context.Context, release <-chan struct{}) error { <-release; return nil }, []string{"dns"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more := ""
			if !c.shut {
				more = "shutdown_timeout: 1s\n"
			}
			f, err := open(t, tempDir(t), more)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var ended []string
			release := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Add(3)
			giveWay := f.GiveWayParts(ctx, []string{"store", "dns", "intake"}, func(ctx context.Context, name string) error {
				defer running.Done()
				var err error
				if name == "intake" {
					err = c.ends(ctx, release)
				} else {
					select {
					case <-ctx.Done():
					case <-release:
					}
				}
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, name)
				return err
			})
			if err := giveWay(); !errors.Is(err, daemon.ErrRestart) {
				t.Errorf("got %v", err)
			}
			until(t, "what is to have ended has", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return slices.Equal(ended, c.want)
			})
			if _, err := f.Store().Status(); (err != nil) != c.shut {
				t.Errorf("the store is shut: %t, %v", err != nil, err)
			}
			close(release)
			cancel()
			running.Wait()
			if err := f.CloseAll(); err != nil && !c.shut {
				t.Error(err)
			}
		})
	}
}

// Of two who want a restart at once, the second is told so, and nothing is looked at
// that may be ending by then.
func TestRestartIsWantedOnce(t *testing.T) {
	t.Parallel()
	var refused *control.Error
	if err := daemon.WantTwice(t.Context()); !errors.As(err, &refused) || refused.Code != control.CodeConflict {
		t.Errorf("got %v", err)
	}
}
