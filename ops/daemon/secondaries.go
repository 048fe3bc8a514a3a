package daemon

import (
	"backscatter/dnsd"
	"backscatter/ops/control"
)

// secondariesOf tells what the secondaries were told and have heard.
func secondariesOf(n *dnsd.Notifier) []control.Secondary {
	var out []control.Secondary
	for _, s := range n.State() {
		c := control.Secondary{
			Zone: s.Zone, Address: s.To.String(), Serial: s.Serial, Notified: s.Sent, Acknowledged: s.Acknowledged, Heard: s.Heard,
		}
		if s.Err != nil {
			c.Error = s.Err.Error()
		}
		out = append(out, c)
	}
	return out
}
