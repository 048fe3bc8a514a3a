package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar for who sits at a terminal, and nothing elsewhere.
type progress struct{ bar *progressbar.ProgressBar }

// progressOf begins a bar. More options say what it counts. Where the result goes to
// no terminal nobody sits there: it is a script, whatever its standard error is.
func (a *app) progressOf(what string, more ...progressbar.Option) *progress {
	if !isTerminal(a.out) || a.asJSON {
		return &progress{}
	}
	return a.progressBeside(what, more...)
}

// progressBeside begins a bar for a result that is never for a terminal. It has no
// spinner that turns by itself: that goroutine of the library's races with the rest.
func (a *app) progressBeside(what string, more ...progressbar.Option) *progress {
	if !isTerminal(a.err) {
		return &progress{}
	}
	p := &progress{progressbar.NewOptions64(-1, append([]progressbar.Option{
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(a.err), progressbar.OptionSetSpinnerChangeInterval(0),
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

// add draws that one more is done.
func (p *progress) add() {
	if p.bar != nil {
		_ = p.bar.Add(1)
	}
}

// clear makes room for a line of the result, until more is drawn.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
