package listing

import "time"

// FormerBrakes is the state of the brakes as it was written before there was one on
// publication: automatic listing is frozen, and so many keys are held back.
func FormerBrakes(frozen time.Time, limit, held int) []byte {
	e := newEncoder(brakesVersion2)
	e.time(frozen)
	e.uint(uint64(limit))
	e.uint(uint64(held))
	e.time(time.Time{}) // expiry is not stalled
	e.uint(0)
	e.uint(0)
	e.time(time.Time{}) // nothing was cleared
	for range 1 + len(lastHour{}.counts) {
		e.uint(0)
	}
	for range 3 { // the clock
		e.time(time.Time{})
	}
	return e.seal(keyBrakes)
}
