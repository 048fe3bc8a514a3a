package listing

import "time"

const (
	// stepTime is how long a step of regular work aims to keep the writer, commit
	// included: a quarter of the 20 ms that a report may have to wait for it, since
	// a disk is not always equally fast.
	stepTime = 5 * time.Millisecond
	// mostStep bounds a step on a disk that takes no time at all.
	mostStep = 256
	// firstStep is the size of a step before any was measured.
	firstStep = 32
	// leastStep is done however long it takes: a slow disk is slow for one thing,
	// too.
	leastStep = 8
)

// pace sizes the steps of regular work by how long the last one took, which
// depends on the disk more than on anything that could be known before.
type pace struct{ size int }

// next returns how much the next step may do.
func (p *pace) next() int {
	if p.size == 0 {
		p.size = firstStep
	}
	return p.size
}

// took learns from a step that did n things. Half a step says nothing of a larger
// one, so only whole ones make it grow, and never by more than half.
func (p *pace) took(n int, d time.Duration) {
	fits := mostStep
	if d > 0 {
		fits = int(float64(n) * float64(stepTime) / float64(d))
	}
	switch {
	case d > stepTime:
		p.size = fits
	case n >= p.size:
		p.size = min(fits, p.size+p.size/2)
	}
	p.size = min(max(p.size, leastStep), mostStep)
}
