package listing

// CompareSerial compares two serials of the DNS in the order of RFC 1982 §3.2,
// which goes on past the end of 32 bits: -1 when a is older, 1 when it is newer.
// It is false for two that are exactly half of the space apart, which have no
// order.
func CompareSerial(a, b uint32) (order int, ok bool) {
	switch d := b - a; {
	case d == 0:
		return 0, true
	case d < 1<<31:
		return -1, true
	case d > 1<<31:
		return 1, true
	default:
		return 0, false
	}
}

// SequenceOf returns the newest sequence, not after current, that has the given
// serial; false for a serial that is newer than the current one, or as old as no
// sequence is.
func SequenceOf(serial uint32, current uint64) (uint64, bool) {
	order, ok := CompareSerial(serial, SerialOf(current))
	back := uint64(SerialOf(current) - serial)
	if !ok || order > 0 || back > current {
		return 0, false
	}
	return current - back, true
}
