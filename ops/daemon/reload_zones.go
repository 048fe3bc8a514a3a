package daemon

import (
	"fmt"

	"backscatter/listing"
	"backscatter/ops/control"
)

// mayCarry refuses a reload by whose classes more of a zone would come or go at once
// than the brake on publication lets. Nothing waits, as a reload takes over all or
// nothing; who means it restarts.
func mayCarry(snapshot *listing.Snapshot, old, fresh *rules) error {
	for _, zone := range fresh.zones.All() {
		was := old.zones.Named(zone.Name)
		if was == nil || was.Classes == zone.Classes {
			continue
		}
		carried, gone, come := snapshot.Recarried(was.Classes, zone.Classes)
		if !old.settings.Brakes.MayMove(max(gone, come), carried) {
			return &control.Error{Code: control.CodeConflict, Message: fmt.Sprintf(
				"by its classes, %d of the %d listings of zone %s would go at once and %d would come; nothing was taken over; "+
					"if that is meant, 'backscatter restart' takes it over", gone, carried, zone.Name, come)}
		}
	}
	return nil
}
