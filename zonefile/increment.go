package zonefile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"backscatter/listing"
)

// MostCompared is how many bytes of the journal are read for who asks what changed:
// some two hundred thousand changes. Who is further behind takes the whole list.
const MostCompared = 4 << 20

// ErrTooOld says that a serial is not one from which changes can be told: the
// whole list is to be taken.
var ErrTooOld = errors.New("changes since that serial are not kept; take the whole list")

// Increment is what changed in a zone since a serial.
type Increment struct {
	zone     *Zone
	snapshot *listing.Snapshot
	since    uint32
	listing.Difference
}

// Since returns what changed since a serial, up to the snapshot. Compare is that of
// the store that the snapshot is of.
func Since(z *Zone, s *listing.Snapshot, since uint32, compare func(from, to uint64, most int) (listing.Comparison, error)) (Increment, error) {
	i := Increment{zone: z, snapshot: s, since: since}
	from, ok := listing.SequenceOf(since, s.Sequence())
	if !ok {
		return i, fmt.Errorf("serial %d is not before %d, that of the list: %w", since, s.Serial(), ErrTooOld)
	}
	if from == s.Sequence() {
		return i, nil
	}
	c, err := compare(from, s.Sequence(), MostCompared)
	if errors.Is(err, listing.ErrCut) || errors.Is(err, listing.ErrLarge) {
		err = fmt.Errorf("serial %d: %w", since, ErrTooOld)
	}
	i.Difference = c.Difference
	return i, err
}

// Write writes the increment as JSON lines: one that says what it is, one for each
// address or prefix that was removed, added or changed, and one that ends it, without
// which it is not whole, and which has the serial that the next is to begin with.
func (i Increment) Write(to io.Writer) error {
	w := bufio.NewWriter(to)
	line := append([]byte(`{"zone":"`), i.zone.bare()...)
	line = strconv.AppendUint(append(line, `","from":`...), uint64(i.since), 10)
	line = strconv.AppendUint(append(line, `,"serial":`...), uint64(i.snapshot.Serial()), 10)
	line = append(append(append(line, `,"time":"`...), stamp(i.snapshot.Time())...), "\"}\n"...)
	changes := 0
	for _, err := w.Write(line); ; changes++ {
		if err != nil {
			return err
		}
		change, e, ok := i.next()
		if !ok {
			break
		}
		line = append(append(append(line[:0], `{"change":"`...), change...), `",`...)
		at := len(line)
		line = appendJSON(line, e)
		line = append(append(line[:at], line[at+1:]...), '\n') // without its brace
		_, err = w.Write(line)
	}
	line = strconv.AppendUint(append(line[:0], `{"end":`...), uint64(i.snapshot.Serial()), 10)
	line = strconv.AppendInt(append(line, `,"changes":`...), int64(changes), 10)
	if _, err := w.Write(append(line, "}\n"...)); err != nil {
		return err
	}
	return w.Flush()
}

// next takes the next change off both sorted lists. What the zone does not show, or
// shows as before, is none.
func (i *Increment) next() (change string, e listing.Entry, ok bool) {
	for len(i.Removed) > 0 || len(i.Added) > 0 {
		order := -1
		switch {
		case len(i.Removed) == 0:
			order = 1
		case len(i.Added) > 0:
			order = listing.ComparePrefix(i.Removed[0].Prefix, i.Added[0].Prefix)
		}
		var was, is listing.Entry
		var had, has bool
		if order <= 0 {
			was, had = i.zone.carry(i.Removed[0])
			i.Removed = i.Removed[1:]
		}
		if order >= 0 {
			is, has = i.zone.carry(i.Added[0])
			i.Added = i.Added[1:]
		}
		switch {
		case had && has && (was.Class != is.Class || i.zone.Text(was) != i.zone.Text(is)):
			return "changed", is, true
		case has && !had:
			return "added", is, true
		case had && !has:
			return "removed", was, true
		}
	}
	return "", listing.Entry{}, false
}
