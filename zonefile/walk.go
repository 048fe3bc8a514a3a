package zonefile

import (
	"slices"

	"backscatter/listing"
)

// walk goes over what the zone carries, as it shows it, until a function says no.
// IPv4 hosts come some at once, with what the zone makes of what they tell, by its
// number.
func (l List) walk(hosts func(some []listing.Host, told []carried) bool, other func(listing.Entry) bool) {
	told, all := l.told()
	l.Snapshot.Walk(func(some []listing.Host) bool {
		near := some[0].Addr>>8 <= testNet4 && some[len(some)-1].Addr>>8 >= testNet4
		if near || !all {
			some = slices.DeleteFunc(some, func(h listing.Host) bool { return !told[h.Told].yes || h.Addr>>8 == testNet4 })
		}
		return len(some) == 0 || hosts(some, told)
	}, func(e listing.Entry) bool {
		e, ok := l.Zone.carry(e)
		return !ok || other(e)
	})
}

// told returns what the zone makes of all that hosts tell, and whether it carries all.
func (l List) told() (told []carried, all bool) {
	told, all = make([]carried, l.Snapshot.Tellings()), true
	for i := range told {
		e := l.Snapshot.Told(uint32(i))
		e.Class = e.ClassIn(l.Zone.Classes)
		told[i] = carried{yes: e.Class != listing.ClassOther, entry: e, seed: seed4(e.Class)}
		all = all && told[i].yes
	}
	return told, all
}

// testNet4 is what the addresses of testNet begin with.
const testNet4 = 127 << 16

// carried is what a zone makes of what hosts tell.
type carried struct {
	yes   bool          // it carries them
	entry listing.Entry // as it shows it, without a prefix
	seed  uint64        // for a [tally] of them
}
