package zonefile

import (
	"slices"

	"backscatter/listing"
)

// walk goes over what the zone carries, as it shows it, until a function says no.
// IPv4 hosts come some at once, with what the zone makes of what they tell, by its
// number.
func (l List) walk(hosts func(some []listing.Host, told []*carried) bool, other func(listing.Entry) bool) {
	var told []*carried // as far as it was asked for
	l.Snapshot.Walk(func(some []listing.Host) bool {
		all := some[0].Addr>>8 > testNet4 || some[len(some)-1].Addr>>8 < testNet4
		for _, h := range some {
			if int(h.Told) >= len(told) || told[h.Told] == nil {
				told = l.ask(told, h.Told)
			}
			all = all && told[h.Told].yes
		}
		if !all {
			some = slices.DeleteFunc(some, func(h listing.Host) bool { return !told[h.Told].yes || h.Addr>>8 == testNet4 })
		}
		return len(some) == 0 || hosts(some, told)
	}, func(e listing.Entry) bool {
		e, ok := l.Zone.carry(e)
		return !ok || other(e)
	})
}

func (l List) ask(told []*carried, number uint32) []*carried {
	for uint32(len(told)) <= number {
		told = append(told, nil)
	}
	e := l.Snapshot.Told(number)
	e.Class = e.ClassIn(l.Zone.Classes)
	told[number] = &carried{yes: e.Class != listing.ClassOther, entry: e, seed: seed4(e.Class)}
	return told
}

// testNet4 is what the addresses of testNet begin with.
const testNet4 = 127 << 16

// carried is what a zone makes of what hosts tell.
type carried struct {
	yes   bool          // it carries them
	entry listing.Entry // as it shows it, without a prefix
	seed  uint64        // for a [tally] of them
}
