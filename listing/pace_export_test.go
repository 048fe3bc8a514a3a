package listing

import "time"

// Pace lets tests see how steps are sized.
type Pace struct{ pace }

// Next is the size of the next step.
func (p *Pace) Next() int { return p.next() }

// Took tells of a step.
func (p *Pace) Took(n int, d time.Duration) { p.took(n, d) }

// LeastStep and StepTime bound a step.
const (
	LeastStep = leastStep
	StepTime  = stepTime
)
