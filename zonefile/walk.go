package zonefile

import (
	"backscatter/listing"
)

// found is an IPv4 host of a walk.
type found struct {
	host uint32
	told uint32 // the number of what it tells
}

// walk goes over what the zone carries, as it shows it, until a function says no.
// IPv4 hosts come some at once, with what the zone makes of what they tell, by its
// number.
func (l List) walk(hosts func(some []found, told []*carried) bool, other func(listing.Entry) bool) {
	w := &walk{list: l, hosts: hosts}
	goOn := true
	l.Snapshot.Walk(func(host, told uint32) bool {
		w.some[w.n] = found{host, told}
		if w.n++; w.n < len(w.some) {
			return true
		}
		goOn = w.handOn()
		return goOn
	}, func(e listing.Entry) bool {
		if goOn = w.handOn(); !goOn {
			return false
		}
		if e, ok := l.Zone.carry(e); ok {
			goOn = other(e)
		}
		return goOn
	})
	if goOn {
		w.handOn()
	}
}

// walk has the hosts that are not handed on yet: with millions of them, a call for
// each would be most of the time that all takes.
type walk struct {
	list  List
	hosts func([]found, []*carried) bool
	told  []*carried // as far as it was asked for
	some  [512]found
	n     int // of them
}

func (w *walk) handOn() bool {
	some := w.some[:w.n]
	w.n = 0
	n := 0
	for _, f := range some {
		if int(f.told) >= len(w.told) || w.told[f.told] == nil {
			w.ask(f.told)
		}
		some[n] = f
		if w.told[f.told].yes && f.host>>8 != testNet4 {
			n++
		}
	}
	return n == 0 || w.hosts(some[:n], w.told)
}

func (w *walk) ask(told uint32) {
	for uint32(len(w.told)) <= told {
		w.told = append(w.told, nil)
	}
	e := w.list.Snapshot.Told(told)
	e.Class = e.ClassIn(w.list.Zone.Classes)
	w.told[told] = &carried{yes: e.Class != listing.ClassOther, entry: e, seed: seed4(e.Class)}
}

// testNet4 is what the addresses of testNet begin with.
const testNet4 = 127 << 16

// carried is what a zone makes of what hosts tell.
type carried struct {
	yes   bool          // it carries them
	entry listing.Entry // as it shows it, without a prefix
	seed  uint64        // for a [tally] of them
}
