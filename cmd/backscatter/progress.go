package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on a terminal, and nothing elsewhere: standard error is for
// whoever reads a log, too.
type progress struct{ bar *progressbar.ProgressBar }

// progressOf begins a bar. More options say what it counts.
func (a *app) progressOf(what string, more ...progressbar.Option) *progress {
	if !isTerminal(a.err) || isTerminal(a.out) && a.asJSON {
		return &progress{}
	}
	p := &progress{progressbar.NewOptions64(-1, append([]progressbar.Option{
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(a.err),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(),
	}, more...)...)}
	_ = p.bar.RenderBlank() // at once, however soon it is done; see tell
	return p
}

// tell draws how much of how much is done.
func (p *progress) tell(done, total int64) {
	if p.bar != nil {
		p.bar.ChangeMax64(max(total, 1))
		_ = p.bar.Set64(min(done, total)) // a bar that cannot be drawn is no reason to stop
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
